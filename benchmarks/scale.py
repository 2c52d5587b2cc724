"""What a study costs besides training as it grows: the driver, the sampler, MLflow and the report.

    python -m benchmarks.scale [PART ...]

Processor time is that of the driver's thread that runs Tune's loop, without what the no-op trainables take.
`simulated` runs Tune's own loop over simulated actors, `real` over real ones, as many as fit into memory.
Where PostgreSQL's binaries are found, a private server is started for it. docs/scale.md has the conclusions.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray
from rich.console import Console

from benchmarks.machine import RESULTS, machine, write_results
from benchmarks.noop_actors import run_real
from benchmarks.noop_study import COSTS, MANIFEST, NoopStudy, evaluations, objective, study_config
from benchmarks.pages import pages_of_a_server, report
from search.objective import score_metrics
from search.results import Rung, TrialResult, TrialState
from search.stores.mlflow_store import prepare_store
from search.stores.optuna_store import prepare_storage
from search.tracking import StudyTracker
from spaces.recipe import Recipe
from tests.postgres_server import postgres_binaries, postgres_server

CONSOLE = Console(highlight=False)


def simulated(folder: Path) -> dict[str, Any]:
    """Driver's processor time per report, ours beside Tune alone, alternating."""
    found: dict[str, Any] = {}
    with _small_ray():
        for trials, concurrency, rounds in ((300, 20, 3), (1000, 100, 3), (1000, 400, 2), (3000, 400, 1)):
            sides: dict[str, list[float]] = {"ours": [], "tune_alone": []}
            for turn in range(rounds):
                for side, values in sides.items():
                    place = folder / f"{trials}-{concurrency}-{side}-{turn}"
                    study = NoopStudy(place, trials=trials, concurrency=concurrency)
                    began = time.thread_time()
                    actors = study.ours() if side == "ours" else study.bare()
                    spent = time.thread_time() - began - actors.seconds
                    values.append(round(1000 * spent / study.results, 3))
                    CONSOLE.print(trials, concurrency, side, values[-1])
            found[f"{trials} trials, {concurrency} at a time"] = _compared(sides)
    return {"unit": "ms of the driver's thread per report", **found}


def real(folder: Path) -> dict[str, Any]:
    """Driver's processor time per report with real actors, and what a trial's own process takes."""
    found: dict[str, Any] = {}
    for concurrency in (1, 4, 16):
        with _small_ray(drivers=concurrency):
            sides: dict[str, list[float]] = {"ours": [], "tune_alone": []}
            processes: dict[str, Any] = {}
            for turn in range(2):
                for side, values in sides.items():
                    place = folder / f"real-{concurrency}-{side}-{turn}"
                    study = NoopStudy(place, trials=4 * concurrency + 40, concurrency=concurrency)
                    processes[side] = run_real(study, ours=side == "ours")
                    values.append(round(1000 * study.seconds / study.results, 3))
            found[f"{concurrency} at a time"] = {**_compared(sides), "trial_processes": processes}
            CONSOLE.print(concurrency, found[f"{concurrency} at a time"])
    return {"unit": "ms of the driver's thread per report", **found}


def sampler(folder: Path, trials: int = 1000, running: int = 100) -> dict[str, Any]:
    """Time of one suggestion and of telling one result, after 100, 300 and 1,000 trials."""
    found: dict[str, Any] = {"running": running}
    with _postgres() as server:
        storages: dict[str, str | None] = {"journal": None}
        if server is not None:
            storages["postgresql"] = server.create("optuna")
            prepare_storage(str(storages["postgresql"]))
        for name, storage in storages.items():
            place = folder / f"sampler-{name}"
            study = NoopStudy(place, trials=trials + 20, concurrency=running, storage=storage)
            search = study.sampler()
            asked, told = [], []
            for number in range(trials + 20):
                began = time.perf_counter(), time.thread_time()
                params = search.suggest(str(number))
                asked.append((time.perf_counter() - began[0], time.thread_time() - began[1]))
                assert params is not None
                if (ended := number - running) >= 0:
                    began = time.perf_counter(), time.thread_time()
                    result = {
                        "score": float(ended % 37),
                        "step": 100,
                        "progress": 1.0,
                        "held_out_forgetting": 1.0,
                    }
                    search.on_trial_complete(str(ended), result)
                    told.append((time.perf_counter() - began[0], time.thread_time() - began[1]))
            found[name] = {
                f"suggest after {n} trials": _wall_and_processor(asked[n - 20 : n + 20])
                for n in (100, 300, trials)
            } | {"tell": _wall_and_processor(told[-100:])}
            CONSOLE.print(name, found[name])
    return {"unit": "ms, medians", **found}


