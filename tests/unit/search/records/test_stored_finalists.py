"""Finalists are read back as they were written, also from a folder that was moved."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from made_study import GOOD, evaluation, trial

from search.decision.evidence import Estimate, Estimates, Finalist, FinalistRun
from search.records.stored_finalists import (
    read_confirmed,
    read_finalists,
    run_folder,
    slug_of,
    write_finalist,
    write_run,
)

CONFIRM = {task: evaluation(task, value, 50) for task, value in GOOD.items()}
ESTIMATE = Estimate(value=3.0, low=1.5, high=4.25)


def run(folder: Path, candidate: str, seed: int) -> FinalistRun:
    """Return a run with its weights written."""
    own = run_folder(candidate, seed)
    weights = folder / own / "weights.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    rung = trial(0, [GOOD]).last
    return FinalistRun(
        seed=seed,
        rung=replace(rung, weights=str(weights.absolute())),
        confirm=CONFIRM,
        confirmed=replace(rung.score, score=20.5),
        folder=str(own),
    )


def write(folder: Path, *finalists: Finalist) -> None:
    for place, finalist in enumerate(finalists):
        for each in finalist.runs:
            write_run(folder, each, CONFIRM if each.rung else {})
        write_finalist(folder, place, finalist)


def test_what_was_confirmed_is_known_before_the_race_has_ended(tmp_path: Path) -> None:
    confirmed, scored = run(tmp_path, "trial 3", 7), run(tmp_path, "trial 3", 9)
    write_run(tmp_path, confirmed, CONFIRM)
    write_run(tmp_path, replace(scored, confirm={}, confirmed=None), CONFIRM)
    assert read_confirmed(tmp_path) == {"finalists/trial_3/seed_7": confirmed}


def test_finalists_come_back_in_their_order(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    failed = FinalistRun(
        seed=9, rung=None, confirm={}, confirmed=None, folder="finalists/point_4/seed_9", error="loss is nan"
    )
    unconfirmed = replace(run(folder, "trial 12", 9), confirm={}, confirmed=None)
    estimates = Estimates(
        target_gain=ESTIMATE,
        held_out_forgetting=ESTIMATE,
        worst_forgetting=ESTIMATE,
        score=ESTIMATE,
        changes={"count": ESTIMATE},
    )
    finalists = (
        Finalist(candidate="trial 3", runs=(run(folder, "trial 3", 7), run(folder, "trial 3", 9))),
        Finalist(candidate="trial 12", runs=(unconfirmed,), dropped=True),
        Finalist(candidate="point 4", runs=(run(folder, "point 4", 7), failed), estimates=estimates),
    )
    write(folder, *finalists)
    assert read_finalists(folder) == finalists
    shutil.move(folder, tmp_path / "elsewhere")
    moved = read_finalists(tmp_path / "elsewhere")
    assert [each.candidate for each in moved] == ["trial 3", "trial 12", "point 4"]
    rung = moved[0].runs[0].rung
    assert rung is not None
    assert rung.weights == str(tmp_path / "elsewhere/finalists/trial_3/seed_7/weights.safetensors")


def test_a_study_without_finalists_has_none(tmp_path: Path) -> None:
    assert read_finalists(tmp_path) == ()


def test_a_damaged_file_is_no_finalist(tmp_path: Path) -> None:
    write(tmp_path, Finalist(candidate="trial 3", runs=(run(tmp_path, "trial 3", 7),)))
    (tmp_path / "finalists" / slug_of("trial 3") / "seed_7" / "confirm.json").write_text("{")
    with pytest.raises(ValueError, match="Expecting"):
        read_finalists(tmp_path)


def test_a_number_that_is_none_is_not_written(tmp_path: Path) -> None:
    broken = run(tmp_path, "trial 3", 7)
    assert broken.rung is not None
    rung = replace(broken.rung, metrics={"score": math.nan})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_run(tmp_path, replace(broken, rung=rung), CONFIRM)
