"""A study in simulated time: the project's own sampler and scheduler, with a table in place of training.

Trials run side by side on so many workers; what a trial measures is told when its time has come, and no
sooner. Proposals between two rates of the grid get outcomes that are interpolated, see `RecipeTable`: to snap
them to the grid would make plateaus that a sampler does not meet in training, and proposals that repeat.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
from ray.tune.schedulers import TrialScheduler

from benchmarks.recipe_table.proposals import sampler_of
from benchmarks.recipe_table.table import RecipeTable
from benchmarks.recipe_table.variants import Variant, rungs_of
from search.scheduler import make_scheduler

_DRIFT: Final = "drift/kl_held_out"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a study.

    Attributes:
        time: In simulated seconds.
        kind: `start`, `rung` where the trial goes on, `stop` or `end`.
        trial: The trial's number.
        step: Its optimiser steps so far.
    """

    time: float
    kind: str
    trial: int
    step: int


@dataclass(frozen=True, slots=True)
class Tried:
    """A recipe that was trained to its end.

    Attributes:
        params: Its subset and learning rate.
        score: What the study saw, in points.
        seed: The table's seed.
    """

    params: Mapping[str, Any]
    score: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What became of a study.

    Attributes:
        regret: Points by which the true score of what is selected falls short of the grid's best; the
            untouched model, of score 0, is selected where nothing seemed better.
        steps: Optimiser steps that it took.
        seconds: Simulated time until it ended.
        trials: Trials that were started.
        tried: Those that were trained to their end.
        events: What happened, in order.
    """

    regret: float
    steps: int
    seconds: float
    trials: int
    tried: tuple[Tried, ...]
    events: tuple[Event, ...]


@dataclass
class _Open:
    """A trial that runs."""

    number: int
    name: str
    params: Mapping[str, Any]
    seed: int
    rung: int = 0  # index of the rung that it is on its way to
    step: int = 0


def simulate(
    table: RecipeTable,
    variant: Variant,
    *,
    seed: int,
    budget: int,
    workers: int = 1,
    elsewhere: Sequence[Tried] = (),
) -> Simulated:
    """Run a study on a table.

    A trial is started only where its steps and those of all that run fit the budget, which is never exceeded.

    Args:
        table: What training comes to.
        variant: How the study searches.
        seed: Of the sampler, and of which of the table's seeds trials are given.
        budget: Most optimiser steps, finalists included.
        workers: Trials at a time.
        elsewhere: What a study of another target tried.
    """
    study = _Study(table, variant, seed, budget, elsewhere)
    running: list[tuple[float, int, _Open]] = []
    time = 0.0
    while True:
        while len(running) < workers and study.has_room(each for *_, each in running):
            begun = study.start(time)
            heapq.heappush(running, (time + study.seconds(begun), begun.number, begun))
        if not running:
            return study.ended(time, workers)
        time, number, trial = heapq.heappop(running)
        if study.reports(trial, time):
            heapq.heappush(running, (time + study.seconds(trial), number, trial))


class _Study:
    """The state of a simulated study."""

    def __init__(
        self, table: RecipeTable, variant: Variant, seed: int, budget: int, elsewhere: Sequence[Tried]
    ) -> None:
        self._table, self._variant, self._seed = table, variant, seed
        self._steps = table.rungs[-1]
        self._rungs = rungs_of(variant.pruning, variant.drift, table.rungs)
        again = variant.finalists * self._repeats * self._steps
        self._left = budget - again  # what trials may still take
        self._spent = 0
        self._scheduler = make_scheduler(variant.pruning, self._steps)
        self._sampler = sampler_of(
            table,
            variant,
            seed=seed,
            whole_trials=self._left // self._steps,
            elsewhere=[(each.params, each.score) for each in elsewhere],
        )
        self._started = 0
        self._tried: list[Tried] = []
        self._events: list[Event] = []

    def has_room(self, running: Iterable[_Open]) -> bool:
        """Return whether one more trial could go to its end, if all others do."""
        return self._left - sum(self._steps - each.step for each in running) >= self._steps

    def start(self, time: float) -> _Open:
        """Begin the next trial."""
        number, name = self._started, f"trial {self._started}"
        self._started += 1
        found = self._sampler.suggest(name)
        assert isinstance(found, dict)
        # By the trial's number, so that it does not depend on how many run at a time.
        drawn = int(np.random.default_rng([self._seed, 1, number]).integers(len(self._table.seeds)))
        params = {"subset": found["subset"], "learning_rate": found["learning_rate"]}
        trial = _Open(number, name, params, self._table.seeds[drawn])
        self._scheduler.on_trial_add(None, SimpleNamespace(trial_id=name))
        self._events.append(Event(time, "start", number, 0))
        return trial

    def seconds(self, trial: _Open) -> float:
        """Return how long a trial takes to its next rung, evaluation included."""
        return self._table.seconds(trial.params["subset"], self._rungs[trial.rung] - trial.step)

    def reports(self, trial: _Open, time: float) -> bool:
        """Tell what a trial measured at its next rung; return whether it goes on."""
        step = self._rungs[trial.rung]
        self._left -= step - trial.step
        self._spent += step - trial.step
        trial.step, trial.rung = step, trial.rung + 1
        measured = self._table.measured(
            trial.params["subset"], trial.params["learning_rate"], trial.seed, step
        )
        result = {
            "score": measured["seen/score"],
            "held_out_forgetting": measured["seen/held_out_forgetting"],
            "step": step,
            "progress": step / self._steps,
        }
        if step == self._steps:
            self._tried.append(Tried(trial.params, result["score"], trial.seed))
            self._sampler.on_trial_complete(trial.name, result)
            self._events.append(Event(time, "end", trial.number, step))
            return False
        own: Any = SimpleNamespace(trial_id=trial.name)
        stopped = self._scheduler.on_trial_result(None, own, result) == TrialScheduler.STOP
        stopped = stopped or (self._variant.drift is not None and measured[_DRIFT] > self._variant.drift)
        self._events.append(Event(time, "stop" if stopped else "rung", trial.number, step))
        if stopped:
            self._sampler.on_trial_complete(trial.name, result)
        else:
            self._sampler.on_trial_result(trial.name, result)
        return not stopped

    def ended(self, time: float, workers: int) -> Simulated:
        """Select a recipe, and return what became of the study."""
        ranked = sorted(self._tried, key=lambda each: -each.score)
        if finalists := ranked[: self._variant.finalists]:
            self._spent += len(finalists) * self._repeats * self._steps
            time += self._seconds_again(finalists, workers)
            confirmed = sorted(
                ((self._confirmed(each), each) for each in finalists), key=lambda each: -each[0]
            )
        else:
            confirmed = [(each.score, each) for each in ranked[:1]]
        reached = 0.0
        if confirmed and confirmed[0][0] > 0:
            params = confirmed[0][1].params
            reached = self._table.true_score(params["subset"], params["learning_rate"])
        return Simulated(
            regret=max(0.0, self._table.best().score) - reached,
            steps=self._spent,
            seconds=time,
            trials=self._started,
            tried=tuple(self._tried),
            events=tuple(self._events),
        )

    @property
    def _repeats(self) -> int:
        return min(self._variant.repeats, len(self._table.seeds) - 1)

    def _confirmed(self, tried: Tried) -> float:
        """Return the mean score over a trial's seed and, of finalists, those that follow in the table."""
        if not self._variant.finalists:
            return tried.score
        seeds = self._table.seeds
        place = seeds.index(tried.seed)
        others = [seeds[(place + each) % len(seeds)] for each in range(1, self._repeats + 1)]
        again = [self._table.measured(**tried.params, seed=seed)["score"] for seed in others]
        return (tried.score + sum(again)) / (1 + len(again))

    def _seconds_again(self, finalists: Sequence[Tried], workers: int) -> float:
        """Return how long it takes to train finalists on other seeds."""
        each = [self._table.seconds(one.params["subset"], self._steps) for one in finalists]
        free = [0.0] * workers
        for seconds in sorted(each * self._repeats, reverse=True):
            heapq.heapreplace(free, free[0] + seconds)
        return max(free)
