"""Import a generated definition with the scheduler's own library, run it, and hold the calls against the graph."""

import importlib.util
import os
import pathlib
import sys

NEEDS = {
    "refresh": [],
    "train": ["refresh"],
    "evaluate": ["train"],
    "shadow": ["refresh"],
    "paper": ["refresh"],
    "parity": ["paper"],
    "mirror": [],
    "notify": [],
}


def load(path):
    spec = importlib.util.spec_from_file_location("trademl_nightly", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def prefect(path):
    from prefect.testing.utilities import prefect_test_harness

    flow = load(path).trademl_nightly
    with prefect_test_harness(server_startup_timeout=180):
        return flow(return_state=True).is_completed()


def airflow(path):
    os.environ.setdefault("AIRFLOW_HOME", str(pathlib.Path.home() / "airflow"))
    os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    os.environ.setdefault("AIRFLOW__CORE__DAGS_FOLDER", str(path.parent))
    from airflow.utils.db import initdb

    initdb()
    from airflow.models.dagbag import DagBag

    bag = DagBag(str(path), include_examples=False)
    assert not bag.import_errors, bag.import_errors
    dag = bag.dags["trademl_nightly"]
    assert set(dag.task_ids) == {*NEEDS, "verdict"}, dag.task_ids
    for name, needs in NEEDS.items():
        if needs:
            assert dag.get_task(name).upstream_task_ids == set(needs), (name, dag.get_task(name).upstream_task_ids)
    return dag.test().state == "success"


name, path = sys.argv[1], pathlib.Path(sys.argv[2])
pathlib.Path.home().mkdir(parents=True, exist_ok=True)
good = {"prefect": prefect, "airflow": airflow}[name](path)
calls = pathlib.Path(os.environ["CALLS"]).read_text().split()
broken = os.environ["BROKEN"]
blocked = set()
for task, needs in NEEDS.items():
    if any(n == broken or n in blocked for n in needs):
        blocked.add(task)
assert sorted(calls) == sorted(set(NEEDS) - blocked), calls
for task in calls:
    assert all(calls.index(need) < calls.index(task) for need in NEEDS[task]), calls
assert calls[-1] == "notify" and calls[-2] == "mirror", calls
assert good == (not broken), (good, broken)
print(f"{name}: {len(calls)} tasks called in their order{f', {broken} failed and only {sorted(blocked)} left out' if broken else ''}")
