#!/usr/bin/env python3
"""Check a trained model's ONNX form against LightGBM with the official runtimes.

    python tests/clients/onnx_check.py models/equities_xs/<version>

Needs `onnxruntime`, `lightgbm` and `numpy`. Takes the folder of an artifact (model.txt, model.onnx, feature_list.json) or
the paths of a model.txt and a model.onnx. Predicts random rows, rows at every threshold and rows with missing values,
all rounded to float32, and exits 1 when a prediction differs by more than 1e-5 or the two rankings disagree.
"""

import json
import re
import sys
from pathlib import Path

import lightgbm
import numpy
import onnxruntime

BAR = 1e-5


def rows_to_try(text, features, rng):
    rows = rng.normal(size=(4000, features))
    rows[rng.random(rows.shape) < 0.05] = numpy.nan
    at = []
    for tree in text.split("\nTree=")[1:]:
        numbers = {k: re.search(rf"^{k}=(.*)$", tree, re.M) for k in ("split_feature", "threshold")}
        if not numbers["threshold"] or not numbers["threshold"].group(1).strip():
            continue
        split = [int(v) for v in numbers["split_feature"].group(1).split()]
        threshold = [float(v) for v in numbers["threshold"].group(1).split()]
        for feature, value in zip(split, threshold):
            near = numpy.float32(value)
            for x in (near, numpy.nextafter(near, numpy.float32(numpy.inf)), numpy.nextafter(near, numpy.float32(-numpy.inf))):
                row = rng.normal(size=features)
                row[feature] = x
                at.append(row)
    extremes = numpy.array([numpy.full(features, v) for v in (numpy.nan, 0.0, 1e30, -1e30)])
    return numpy.vstack([rows, extremes] + ([numpy.array(at)] if at else [])).astype(numpy.float32)


def main(arguments):
    folder = Path(arguments[0])
    text_path, onnx_path = (folder / "model.txt", folder / "model.onnx") if folder.is_dir() else (folder, Path(arguments[1]))
    text = text_path.read_text()
    booster = lightgbm.Booster(model_str=text)
    session = onnxruntime.InferenceSession(str(onnx_path), providers=["CPUExecutionProvider"])
    rows = rows_to_try(text, booster.num_feature(), numpy.random.default_rng(1))
    want = booster.predict(rows.astype(numpy.float64), raw_score=True)
    got = session.run(None, {session.get_inputs()[0].name: rows})[0].reshape(-1).astype(numpy.float64)
    difference = float(numpy.max(numpy.abs(got - want)))
    ranks = numpy.corrcoef(numpy.argsort(numpy.argsort(got)), numpy.argsort(numpy.argsort(want)))[0, 1]
    passed = difference <= BAR and ranks > 0.999
    if folder.is_dir():
        names = [c["name"] for c in json.loads((folder / "feature_list.json").read_text())["columns"]]
        passed = passed and names == booster.feature_name()
    print(json.dumps({"rows": len(rows), "max_abs_diff": difference, "rank_correlation": float(ranks), "bar": BAR, "passed": bool(passed)}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
