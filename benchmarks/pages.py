"""How long a person waits for the pages of a study of many trials: the report and MLflow's."""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import requests

from search.records.study_record import StudyRecord
from search.report import render_report
from search.results import TrialResult, TrialState
from search.selection import select
from tests import made_study
from tests.mlflow_server import mlflow_server

SUBSETS = ("full", "llm", "vision", "projector", "sa_proj", "mlp", "gate_up", "sa_gate_up")


def report(folder: Path, looks: int = 3) -> dict[str, Any]:
    """Making the report of 100 and of 1,000 trials, and a browser's time to show it, beside an empty page."""
    found: dict[str, Any] = {}
    pages = {"empty": "about:blank"}
    for trials in (100, 1000):
        record = synthetic_record(trials)
        selection = select(record.trials, record.objective)
        began = time.process_time()
        html = render_report(record, selection)
        made = time.process_time() - began
        (folder / f"{trials}.html").write_text(html, encoding="utf-8")
        pages[str(trials)] = (folder / f"{trials}.html").as_uri()
        found[str(trials)] = {"processor_seconds": round(made, 2), "megabytes": round(len(html) / 1e6, 2)}
    if shutil.which("chromium"):
        shown: dict[str, list[float]] = {name: [] for name in pages}
        for _ in range(looks):
            for name, page in pages.items():
                shown[name].append(look(page, folder))
        found["browser_seconds"] = {
            name: round(statistics.median(each), 2) for name, each in shown.items()
        } | {"samples": {name: [round(value, 2) for value in each] for name, each in shown.items()}}
    return found


def synthetic_record(trials: int) -> StudyRecord:
    """Return a made-up study: one trial in fifty failed, half of the others were pruned."""
    choose = random.Random(0)
    study = made_study.config(subsets=SUBSETS)
    return made_study.record(
        [_trial(number, choose, study) for number in range(trials)], study=study, seconds=5000
    )


def _trial(number: int, choose: random.Random, study: Any) -> TrialResult:
    subset, rate = choose.choice(SUBSETS), 10 ** choose.uniform(-5, -1)
    gain, loss, rungs = 40 * choose.random(), 12 * choose.random(), choose.choice((1, 2, 3, 3))
    fields: dict[str, Any] = {"study": study, "subset": subset, "learning_rate": rate}
    if number % 50 == 49:
        return made_study.trial(number, state=TrialState.FAILED, error="loss is nan at step 3", **fields)
    values = [
        {
            "count": 10 + gain * k / 3,
            "clock": 20 + gain * k / 4,
            "colour": 90 - loss * k / 3,
            "shape": 80 - loss * k / 9,
        }
        for k in range(1, rungs + 1)
    ]
    state = TrialState.COMPLETE if rungs == 3 else TrialState.PRUNED
    return made_study.trial(number, values, state=state, seconds=choose.uniform(20, 60), **fields)


def pages_of_a_server(folder: Path, experiment: str) -> dict[str, Any]:
    """Time what a server's page of the experiment asks for, and how long a browser takes over the page."""
    times: dict[str, list[float]] = {"ask_100_runs": [], "ask_1000_runs": [], "page": []}
    with mlflow_server(folder, database=folder / "mlflow.db") as (uri, _):
        for _turn in range(3):
            for size in (100, 1000):
                began = time.perf_counter()
                answer = requests.post(
                    f"{uri}/ajax-api/2.0/mlflow/runs/search",
                    json={"experiment_ids": [experiment], "max_results": size},
                    timeout=120,
                )
                assert len(answer.json()["runs"]) == size
                times[f"ask_{size}_runs"].append(time.perf_counter() - began)
            if shutil.which("chromium"):
                times["page"].append(look(f"{uri}/#/experiments/{experiment}/runs", folder))
    return {f"{what}_seconds": round(statistics.median(each), 2) for what, each in times.items() if each}


def look(page: str, folder: Path) -> float:
    """Return the seconds that headless Chromium takes to start, show a page and save a picture of it."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += ["--no-first-run", "--disable-background-networking", "--virtual-time-budget=20000"]
    picture = folder / "page.png"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command += [f"--user-data-dir={profile}", "--window-size=1400,1000", f"--screenshot={picture}", page]
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        return time.perf_counter() - began
