"""Who finds the better trade-offs of gain, forgetting and cost: samplers, with and without pruning.

    python -m benchmarks.multi_objective [--replays 200] [--workers 1]

A known landscape takes the place of training: subsets with a best learning rate, a gain and a forgetting,
which grow along the run, seen through the noise of an evaluation. The study's own sampler and scheduler are
driven as Tune would, four trials side by side, until a budget of optimiser steps is spent. What was found is
measured without noise: the hypervolume that the complete trials' true ends dominate, as a share of what the
whole space offers. docs/multi-objective.md has the conclusions.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
from optuna.samplers import NSGAIISampler
from optuna.storages import InMemoryStorage
from ray.tune.schedulers import TrialScheduler
from rich.progress import track

from benchmarks.machine import write_results
from search.sampler import RecipeSampler
from search.sampling.aims import AimName
from search.sampling.pareto import fronts
from search.scheduler import make_scheduler
from search.settings.search_config import PruningConfig, SamplerName, SearchConfig, startup_trials
from spaces.space import Bounds, RecipeSpace

Point = tuple[float, float, float]  # gain, forgetting, cost
STEPS: Final = 100
BUDGET: Final = 96 * STEPS
MARKS: Final = (12, 24, 48, 96)  # whole trials' worth of steps after which the front is measured
SIDE_BY_SIDE: Final = 4
OBJECTIVES: Final[tuple[AimName, ...]] = ("target_gain", "held_out_forgetting", "cost")
# Name -> our sampler, and whether Optuna's own NSGA-II with its defaults takes its place.
SAMPLERS: Final[Mapping[str, tuple[SamplerName, bool]]] = {
    "tpe": ("tpe", False),
    "nsga2": ("nsga2", False),
    "nsga3": ("nsga3", False),
    "optuna_nsga2": ("nsga2", True),
    "random": ("random", False),
}
# Standard error in points of a mean over a few hundred answers.
NOISE: Final = {"target_gain": 2.0, "held_out_forgetting": 1.0}
WORST: Final = (0.0, 20.0, 1.05)  # gain, forgetting and cost of what counts for nothing


@dataclass(frozen=True)
class Subset:
    """What a subset would do at best.

    Attributes:
        rate: Learning rate at which it gains most.
        gain: Points gained there.
        forgetting: Points lost there.
        cost: FLOPs as a share of full tuning's.
    """

    rate: float
    gain: float
    forgetting: float
    cost: float


Landscape = dict[str, Subset]
SUBSETS: Final = ("full", "llm", "vision", "projector", "sa_proj", "mlp", "gate_up", "sa_gate_up")
SPACE: Final = RecipeSpace(
    subsets=SUBSETS,
    learning_rate=Bounds(1e-6, 1e-2),
    learning_rate_of={"full": Bounds(1e-7, 1e-3), "projector": Bounds(1e-5, 1e-1)},
    layers=("all", "first:1/2", "last:1/2"),
    steps=STEPS,
    batch_size=(8,),
)
"""The bounds of the learning rate depend on the subset, as in real studies."""


def landscape(seed: int) -> Landscape:
    """Draw what each subset would do: more weights learn more, forget more and cost more, by and large."""
    random = np.random.default_rng(seed)
    sizes = dict(zip(SUBSETS, (1.0, 0.9, 0.35, 0.05, 0.45, 0.6, 0.5, 0.7), strict=True))
    return {
        name: Subset(
            rate=float(SPACE.bounds(name).middle * 10 ** random.uniform(-1, 1)),
            gain=float(40 * size**0.3 * random.uniform(0.6, 1.1)),
            forgetting=float(12 * size**0.5 * random.uniform(0.3, 1.7)),
            cost=1 / 3 + 2 / 3 * size,
        )
        for name, size in sizes.items()
    }


def truth(world: Landscape, params: dict[str, Any], progress: float = 1.0) -> Point:
    """Return gain, forgetting and cost of a recipe, without noise.

    The gain falls off on both sides of the best rate, and to below nothing where training diverges. The
    forgetting grows with the rate. Both rise along the run, a high rate sooner.
    """
    subset = world[params["subset"]]
    off = math.log10(params["learning_rate"] / subset.rate)
    share = {"all": 1.0, "first:1/2": 0.6, "last:1/2": 0.8}[params.get("layers", "all")]
    reached = 1 - math.exp(-3 * progress * 10 ** min(0.5 * off, 0.5))
    gain = subset.gain * share**0.5 * reached * math.exp(-((off / 0.9) ** 2)) - 15 * max(0.0, off - 1.0)
    forgetting = subset.forgetting * share * 10 ** (0.6 * off) * progress**0.7
    cost = subset.cost * (0.55 if params.get("layers") == "last:1/2" else 0.5 + 0.5 * share)
    return gain, min(forgetting, 80.0), cost * progress


def volume(points: Sequence[Sequence[float]]) -> float:
    """Return the volume that gain, forgetting and cost of some trials dominate, up to `WORST`."""
    losses = [
        (-gain, forgetting, cost)
        for gain, forgetting, cost in points
        if gain > WORST[0] and forgetting < WORST[1] and cost < WORST[2]
    ]
    return _volume(losses, (-WORST[0], *WORST[1:]))


def _volume(losses: Sequence[tuple[float, ...]], worst: tuple[float, ...]) -> float:
    """Return the hypervolume by slices along the last aim."""
    if not losses:
        return 0.0
    if len(worst) == 1:
        return worst[0] - min(loss[0] for loss in losses)
    rising = sorted(losses, key=lambda loss: loss[-1])
    ends = [*(loss[-1] for loss in rising[1:]), worst[-1]]
    total, kept = 0.0, []
    for loss, end in zip(rising, ends, strict=True):
        kept.append(loss[:-1])
        if end > loss[-1]:
            total += (end - loss[-1]) * _volume(kept, worst[:-1])
    return total


def offered(world: Landscape) -> float:
    """Return the volume of a grid over the whole space."""
    found = []
    for subset, layers in ((name, layers) for name in SUBSETS for layers in SPACE.layers_of(name)):
        bounds = SPACE.bounds(subset)
        for rate in np.geomspace(bounds.low, bounds.high, 50):
            found.append(truth(world, {"subset": subset, "layers": layers, "learning_rate": float(rate)}))
    front = [point for point, rank in zip(found, _fronts(found), strict=True) if rank == 0]
    return volume(front)


def _fronts(points: Sequence[Point]) -> list[int]:
    return fronts([(-gain, forgetting, cost) for gain, forgetting, cost in points])


def replay(seed: int, *, sampler: str, pruned: bool) -> dict[str, Any]:
    """Search one landscape until the budget is spent.

    Args:
        seed: Of landscape, noise and sampler.
        sampler: One of `SAMPLERS`.
        pruned: Whether weak trials are stopped.

    Returns:
        What part of the offered volume is found after so many whole trials' steps, and after so many trials
        that have ended, with what was spent by then.
    """
    run = _Replay(seed, sampler, pruned)
    whole = offered(run.world)
    by_steps: dict[str, Any] = {}
    by_trials: dict[str, Any] = {}
    while run.spent < BUDGET:
        run.go_on()
        share = volume(run.found) / whole if _due(run, by_steps, by_trials) else 0.0
        for mark in MARKS:
            if run.spent >= mark * STEPS and str(mark) not in by_steps:
                by_steps[str(mark)] = {"share": share, "trials": run.ended}
            if run.ended >= mark and str(mark) not in by_trials:
                by_trials[str(mark)] = {"share": share, "whole_trials": run.spent / STEPS}
    return {"by_steps": by_steps, "by_trials": by_trials, "complete": len(run.found), "ended": run.ended}


class _Replay:
    """A study in simulated time: trials side by side go on to their next rungs in turn."""

    def __init__(self, seed: int, sampler: str, pruned: bool) -> None:
        self.world = landscape(seed)
        self.spent = self.ended = 0
        self.found: list[Point] = []  # true ends of the complete trials
        self._random = np.random.default_rng([seed, 1])
        self._rungs = (25, 50, STEPS) if pruned else (STEPS,)
        pruning = PruningConfig(first_rung=25, reduction_factor=2) if pruned else None
        name, optunas = SAMPLERS[sampler]
        config = SearchConfig(trials=BUDGET // STEPS, objectives=OBJECTIVES, sampler=name, pruning=pruning)
        self._scheduler = make_scheduler(pruning, STEPS, OBJECTIVES)
        self._search = RecipeSampler(
            SPACE,
            presets={},
            violation=lambda forgetting: 0.0,
            storage=InMemoryStorage(),
            study_name="simulated",
            seed=seed,
            startup_trials=startup_trials(config),
            trials=sys.maxsize,
            objectives=OBJECTIVES,
            sampler=name,
        )
        if optunas:
            theirs = NSGAIISampler(seed=seed)
            self._search._seeded = lambda number: theirs  # type: ignore[assignment]
        self._open: deque[tuple[str, dict[str, Any], int]] = deque()
        self._started = 0

    def go_on(self) -> None:
        """Let the trial whose turn it is go on to its next rung."""
        while len(self._open) < SIDE_BY_SIDE:
            name = f"t{self._started}"
            params = self._search.suggest(name)
            assert isinstance(params, dict)
            self._open.append((name, params, 0))
            self._started += 1
        name, params, rung = self._open.popleft()
        step = self._rungs[rung]
        self.spent += step - (self._rungs[rung - 1] if rung else 0)
        result = _result(self.world, params, step, self._random)
        trial: Any = SimpleNamespace(trial_id=name)
        if step == STEPS:
            self.found.append(truth(self.world, params))
        elif self._scheduler.on_trial_result(None, trial, result) != TrialScheduler.STOP:  # type: ignore[arg-type]
            self._search.on_trial_result(name, result)
            self._open.append((name, params, rung + 1))
            return
        self._search.on_trial_complete(name, result)
        self.ended += 1


def _due(run: _Replay, by_steps: dict[str, Any], by_trials: dict[str, Any]) -> bool:
    return any(
        (run.spent >= mark * STEPS and str(mark) not in by_steps)
        or (run.ended >= mark and str(mark) not in by_trials)
        for mark in MARKS
    )


def _result(
    world: Landscape, params: dict[str, Any], step: int, random: np.random.Generator
) -> dict[str, Any]:
    gain, forgetting, cost = truth(world, params, step / STEPS)
    gain += random.normal(0, NOISE["target_gain"])
    forgetting += random.normal(0, NOISE["held_out_forgetting"])
    return {
        "score": gain - forgetting,
        "held_out_forgetting": forgetting,
        "step": step,
        "progress": step / STEPS,
        "metrics/target_gain": gain,
        "metrics/cost/train_flops": cost,
    }


def compared(replays: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the paired differences of two ways over the same landscapes, at equal steps."""
    found = {}
    for mark in map(str, MARKS):
        pairs = zip(replays, others, strict=True)
        differences = [a["by_steps"][mark]["share"] - b["by_steps"][mark]["share"] for a, b in pairs]
        found[mark] = {**_mean(differences), "better": statistics.fmean(d > 0 for d in differences)}
    return found


