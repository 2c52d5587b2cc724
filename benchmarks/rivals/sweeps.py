"""Exhaustive grid and random search with the Trainer: one trial after another in one process, all whole."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from benchmarks.rivals.hf_search import Tracer
from benchmarks.rivals.hf_trainer import (
    GenerateScorer,
    RecipeTrainer,
    Rungs,
    freeze_all_but,
    load_tokenizer,
    training_arguments,
)
from benchmarks.rivals.options import Options, parse
from benchmarks.rivals.problem import Problem
from benchmarks.rivals.trace import Recipe2, now

GRID_RATES = 4


def grid(problem: Problem) -> list[Recipe2]:
    """Return every subset at rates that are equally far apart in logs, ends included."""
    rates = np.geomspace(*problem.bounds, GRID_RATES)
    return [(subset, float(rate)) for subset in problem.subsets for rate in rates]


def at_random(problem: Problem, seed: int) -> Iterator[Recipe2]:
    """Yield recipes for ever: any subset, a rate that is uniform in its log."""
    generator = np.random.default_rng(seed)
    low, high = np.log(problem.bounds)
    while True:
        subset = problem.subsets[generator.integers(len(problem.subsets))]
        yield subset, float(np.exp(generator.uniform(low, high)))


def search(options: Options, kind: str) -> None:
    """Run a sweep; the limit, where there is one, is looked at before each trial."""
    began = now()
    torch.set_num_threads(1)
    problem = Problem.load(options.study)
    scorer = GenerateScorer(problem, load_tokenizer(problem))
    scorer.measure_base(problem.base_model())
    tracer = Tracer(options.trace)
    recipes = grid(problem) if kind == "grid" else islice(at_random(problem, options.seed), options.trials)
    for number, (subset, learning_rate) in enumerate(recipes):
        if options.limit is not None and now() - began > options.limit:
            return
        tracer.trial = (number, subset, learning_rate)
        recipe = problem.recipe(subset, learning_rate)
        with tempfile.TemporaryDirectory() as folder:
            RecipeTrainer(
                problem,
                scorer,
                Rungs(problem.rungs[-1:], saves=False),
                model=freeze_all_but(problem.base_model(), recipe),
                args=training_arguments(problem, Path(folder), options.seed, learning_rate),
                processing_class=scorer.tokenizer,
                callbacks=[tracer],
            ).train()


if __name__ == "__main__":
    own, (which,) = parse(__doc__)
    if which not in ("grid", "random"):
        sys.exit(f"error: expected grid or random, got {which!r}")
    search(own, which)
