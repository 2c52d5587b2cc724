"""The course of a race: what is trained, dropped, confirmed and written; a table stands for training."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_study import BASE, config, evaluation, record, trial
from rich.console import Console

from search.decision.candidates import Candidate
from search.finalists import finalist_search
from search.finalists.finalist_search import with_finalists
from search.finalists.racing import fresh_seeds
from search.finalists.runs import Made
from search.records.stored_finalists import read_finalists
from search.records.study_folder import StudyFolder
from search.records.study_record import StudyRecord
from search.results import Rung, TrialResult
from search.settings.selection_config import FinalistsConfig
from trainables.files import write_atomically
from trainables.scoring.evaluation import Evaluation, evaluations_json, rung_file
from trainables.workers.jobs import ConfirmData, Report

SAMPLES = 100
SEEDS = fresh_seeds(config().search.seed, 3)


def gains(points: float) -> dict[str, float]:
    """Return values whose score is as many points, all of them gain."""
    return {**BASE, "count": BASE["count"] + points, "clock": BASE["clock"] + points}


def evaluations(values: Mapping[str, float]) -> dict[str, Evaluation]:
    return {task: evaluation(task, value, SAMPLES) for task, value in values.items()}


class Table:
    """Stands for training: (number of a trial, seed) -> its gain on the search split, or why it fails."""

    def __init__(self, gained: Mapping[tuple[int, int], float | str]) -> None:
        self.gained = gained
        self.asked: list[tuple[tuple[int, ...], int]] = []
        self.scored: list[tuple[int, int]] = []
        self.logged: list[tuple[str, int]] = []

    def trained(
        self, running: Sequence[Candidate], needs: Mapping[int, int], seed: int
    ) -> Iterator[tuple[Candidate, Made | str]]:
        self.asked.append((tuple(needs), seed))
        for each in running:
            gained = self.gained[each.trial.number, seed]
            if isinstance(gained, str):
                yield each, gained
                continue
            rung = trial(each.trial.number, [gains(gained)]).last
            values = evaluations(gains(gained))
            yield each, Made(candidate=each, seed=seed, members=(), rung=rung, evaluations=values)

    def written(self, made: Sequence[Made]) -> Iterator[tuple[Made, Rung]]:
        yield from ((each, each.rung) for each in made)

    def confirmed(self, made: Sequence[Made], data: ConfirmData) -> Iterator[tuple[Made, Report]]:
        for each in made:
            self.scored.append((each.candidate.trial.number, each.seed))
            values = {**each.rung.values, "count": each.rung.values["count"] - 10}
            yield each, Report(step=40, done=True, evaluations=evaluations(values))

    def base(self, data: ConfirmData) -> dict[str, Evaluation]:
        return evaluations(BASE)


def raced(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    gained: Mapping[tuple[int, int], float | str],
    *,
    trials: Sequence[float] = (30, 29, 28),
    **finalists: Any,
) -> tuple[StudyRecord, Table, str]:
    """Let trials of these scores race; return the record, what was asked of the table, and what was shown."""
    study = config().model_copy(update={"finalists": FinalistsConfig(**{"seeds": 2} | finalists)})
    results: list[TrialResult] = [trial(number, [gains(points)]) for number, points in enumerate(trials)]
    for result, points in zip(results, trials, strict=True):
        file = folder / "trials" / result.trial_id / rung_file(result.last.step)
        write_atomically(file, evaluations_json(evaluations(gains(points))))
    table, shown = Table(gained), io.StringIO()
    run: Any = SimpleNamespace(
        config=study,
        prepared=SimpleNamespace(confirm=ConfirmData(tasks=())),
        folder=StudyFolder(folder),
        console=Console(file=shown, width=200),
        base_on_confirm=lambda data, measure: measure(),
        tracker=SimpleNamespace(
            log_finalist=lambda candidate, result, confirm, *, dropped: table.logged.append(
                (candidate.key, result.seed)
            )
        ),
    )
    monkeypatch.setattr(finalist_search, "FinalistRuns", lambda **_: table)
    found = with_finalists(run, record(results, study=study))
    assert read_finalists(folder) == found.finalists
    return found, table, shown.getvalue()


def everywhere(**points: float) -> dict[tuple[int, int], float | str]:
    """Return the same gain on every seed: `t0=30` for trial 0."""
    return {(int(name[1:]), seed): value for name, value in points.items() for seed in SEEDS}


def test_who_is_clearly_behind_is_neither_trained_on_nor_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them gains 2 points on each target where the others gain 30: 28 less, of 100 samples."""
    found, table, shown = raced(tmp_path, monkeypatch, everywhere(t0=30, t1=2, t2=30), budget=4)
    assert table.asked == [((0, 1, 2), SEEDS[0]), ((0, 2), SEEDS[1])]
    assert table.scored == [(0, SEEDS[0]), (0, SEEDS[1]), (2, SEEDS[0]), (2, SEEDS[1])]
    first, second, third = found.finalists
    assert [each.candidate for each in found.finalists] == ["trial 0", "trial 1", "trial 2"]
    assert (first.dropped, second.dropped, third.dropped) == (False, True, False)
    assert [len(each.runs) for each in found.finalists] == [2, 1, 2]
    assert second.runs[0].confirmed is second.estimates is None
    # One target gains 10 points less on the confirm split: (30 + 20) / 2.
    assert first.estimates is not None
    assert first.estimates.score.value == pytest.approx(25)
    assert "finalist trial 1  gate_up lr 1.0e-3  dropped: clearly behind trial 0 on the new seeds" in shown
    assert sorted(table.logged) == sorted(
        [(key, seed) for key in ("trial 0", "trial 2") for seed in SEEDS[:2]] + [("trial 1", SEEDS[0])]
    )


