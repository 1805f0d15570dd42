"""Every model of a drive is one finished run and one version on the server, with its parameters, numbers, files and alias."""

import hashlib
import json
import pathlib
import sys
import tempfile

from mlflow import MlflowClient

drive, listed = pathlib.Path(sys.argv[1]), json.loads(pathlib.Path(sys.argv[2]).read_text())
client = MlflowClient()
(model,) = client.search_registered_models()
versions = client.search_model_versions(f"name = '{model.name}'")
(experiment,) = [e for e in client.search_experiments() if e.name.startswith("trademl/")]
runs = client.search_runs([experiment.experiment_id])
assert len(versions) == len(runs) == len(listed) > 1, (len(versions), len(runs), len(listed))

files = 0
for row in listed:
    (run,) = [r for r in runs if r.info.run_name == row["version"]]
    (version,) = [v for v in versions if v.run_id == run.info.run_id]
    assert run.info.status == "FINISHED" and run.data.tags["trademl.manifest_sha256"] == row["sha256"]
    for name, value in row["metrics"].items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            assert run.data.metrics[name] == value, (name, value)
    assert run.data.params["family"] == row["config"]["family"]
    stage = {"champion": {"champion"}, "challenger": {"challenger"}, "shadow": {"challenger"}}.get(row["stage"], set())
    # Of several challengers the newest has the alias.
    aliases = set(client.get_model_version(model.name, version.version).aliases)
    assert aliases <= stage and ("champion" in aliases) == (row["stage"] == "champion"), (row["version"], aliases)
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(client.download_artifacts(run.info.run_id, "model", folder))
        for path in sorted((drive / row["path"]).iterdir()):
            assert hashlib.sha256((copy / path.name).read_bytes()).digest() == hashlib.sha256(path.read_bytes()).digest(), path.name
            files += 1
champion = client.get_model_version_by_alias(model.name, "champion")
print(f"mlflow: {len(runs)} runs and versions of {model.name}, {files} files equal, champion is version {champion.version} ({champion.tags['trademl.version']})")
