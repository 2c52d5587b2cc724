"""Whose weights stay when a study has selected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_study import BASE, config, finalist, record, trial

from search.decision.candidates import Candidate
from search.decision.choices import Choice
from search.decision.evidence import Finalist, FinalistRun
from search.decision.front import pareto_front
from search.records.retention import (
    delete_others,
    kept_files,
    points_to_write,
    why_lost,
    with_kept_weights,
)
from search.records.study_folder import StudyFolder
from search.records.study_record import StudyRecord
from search.results import PointResult, TrialResult, TrialState
from search.selection import Selection, select
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
    return retained(folder, made, selection), left(folder)


def retained(folder: StudyFolder, made: StudyRecord, selection: Selection) -> StudyRecord:
    """Delete what does not stay; return the record without it."""
    files = kept_files(made, selection, folder)
    found = with_kept_weights(made, files)
    assert kept_files(found, selection, folder) == files
    delete_others(folder, files)
    return found


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


def made_points(folder: StudyFolder, keep: str) -> StudyRecord:
    """Add points by (gain, forgetting): (70, 10) and (25, 4.5) on the front, (31, 10), and a failed one."""
    made = study(folder, keep)
    count = (90.0, 60.0, 12.0)
    values = [{**FRONT_BOLD, "count": each} for each in count]
    values[1] = {**BASE, "count": 60.0, "colour": FRONT_BOLD["colour"] + 1}
    transforms = (Soup((Member(2, 40), Member(5, 40))), Interpolation(0.5), Interpolation(0.1))
    points = [
        PointResult(number=n, point=Point(2, 40, each), trial=made.trials[2], rung=trial(2, [values[n]]).last)
        for n, each in enumerate(transforms)
    ]
    lost = PointResult(
        number=3, point=Point(2, 40, Interpolation(0.2)), trial=made.trials[2], error="out of memory"
    )
    return replace(made, points=(*points, lost))


def to_write(made: StudyRecord) -> list[int]:
    selection = select(made.trials, made.objective, made.points, finalists=made.finalists)
    return [point.number for point in points_to_write(made, selection)]


@pytest.mark.parametrize(("keep", "numbers"), [("selected", [0]), ("pareto", [0, 1]), ("all", [0, 1, 2])])
def test_points_that_stay_are_to_be_written(tmp_path: Path, keep: str, numbers: list[int]) -> None:
    folder = StudyFolder(tmp_path)
    made = made_points(folder, keep)
    assert to_write(made) == numbers
    written = [pointed(folder, point) if point.number in numbers else point for point in made.points]
    made = replace(made, points=tuple(written))
    assert to_write(made) == []
    # They stay; what they were made of only goes on its own account.
    found, files = kept(folder, made)
    assert {file for file in files if file.startswith("points")} == {
        f"points/{n}/w.safetensors" for n in numbers
    }
    assert ("trials/id5/step_000040.safetensors" in files) == (keep == "all")
    assert found.points[0].trial == found.trials[2]


def test_a_named_choice_that_others_beat_is_to_be_written(tmp_path: Path) -> None:
    """It may be: choices leave out what gains nothing beyond its noise, the front does not."""
    made = made_points(StudyFolder(tmp_path), "pareto")
    bold = Choice(name="bold", candidate="point 2", title="", sentence="")
    selection = replace(select(made.trials, made.objective, made.points), choices=(bold,))
    assert [point.number for point in points_to_write(made, selection)] == [0, 1, 2]


def test_a_finalist_s_point_is_its_run_s(tmp_path: Path) -> None:
    """The soup was trained again; the half of it, too, but was dropped, so that no run stands for it."""
    made = made_points(StudyFolder(tmp_path), "pareto")
    finalists = (finalist("point 0", FRONT_BOLD), finalist("point 1", FRONT_MILD, dropped=True))
    assert to_write(replace(made, finalists=finalists)) == [1]


def pointed(folder: StudyFolder, point: PointResult) -> PointResult:
    """Leave a point's weights."""
    path = folder.points.absolute() / str(point.number) / "w.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"tensors")
    return replace(point, rung=replace(point.measured, weights=str(path)))


@pytest.mark.parametrize(
    ("number", "keep", "finished", "unwritten", "said"),
    [
        (0, "pareto", True, "no space left", "could not be written (no space left)"),
        (0, "pareto", False, None, "were not written, since the study has not finished"),
        (0, "all", True, None, "are no longer there"),
        (None, "pareto", False, None, "are no longer there"),
        (
            2,
            "pareto",
            True,
            None,
            "were not kept: the study kept those of what its own rule selected or took as a finalist, of the "
            "feasible front and the named choices alone (selection.keep_weights: pareto)",
        ),
        (
            None,
            "selected",
            True,
            None,
            "were not kept: the study kept those of what its own rule selected alone "
            "(selection.keep_weights: selected)",
        ),
    ],
)
def test_why_weights_are_not_there_is_said(
    tmp_path: Path, number: int | None, keep: str, finished: bool, unwritten: str | None, said: str
) -> None:
    made = replace(made_points(StudyFolder(tmp_path), keep), finished=finished)
    point = None if number is None else replace(made.points[number], unwritten=unwritten)
    selection = replace(select(made.trials, made.objective), winner=made.trials[2], point=point)
    assert why_lost(made, selection) == said


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
    retained(folder, made, selection)
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