def summary(replays: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return means over replays, with standard errors of the shares."""

    def each(by: str, mark: str, other: str) -> dict[str, Any] | None:
        reached = [replay[by][mark] for replay in replays if mark in replay[by]]
        if len(reached) < len(replays):
            return None
        return {
            **_mean([at["share"] for at in reached]),
            other: round(statistics.fmean(at[other] for at in reached), 1),
        }

    marks = [str(mark) for mark in MARKS]
    return {
        "by_steps": {mark: each("by_steps", mark, "trials") for mark in marks},
        "by_trials": {mark: each("by_trials", mark, "whole_trials") for mark in marks},
        "ended": round(statistics.fmean(replay["ended"] for replay in replays), 1),
        "complete": round(statistics.fmean(replay["complete"] for replay in replays), 1),
    }


def _mean(values: Sequence[float]) -> dict[str, float]:
    return {
        "mean": round(statistics.fmean(values), 4),
        "stderr": round(statistics.stdev(values) / math.sqrt(len(values)), 4),
    }


def _every_way(seed: int, ways: Sequence[tuple[str, bool]]) -> list[dict[str, Any]]:
    warnings.filterwarnings("ignore", message="Define-by-run function passed")  # Tune's, on a busy machine
    return [replay(seed, sampler=sampler, pruned=pruned) for sampler, pruned in ways]


def main(replays: int, workers: int) -> None:
    """Replay every way on the same landscapes, and write what was found."""
    ways = [(sampler, pruned) for sampler in SAMPLERS for pruned in (False, True)]
    with ProcessPoolExecutor(workers) as pool:
        rows = list(track(pool.map(partial(_every_way, ways=ways), range(replays)), total=replays))
    found = {way: [row[place] for row in rows] for place, way in enumerate(ways)}
    named = {way: f"{way[0]}{', pruned' if way[1] else ''}" for way in ways}
    write_results(
        "multi_objective",
        {
            "what": "share of the offered hypervolume of gain, forgetting and cost, after so many whole "
            "trials' steps, and after so many ended trials; standard errors over the replays",
            "replays": replays,
            "noise_points": NOISE,
            "side_by_side": SIDE_BY_SIDE,
            "ways": {named[way]: summary(found[way]) for way in ways},
            "pruning_gains": {
                sampler: compared(found[sampler, True], found[sampler, False]) for sampler in SAMPLERS
            },
            "gains_over_random": {
                named[way]: compared(found[way], found["random", way[1]])
                for way in ways
                if way[0] != "random"
            },
        },
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    main(options.replays, options.workers)