def test_a_run_that_fails_says_why_and_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one fails once, the second each time; who ran once only is scored on that seed alone."""
    gained = everywhere(t0=30, t1=30, t2=30)
    gained |= {(0, SEEDS[1]): "loss is nan", **{(1, seed): "no memory" for seed in SEEDS}}
    found, table, shown = raced(tmp_path, monkeypatch, gained, budget=4)
    assert table.asked == [((0, 1, 2), SEEDS[0]), ((0, 2), SEEDS[1])]
    first, second, _ = found.finalists
    assert [(run.seed, run.error) for run in first.runs] == [(SEEDS[0], None), (SEEDS[1], "loss is nan")]
    assert [run.error for run in second.runs] == ["no memory"]
    assert (second.estimates, second.run, second.dropped) == (None, None, False)
    assert table.scored == [(0, SEEDS[0]), (2, SEEDS[0]), (2, SEEDS[1])]
    assert f"trial 1  gate_up lr 1.0e-3  seed {SEEDS[0]}  FAILED  no memory" in shown


def test_the_budget_bounds_what_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """4 trials of 40 steps are planned. A quarter, 40 steps, is a run; three eighths are one, too."""
    others = ("trial 1", "trial 2")
    for budget, asked, left_out in (
        (0.24, [], ()),
        (0.25, [((0,), SEEDS[0])], others),
        (0.374, [((0,), SEEDS[0])], others),
        (0.5, [((0,), SEEDS[0]), ((0,), SEEDS[1])], others),
        (1.0, [((0, 1, 2), SEEDS[0]), ((0,), SEEDS[1])], ()),
    ):
        gained = everywhere(t0=30, t1=30, t2=30)
        found, table, shown = raced(tmp_path / str(budget), monkeypatch, gained, budget=budget)
        assert (table.asked, found.finalists_left_out) == (asked, left_out), budget
        few = (
            "no finalists: finalists.budget allows 38 optimiser steps, and training the best candidate again"
        )
        assert (few in shown) is (not asked)


def test_without_finalists_nothing_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, table, shown = raced(tmp_path, monkeypatch, {}, trials=(0, -5))
    assert (table.asked, found.finalists, found.confirm_base) == ([], (), {})
    assert "nothing that was tried is worth more than the untouched model" in shown
