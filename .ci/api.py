"""The signal service as others see it: every route's real answers against docs/reference/openapi.json, /metrics through
Prometheus' own parser, and the series that the dashboard and the alerts name.

    python .ci/api.py PROGRAM DRIVE        # works on a copy of the drive, which must hold a champion (the demo's does)
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import jsonschema
import yaml
from openapi_spec_validator import validate
from prometheus_client.parser import text_string_to_metric_families

program, drive = sys.argv[1], Path(sys.argv[2])
repository = Path(__file__).resolve().parent.parent
api = json.loads((repository / "docs/reference/openapi.json").read_text())
BASE = "http://127.0.0.1:18766"


def require(condition, what):
    if not condition:
        sys.exit(f"api: FAIL {what}")


def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(BASE + path, data, method=method), timeout=15) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def as_described(method, path, body=None, wanted=200):
    status, text = call(method, path, body)
    require(status == wanted, f"{method} {path}: {status} instead of {wanted}: {text[:300]}")
    content = api["paths"][path][method.lower()]["responses"][str(status)]["content"]
    schema = content.get("application/json", {}).get("schema")
    if schema:
        jsonschema.Draft202012Validator({**schema, "components": api["components"]}).validate(json.loads(text))
    print(f"api: {method} {path} {status}: as described")
    return text


def series(text):
    names = set()
    for family in text_string_to_metric_families(text):
        require(family.documentation and family.type != "unknown", f"{family.name} has no HELP or TYPE")
        names |= {sample.name for sample in family.samples}
    require(names, "no series")
    return names


def named():
    """Every series that the dashboard and the alerts ask for, by file."""
    dashboard = json.loads((repository / "templates/grafana/trademl.json").read_text())
    queries = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])]
    alerts = yaml.safe_load((repository / "templates/grafana/alerts.yml").read_text())
    queries += [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    return {name for query in queries for name in re.findall(r"\btrademl_[a-z_]+", query)}


validate(api)
print("api: docs/reference/openapi.json is valid OpenAPI", api["openapi"])
work = Path(tempfile.mkdtemp())
shutil.copytree(drive, work / "drive")
env = {"HOME": str(work), "PATH": os.environ["PATH"]}
flags = ["--plain", "--yes", "--root", str(work / "drive"), "--set", "serve.address=127.0.0.1:18766"]
service = subprocess.Popen([program, "serve", *flags], env=env, stdin=subprocess.DEVNULL, stderr=open(work / "log", "w"))
try:
    for _ in range(150):
        require(service.poll() is None, (work / "log").read_text()[-600:])
        try:
            if call("GET", "/ready")[0] == 200:
                break
        except OSError:
            pass
        time.sleep(0.2)
    for path in ("/health", "/ready", "/", "/api/v1/model/info"):
        as_described("GET", path)
    generate, signed = "/api/v1/signals/generate", {"operator": "check", "reason": "a check"}
    signals = json.loads(as_described("POST", generate, {"symbols": ["AAPL", "MSFT"], "top_n": 5}))
    require([s["symbol"] for s in signals["signals"]] == ["AAPL", "MSFT"], "signals of other symbols")
    as_described("POST", generate, {"symbols": []}, 400)
    as_described("POST", generate, {"symbols": ["AAPL"], "surprise": 1}, 400)
    as_described("POST", generate, {"symbols": ["NOSUCHNAME"]}, 404)
    as_described("POST", generate, {"symbols": ["AAPL"], "as_of_date": "2017-11-23"}, 422)
    as_described("POST", "/api/v1/model/reload", {})
    as_described("POST", "/api/v1/model/rollback", signed, 409)
    as_described("POST", "/api/v1/model/rollback", {"operator": "", "reason": ""}, 400)
    as_described("POST", "/api/v1/paper/stop", signed)
    there = series(as_described("GET", "/metrics"))
    lacking = sorted(named() - there)
    require(not lacking, f"the dashboard or the alerts ask for {lacking}, which /metrics does not have")
    print(f"api: /metrics: {len(there)} series, typed and explained; dashboard and alerts name {len(named())} of them and no other")
finally:
    service.terminate()
    service.wait(30)
    shutil.rmtree(work, ignore_errors=True)
print("api: ok")
