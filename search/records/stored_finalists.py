"""Finalists as files: written when they have been confirmed, read back by whoever looks at a study later."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from search.decision.candidates import EVALUATIONS_FILE
from search.decision.evidence import Estimate, Estimates, Finalist, FinalistRun
from search.objective import Score
from search.records.stored_results import read_json, rung_from_dict, rung_to_dict, write_json
from search.records.stored_shapes import FinalistShape, RunShape
from search.results import Rung
from trainables.files import naming, write_atomically
from trainables.scoring.evaluation import Evaluation, evaluations_json, read_evaluations

FINALIST_FILE: Final = "finalist.json"
RUN_FILE: Final = "run.json"
CONFIRM_FILE: Final = "confirm.json"


def slug_of(candidate: str) -> str:
    """Return the name of a candidate's folder: `trial_3` for `trial 3`."""
    return candidate.replace(" ", "_")


def run_folder(candidate: str, seed: int) -> Path:
    """Return the folder of a finalist's run, relative to the study's."""
    return Path("finalists", slug_of(candidate), f"seed_{seed}")


def write_run(folder: Path, run: FinalistRun, evaluations: Mapping[str, Evaluation]) -> None:
    """Write a finalist's run, as far as it has come.

    Args:
        folder: The study's folder.
        run: The run.
        evaluations: Task -> what it scored on the search split; empty where it failed.
    """
    own = folder / run.folder
    if evaluations:
        write_atomically(own / EVALUATIONS_FILE, evaluations_json(evaluations))
    if run.confirm:
        write_atomically(own / CONFIRM_FILE, evaluations_json(run.confirm))
    fields = {
        "seed": run.seed,
        "rung": None if run.rung is None else rung_to_dict(run.rung, folder),
        "confirmed": None if run.confirmed is None else run.confirmed.to_metrics(),
        "error": run.error,
    }
    write_json(own / RUN_FILE, fields)


def write_finalist(folder: Path, place: int, finalist: Finalist) -> None:
    """Write what was found of a finalist; its runs are written by `write_run`.

    Args:
        folder: The study's folder.
        place: Its place among the finalists by search score, from 0.
        finalist: The finalist.
    """
    estimates = finalist.estimates
    fields = {
        "candidate": finalist.candidate,
        "place": place,
        "runs": [run.folder for run in finalist.runs],
        "dropped": finalist.dropped,
        "estimates": None if estimates is None else dataclasses.asdict(estimates),
    }
    write_json(folder / "finalists" / slug_of(finalist.candidate) / FINALIST_FILE, fields)


def read_finalists(folder: Path) -> tuple[Finalist, ...]:
    """Read back a study's finalists, in the order of their search scores.

    Args:
        folder: The study's folder.

    Raises:
        OSError: A file can't be read.
        ValueError: One is damaged.
    """
    found = {file: read_json(file, FinalistShape) for file in folder.glob(f"finalists/*/{FINALIST_FILE}")}
    return tuple(
        _read_finalist(folder, file, fields)
        for file, fields in sorted(found.items(), key=lambda item: item[1]["place"])
    )


def _read_finalist(folder: Path, file: Path, fields: Mapping[str, Any]) -> Finalist:
    with naming(file):
        return Finalist(
            candidate=fields["candidate"],
            runs=tuple(_read_run(folder, own) for own in fields["runs"]),
            estimates=None if fields["estimates"] is None else _estimates(fields["estimates"]),
            dropped=fields["dropped"],
        )


def read_runs(folder: Path) -> dict[str, FinalistRun]:
    """Return the finalists' runs, as far as they have come, by their folders relative to the study's.

    Args:
        folder: The study's folder.

    Raises:
        OSError: A file can't be read.
        DamagedFile: One is damaged.
    """
    files = folder.glob(f"finalists/*/seed_*/{RUN_FILE}")
    runs = (_read_run(folder, str(file.parent.relative_to(folder))) for file in files)
    return {run.folder: run for run in runs}


def read_confirmed(folder: Path) -> dict[str, FinalistRun]:
    """Return those of `read_runs` that were scored on the confirm splits."""
    return {own: run for own, run in read_runs(folder).items() if run.confirmed is not None}


def read_measured(folder: Path, candidate: str, seed: int) -> tuple[Rung, dict[str, Evaluation]] | None:
    """Return what a run scored on the search split; None where that is not known.

    Args:
        folder: The study's folder.
        candidate: The finalist's key.
        seed: The run's seed.

    Raises:
        OSError: A file can't be read.
        DamagedFile: One is damaged.
    """
    own = run_folder(candidate, seed)
    file = folder / own / EVALUATIONS_FILE
    if not ((folder / own / RUN_FILE).exists() and file.exists()):
        return None
    rung = _read_run(folder, str(own)).rung
    return None if rung is None else (rung, read_evaluations(file))


def _read_run(folder: Path, own: str) -> FinalistRun:
    file = folder / own / RUN_FILE
    fields = read_json(file, RunShape)
    with naming(file):
        rung = None if fields["rung"] is None else rung_from_dict(fields["rung"], folder)
        confirmed = None if fields["confirmed"] is None else Score.from_metrics(fields["confirmed"])
    return FinalistRun(
        seed=fields["seed"],
        rung=rung,
        confirm={} if confirmed is None else read_evaluations(folder / own / CONFIRM_FILE),
        confirmed=confirmed,
        folder=own,
        error=fields["error"],
    )


def _estimates(fields: Mapping[str, Any]) -> Estimates:
    values = {name: Estimate(**value) for name, value in fields.items() if name != "changes"}
    changes = {task: Estimate(**value) for task, value in fields["changes"].items()}
    return Estimates(**values, changes=changes)
