"""What other programs read on a drive: every Parquet file in pandas, pyarrow, polars and DuckDB, stage.yml in PyYAML and
ruamel.yaml, and the models in Python's LightGBM and onnxruntime.

    python .ci/readers.py DRIVE [SYMBOLS]      # SYMBOLS: the list that the drive's stage.yml was made from

Ends with 1 and the first difference.
"""

import json
import sys
from pathlib import Path

import duckdb
import lightgbm
import numpy as np
import onnxruntime
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import yaml
from ruamel.yaml import YAML

drive = Path(sys.argv[1])
if not (drive / ".trademl-drive.json").exists():
    sys.exit(f"readers: {drive} is no data root")

# Columns that docs/formats.md calls a contract, with what pyarrow must make of them.
BARS = ["date", "ts", "symbol", "open", "high", "low", "close", "vwap", "volume", "nbbo_spread", "trades", "session_id",
        "source_name", "source_uri", "vendor_ts", "api_version", "feed", "asked_symbol"]  # fmt: skip
CURATED = ["date", "symbol", "open", "high", "low", "close", "vwap", "volume", "price_factor", "split_factor", "div_cash",
           "close_raw", "session_id", "source_name"]  # fmt: skip
LEDGER = ["source_name", "table_name", "symbol", "dt", "status", "qc_code", "row_count", "expected_rows"]


def require(condition, what):
    if not condition:
        sys.exit(f"readers: FAIL {what}")


def same(path):
    """One file, four readers: the same shape, names, and number of nulls; dates are dates, stamps carry UTC."""
    arrow = pq.read_table(path, partitioning=None)
    frame, polar = arrow.to_pandas(), pl.read_parquet(path, hive_partitioning=False)
    pandas = pd.read_parquet(path, engine="pyarrow", partitioning=None)
    duck = duckdb.sql(f"SELECT * FROM read_parquet('{path}', hive_partitioning = false)")
    require(arrow.column_names == polar.columns == list(pandas.columns) == duck.columns, f"{path}: names differ")
    require(arrow.shape == polar.shape == pandas.shape == frame.shape == (duck.count("*").fetchall()[0][0], len(duck.columns)), f"{path}: shapes differ")
    nulls = {name: arrow.column(name).null_count for name in arrow.column_names}
    require(nulls == {k: v[0] for k, v in polar.null_count().to_dict(as_series=False).items()}, f"{path}: nulls differ")
    for field in arrow.schema:
        if str(field.type).startswith("timestamp"):
            require(str(field.type) == "timestamp[us, tz=UTC]", f"{path}: {field.name} is {field.type}")
        if field.name in ("date", "dt") and "parquet" in str(path) and not str(field.type).startswith("string"):
            require(str(field.type) == "date32[day]", f"{path}: {field.name} is {field.type}")
        if str(field.type) == "double" and arrow.num_rows:
            sums = [np.nansum(pandas[field.name]), np.nansum(polar[field.name].to_numpy())]
            require(np.isclose(sums[0], sums[1], rtol=1e-12), f"{path}: {field.name} sums to {sums}")
    return arrow


def read_everything():
    counts = {}
    for path in sorted(drive.rglob("*.parquet")):
        table = same(path)
        top = path.relative_to(drive).parts[0]
        rows, files = counts.get(top, (0, 0))
        counts[top] = (rows + table.num_rows, files + 1)
        part = path.relative_to(drive).as_posix()
        for prefix, wanted in (("raw/equities_bars/", BARS), ("curated/equities_ohlcv_adj/", CURATED), ("qc/partition_status", LEDGER)):
            if part.startswith(prefix):
                lacking = [c for c in wanted if c not in table.column_names]
                require(not lacking, f"{part} lacks {lacking}")
    for top, (rows, files) in sorted(counts.items()):
        print(f"readers: {top}: {files} files, {rows} rows, the same in pandas, pyarrow, polars and DuckDB")


def read_as_one_table():
    """The curated folder as a whole: `sym=` and `dt=` are no columns of the files, so every engine can take them as partitions."""
    folder = drive / "curated/equities_ohlcv_adj"
    if not folder.exists():
        return
    whole = ds.dataset(folder, format="parquet", partitioning="hive").to_table(columns=["symbol", "date", "close"]).num_rows
    lazy = pl.scan_parquet(f"{folder}/**/*.parquet", hive_partitioning=True).select(pl.len()).collect().item()
    duck = duckdb.sql(f"SELECT count(*), count(DISTINCT symbol) FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = true)").fetchall()[0]
    pandas = len(pd.read_parquet(folder, columns=["symbol", "date", "close"]))
    require(whole == lazy == duck[0] == pandas, f"curated as one table: {whole}, {lazy}, {duck}, {pandas}")
    print(f"readers: curated as one table: {whole} rows of {duck[1]} symbols in all four")


def read_stage(symbols):
    text = (drive / "control/stage.yml").read_text(encoding="utf-8")
    for name, stage in (("PyYAML", yaml.safe_load(text)), ("ruamel.yaml 1.2", YAML(typ="safe").load(text))):
        held = stage["universe"]["symbols"]
        require(all(type(s) is str for s in held), f"{name} reads a symbol as something else: {[s for s in held if type(s) is not str]}")
        require(symbols is None or sorted(held) == sorted(symbols), f"{name}: {held}")
        require(type(stage["since"]) is str, f"{name} reads 'since' as {type(stage['since'])}")
    print(f"readers: stage.yml: {len(held)} symbols are text in PyYAML and ruamel.yaml")


def predict():
    for folder in sorted(p.parent for p in drive.glob("models/*/*/model.txt")):
        names = [c["name"] for c in json.loads((folder / "feature_list.json").read_text())["columns"]]
        golden = pd.read_parquet(folder / "golden_rows.parquet")
        rows = golden[names].to_numpy(dtype=np.float32)
        booster = lightgbm.Booster(model_file=str(folder / "model.txt"))
        lgb = booster.predict(rows.astype(np.float64))
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
        onnx = np.asarray(session.run(None, {session.get_inputs()[0].name: rows})[0]).reshape(-1)
        ours = golden["score"].to_numpy()
        for name, theirs, bar in (("lightgbm.Booster", lgb, 1e-9), ("onnxruntime", onnx, 1e-5)):
            gap = float(np.max(np.abs(theirs - ours)))
            require(gap <= bar, f"{folder.name}: {name} differs by {gap}")
            require(np.array_equal(np.argsort(theirs, kind="stable"), np.argsort(ours, kind="stable")) or gap <= bar / 10, f"{folder.name}: {name} ranks otherwise")
            print(f"readers: model {folder.name}: {name} {booster.num_trees()} trees, {len(ours)} rows, largest difference {gap:.1e}")


read_everything()
read_as_one_table()
read_stage([line.strip() for line in open(sys.argv[2], encoding="utf-8")] if len(sys.argv) > 2 else None)
predict()
print("readers: ok")
