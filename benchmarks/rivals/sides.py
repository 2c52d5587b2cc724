"""The sides: how each is started, and where it tells what it found."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.rivals.handed import Handed
from benchmarks.rivals.options import Options
from benchmarks.rivals.trace import Reported, incumbents, read, since, turn_rounds
from search.handover.recipe_document import read_recipe
from search.records.stored_study import read_trials
from search.records.study_folder import StudyFolder
from search.results import TrialResult

_TURN_ROUND = "cost/turn_round_seconds"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a side's run came to.

    Attributes:
        trace: Its evaluations, by seconds since its start.
        handed_over: What it hands over; None where that is the base, or there is nothing.
        turn_rounds: Seconds from a trial's last report to the next one's first step.
    """

    trace: list[Reported]
    handed_over: Handed | None
    turn_rounds: list[float]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One way to search.

    Attributes:
        title: What tables call it.
        command: Options -> the program that carries out the search.
        found: Options, start in seconds since 1970, and a trial's steps -> what came of it.
        at_a_time: Trials that run side by side.
        trials: Trials of its whole plan; None is as many as all sides get.
        limited: Whether it may be cut short by the limit in time.
    """

    title: str
    command: Callable[[Options], list[str]]
    found: Callable[[Options, float, int], Found]
    at_a_time: int
    trials: int | None = None
    limited: bool = False


def _own_command(options: Options, *overrides: str) -> list[str]:
    return [
        *(sys.executable, "-m", "search.cli", "run", str(options.study)),
        f"output={options.folder / 'runs'}",
        f"tracking.uri=sqlite:///{options.folder / 'mlflow.db'}",
        f"search.trials={options.trials}",
        f"search.seed={options.seed}",
        *overrides,
    ]


def _own_found(options: Options, start: float, steps: int) -> Found:
    (root,) = (path.parent for path in (options.folder / "runs").glob("*/study.yaml"))
    folder = StudyFolder(root)
    trials = read_trials(folder)
    trace = since(start, (each for trial in trials for each in _reported(trial)))
    document = read_recipe(folder.recipe)
    handed = None if document.recipe is None else Handed.of(document.recipes, document.made)
    first = [trial.rungs[0].metrics for trial in trials if trial.rungs]
    between = [metrics[_TURN_ROUND] for metrics in first if _TURN_ROUND in metrics]
    return Found(
        trace=trace,
        handed_over=handed,
        turn_rounds=between,
    )


def _reported(trial: TrialResult) -> Iterator[Reported]:
    """Yield a trial's rungs; its first step began as long before the first of them as that took."""
    taken = (
        [trial.rungs[0].metrics[f"cost/{part}_seconds"] for part in ("train", "eval")] if trial.rungs else []
    )
    for rung in trial.rungs:
        yield Reported(
            at=rung.at,
            trial=trial.number,
            subset=trial.recipe.subset,
            learning_rate=trial.recipe.learning_rate,
            step=rung.step,
            score=rung.score.score,
            started_at=trial.rungs[0].at - sum(taken),
        )


def _module(name: str, *more: str) -> Callable[[Options], list[str]]:
    program = [sys.executable, "-m", f"benchmarks.rivals.{name}"]
    return lambda options: [*program, *options.to_arguments(), *more]


def _traced(at_a_time: int) -> Callable[[Options, float, int], Found]:
    def found(options: Options, start: float, steps: int) -> Found:
        trace = read(options.trace, start)
        held = incumbents(trace, steps)
        return Found(
            trace=trace,
            handed_over=Handed.plain(held[-1][1], steps) if held else None,
            turn_rounds=turn_rounds(trace, at_a_time),
        )

    return found


SIDES: Final[Mapping[str, Side]] = {
    "ours": Side(
        title="recipe-search, unconfirmed",
        command=lambda options: _own_command(options, "finalists=null"),
        found=_own_found,
        at_a_time=2,
    ),
    "ours_confirmed": Side(title="recipe-search", command=_own_command, found=_own_found, at_a_time=2),
    "ray_tune": Side(
        title="Ray Tune, a TorchTrainer.fit() per trial",
        command=_module("ray_tune"),
        found=_traced(2),
        at_a_time=2,
    ),
    "hf_search": Side(
        title="Trainer.hyperparameter_search",
        command=_module("hf_search"),
        found=_traced(1),
        at_a_time=1,
        limited=True,
    ),
    "random": Side(
        title="random search",
        command=_module("sweeps", "random"),
        found=_traced(1),
        at_a_time=1,
        limited=True,
    ),
    "grid": Side(
        title="exhaustive grid",
        command=_module("sweeps", "grid"),
        found=_traced(1),
        at_a_time=1,
        trials=32,
        limited=True,
    ),
}
"""Name -> side."""


def folder_of(root: Path, name: str, turn: int) -> Path:
    """Return where a side's run lies."""
    return root / f"{name}-{turn}"
