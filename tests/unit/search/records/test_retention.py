"""Whose weights stay when a study has selected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_study import BASE, config, record, trial

from search.decision.candidates import Candidate
from search.decision.evidence import Finalist, FinalistRun
from search.records.retention import pareto_front, with_kept_weights
from search.records.study_folder import StudyFolder
from search.records.study_record import StudyRecord
from search.results import PointResult, TrialResult, TrialState
from search.selection import select
from spaces.points import Interpolation, Member, Point, Soup

# (gain, forgetting): the base's values, the mean of two targets and of two held-out tasks.
FRONT_BOLD = {"count": 70.0, "clock": 80.0, "colour": 80.0, "shape": 70.0}  # (60, 10)
FRONT_MILD = {"count": 40.0, "clock": 30.0}  # (20, 0)
BEATEN = {"count": 40.0, "clock": 30.0, "colour": 80.0, "shape": 70.0}  # (20, 10)
BELOW_BASE = {"count": 5.0}  # (-2.5, 0)


def written(folder: StudyFolder, made: TrialResult) -> TrialResult:
    """Leave weights at each of a trial's rungs."""
    rungs = []
    for rung in made.rungs:
        path = folder.trials.absolute() / made.trial_id / f"step_{rung.step:06d}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"tensors")
        rungs.append(replace(rung, weights=str(path)))
    return replace(made, rungs=tuple(rungs))


def left(folder: StudyFolder) -> set[str]:
    return {str(path.relative_to(folder.root)) for path in folder.root.rglob("*.safetensors")}


def study(folder: StudyFolder, keep: str) -> StudyRecord:
    """Make a study of a failed, a pruned and four complete trials, and of two points of the beaten one."""
    failed = replace(trial(4, [FRONT_MILD], state=TrialState.PRUNED), state=TrialState.FAILED, error="lost")
    trials = [
        written(folder, each)
        for each in (
            trial(0, [FRONT_MILD, FRONT_BOLD]),
            trial(1, [FRONT_MILD]),
            trial(2, [BEATEN]),
            trial(3, [FRONT_BOLD], state=TrialState.PRUNED),
            failed,
            trial(5, [BELOW_BASE]),
        )
    ]
    made = config()
    made = made.model_copy(update={"selection": made.selection.model_copy(update={"keep_weights": keep})})
    return replace(record(trials, study=made), trials=tuple(trials))


def kept(folder: StudyFolder, made: StudyRecord) -> tuple[StudyRecord, set[str]]:
    selection = select(made.trials, made.objective, made.points)
    return with_kept_weights(made, selection, folder), left(folder)


def test_the_front_s_weights_stay(tmp_path: Path) -> None:
    """Trial 0 and 1 are on the front; of trial 0 its last rung is."""
    folder = StudyFolder(tmp_path)
    found, files = kept(folder, study(folder, "pareto"))
    assert files == {"trials/id0/step_000040.safetensors", "trials/id1/step_000040.safetensors"}
    assert found.trials[0].rungs[0].weights is None
    assert found.trials[0].last.weights is not None
    assert found.trials[2].last.weights is None


def test_the_selected_one_s_alone_stay(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    assert kept(folder, study(folder, "selected"))[1] == {"trials/id0/step_000040.safetensors"}


def test_all_stay_but_those_of_failed_trials(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    made = study(folder, "all")
    before = left(folder)
    assert kept(folder, made)[1] == before - {
        f"trials/id4/step_{made.trials[4].rungs[0].step:06d}.safetensors"
    }


def test_what_a_point_is_made_of_stays(tmp_path: Path) -> None:
    """A soup of trials 2 and 5 that nobody beats keeps the weights of both."""
    folder = StudyFolder(tmp_path)
    made = study(folder, "pareto")
    best = trial(2, [{**FRONT_BOLD, "count": 90.0}]).last
    soup = Point(2, 40, Soup((Member(2, 40), Member(5, 40))))
    made = replace(made, points=(PointResult(number=0, point=soup, trial=made.trials[2], rung=best),))
    found, files = kept(folder, made)
    assert {f"trials/id{number}/step_000040.safetensors" for number in (2, 5)} <= files
    # It beats trial 0, which goes.
    assert "trials/id0/step_000040.safetensors" not in files
    assert found.points[0].trial == found.trials[2]


@pytest.mark.parametrize(
    ("keep", "files"),
    [
        ("pareto", {"finalists/trial-0/seed_1/w.safetensors", "finalists/trial-0/seed_2/w.safetensors"}),
        ("selected", {"finalists/trial-0/seed_2/w.safetensors"}),
    ],
)
def test_a_finalist_s_runs_stay(tmp_path: Path, keep: str, files: set[str]) -> None:
    """Seed 2 scored higher on the search split: it is the run whose weights are handed over."""
    folder = StudyFolder(tmp_path)
    made = study(folder, keep)
    runs = []
    for seed, values in ((1, FRONT_MILD), (2, FRONT_BOLD)):
        home = f"finalists/trial-0/seed_{seed}"
        (tmp_path / home).mkdir(parents=True)
        (tmp_path / home / "w.safetensors").write_bytes(b"tensors")
        rung = trial(0, [values]).last
        runs.append(FinalistRun(seed=seed, rung=rung, confirm={}, confirmed=None, folder=home))
    finalist = Finalist(candidate="trial 0", runs=tuple(runs))
    made = replace(made, finalists=(finalist,))
    selection = select(made.trials, made.objective, finalists=made.finalists)
    assert selection.run == runs[1]
    with_kept_weights(made, selection, folder)
    assert {file for file in left(folder) if file.startswith("finalists")} == files


def candidate(number: int, gain: float, forgetting: float) -> Candidate:
    base: dict[str, Any] = dict(BASE)
    values = {
        "count": base["count"] + gain,
        "clock": base["clock"] + gain,
        "colour": base["colour"] - forgetting,
        "shape": base["shape"] - forgetting,
    }
    return Candidate(trial=trial(number, [values]))


@given(st.lists(st.tuples(st.integers(-3, 5), st.integers(-3, 5)), max_size=8))
def test_nobody_on_the_front_is_beaten_and_all_others_are(rows: list[tuple[int, int]]) -> None:
    found = [candidate(number, *map(float, row)) for number, row in enumerate(rows)]
    front = {each.trial.number for each in pareto_front(found)}
    everyone = [*rows, (0, 0)]
    for number, (gain, forgetting) in enumerate(rows):
        beaten = any(
            other[0] >= gain and other[1] <= forgetting and other != (gain, forgetting) for other in everyone
        )
        assert (number in front) != beaten


def test_an_interpolation_that_was_not_written_keeps_its_trial(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    made = study(folder, "selected")
    best = trial(2, [{**FRONT_BOLD, "count": 90.0}]).last
    point = Point(2, 40, Interpolation(0.5))
    made = replace(made, points=(PointResult(number=0, point=point, trial=made.trials[2], rung=best),))
    assert kept(folder, made)[1] == {"trials/id2/step_000040.safetensors"}