def mlflow(folder: Path, trials: int = 1000) -> dict[str, Any]:
    """Writes a second through StudyTracker, and reading 1,000 nested runs back, by store."""
    found: dict[str, Any] = {"trials": trials}
    with _postgres() as server:
        stores = {"sqlite": f"sqlite:///{folder}/mlflow.db"}
        if server is not None:
            stores["postgresql"] = server.create("mlflow")
        for name, uri in stores.items():
            prepare_store(uri)
            began = time.perf_counter(), time.process_time()
            writes, experiment = _record_trials(uri, folder, trials)
            wall, processor = time.perf_counter() - began[0], time.process_time() - began[1]
            found[name] = {
                "writes": writes,
                "writes_per_second": round(writes / wall, 1),
                "processor_ms_per_trial": round(1000 * processor / trials, 1),
                **_read_runs(uri, experiment),
            }
            if name == "sqlite":
                found[name] |= pages_of_a_server(folder, experiment)
            CONSOLE.print(name, found[name])
    return found


def _record_trials(uri: str, folder: Path, trials: int) -> tuple[int, str]:
    """Record a study of three rungs a trial; return how many writes that took, and the experiment's id."""
    config = study_config(trials, folder)
    config = config.model_copy(update={"tracking": config.tracking.model_copy(update={"uri": uri})})
    goal = objective(config)
    scored = evaluations(1e-3, 1.0, 0)
    metrics = {**score_metrics(scored, objective=goal), **COSTS}
    score = goal.score({task: evaluation.value for task, evaluation in scored.items()})
    rungs = tuple(
        Rung(step=step, progress=step / 100, score=score, values={}, metrics=metrics) for step in config.rungs
    )
    with StudyTracker(uri, "noop") as tracker:
        tracker.start_study(config, tags={}, fingerprints={}, study_id="noop")
        for number in range(trials):
            recipe = Recipe(subset="gate_up", learning_rate=1e-3, steps=100, batch_size=8)
            tracker.start_trial(f"t{number}", number, recipe)
            tracker.log_manifest(f"t{number}", MANIFEST)
            for rung in rungs:
                tracker.log_rung(f"t{number}", rung.step, metrics)
            tracker.end_trial(
                TrialResult(
                    trial_id=f"t{number}",
                    number=number,
                    recipe=recipe,
                    state=TrialState.COMPLETE,
                    rungs=rungs,
                )
            )
        assert tracker.flush(3600)
        assert tracker.warnings == []
        return trials * (3 + len(rungs)), tracker._experiment_id


def _read_runs(uri: str, experiment: str) -> dict[str, Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    pages = {}
    for size in (100, 1000):
        times = []
        for _ in range(3):
            began = time.perf_counter()
            assert len(client.search_runs([experiment], max_results=size)) == size
            times.append(time.perf_counter() - began)
        pages[f"search_{size}_runs_seconds"] = round(statistics.median(times), 2)
    return pages


@contextmanager
def _postgres() -> Iterator[Any]:
    binaries = postgres_binaries()
    if binaries is None:
        CONSOLE.print("no PostgreSQL here: left out")
        yield None
        return
    # As it is installed, with a commit's data on the disk: no fsync=off here.
    with postgres_server(binaries, ("listen_addresses=127.0.0.1",)) as server:
        yield server


@contextmanager
def _small_ray(drivers: int = 1) -> Iterator[None]:
    ray.init(
        address="local",
        num_cpus=1,
        resources={"train_driver": drivers},
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
    )
    try:
        yield
    finally:
        ray.shutdown()


def _compared(sides: dict[str, list[float]]) -> dict[str, Any]:
    medians = {side: statistics.median(values) for side, values in sides.items()}
    return {**medians, "ratio": round(medians["ours"] / medians["tune_alone"], 2), "samples": sides}


def _wall_and_processor(times: list[tuple[float, float]]) -> dict[str, float]:
    return {
        "wall": round(1000 * statistics.median(wall for wall, _ in times), 2),
        "processor": round(1000 * statistics.median(processor for _, processor in times), 2),
    }


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "simulated": simulated,
    "real": real,
    "sampler": sampler,
    "mlflow": mlflow,
    "report": report,
}


def main() -> int:
    """Measure the parts that are named, or all, and write the figures beside those of other parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=list(PARTS), help="default: all")
    chosen = parser.parse_args().parts or list(PARTS)
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    file = RESULTS / "scale.json"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        for name in chosen:
            CONSOLE.rule(name)
            measured = PARTS[name](Path(temporary)) | {"load_average": machine()["load_average"]}
            # Each part has its own load; the others' figures stay as they were measured.
            figures = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
            figures[name] = measured
            write_results("scale", {part: figures[part] for part in PARTS if part in figures})
    CONSOLE.print(f"memory now: {psutil.virtual_memory().percent}% used; written to {file}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
