"""How often intervals at 95 % hold the truth, over made studies; docs/selection.md has the result.

python -m benchmarks.interval_coverage tasks|worst|seeds|variants [studies]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from scipy.stats import norm

from search.decision.bootstrap import Bootstrap
from search.objective import Objective
from trainables.scoring.evaluation import Evaluation

Row = Sequence[float]
Pair = tuple[Any, Any]

_TAILS: Final = (0.025, 0.975)
_RATES: Final = ((0.0, 0.005), (0.01, 0.01), (0.05, 0.02), (0.3, 0.05))
_HELD_OUT: Final = (
    [(0.01, 0.01)] * 10,
    [(0.02, 0.02)] * 9 + [(0.02, 0.15)],
    [(0.02, 0.05)] * 10,
)


def one_task(studies: int) -> None:
    """Compare plain percentiles, BCa and the study's intervals of one target's gain."""
    generator = np.random.default_rng(0)
    for n in (30, 150, 500):
        for better, worse in _RATES:
            held, width, true = np.zeros(3), np.zeros(3), 100 * (better - worse)
            for seed in range(studies):
                base, tuned = _scores(generator, n, better, worse, 0.4)
                found = _bootstrap({"a": base, "b": base}, 1000, seed).estimates(
                    _model({"a": tuned, "b": tuned})
                )
                change = tuned - base
                means = change[generator.integers(n, size=(1000, n))].mean(1)
                gain = found.target_gain
                ends = (np.quantile(means, _TAILS), _bca(change, means), (gain.low, gain.high))
                _count(held, width, ends, (true, true, true))
            print(n, better, worse, (held / studies).round(3), (width / studies).round(1), flush=True)


def worst_task(studies: int) -> None:
    """Count mean forgetting, score, and the worst of ten held-out tasks, that one also by percentiles."""
    generator = np.random.default_rng(0)
    names = [f"h{number}" for number in range(10)]
    for n in (30, 150):
        for rates in _HELD_OUT:
            held, width = np.zeros(4), np.zeros(4)
            forgetting = 100 * float(np.mean([worse - better for better, worse in rates]))
            worst = 100 * max(worse - better for better, worse in rates)
            for seed in range(studies):
                pairs = {"a": _scores(generator, n, 0.3, 0.05, 0.4)}
                pairs |= {
                    name: _scores(generator, n, *rate, 0.9) for name, rate in zip(names, rates, strict=True)
                }
                boot = _bootstrap({task: pair[0] for task, pair in pairs.items()}, 1000, seed)
                (found,) = boot.resample([_model({task: pair[1] for task, pair in pairs.items()})])
                known = found.estimates
                shown = (known.held_out_forgetting, known.score, known.worst_forgetting)
                ends = [(each.low, each.high) for each in shown]
                ends.append(tuple(np.quantile(found.replicates["worst_forgetting"], _TAILS)))
                _count(held, width, ends, (forgetting, 25 - forgetting, worst, worst))
            print(n, rates[0], rates[-1], (held / studies).round(3), (width / studies).round(1), flush=True)


def over_seeds(studies: int) -> None:
    """Count the gain of the first of some finalists, whose seeds differ by so many points."""
    generator, inverse = np.random.default_rng(1), NormalDist().inv_cdf
    n = 150
    for deviation in (0.0, 2.0, 5.0):
        for finalists, seeds in ((1, 1), (1, 2), (3, 2), (3, 3)):
            held, width = np.zeros(1), np.zeros(1)
            for study in range(studies):
                easy = generator.normal(size=n)

                def answers(rate: float, points: float, easy: Any = easy) -> Any:
                    # 3.8 turns a share of right answers near 0.65 into the threshold's scale.
                    threshold = inverse(rate) * np.sqrt(2) + points / 100 * 3.8
                    return 100.0 * (easy + generator.normal(size=n) < threshold)

                base = 100.0 * (easy + generator.normal(size=n) < inverse(0.4) * np.sqrt(2))
                runs = [
                    {
                        seed: _model({"a": answers(0.65, generator.normal() * deviation), "b": base})
                        for seed in range(seeds)
                    }
                    for _ in range(finalists)
                ]
                gain = (
                    _bootstrap({"a": base, "b": base}, 500, study)
                    .resample_runs(runs)[0]
                    .estimates.target_gain
                )
                _count(held, width, [(gain.low, gain.high)], (25.0,))
            print(
                deviation, finalists, seeds, (held / studies).round(3), (width / studies).round(1), flush=True
            )


def of_variants(studies: int) -> None:
    """Count the difference of a trial and its interpolation at 0.5, drawn together and each for itself.

    The trial gains 25 points and forgets 5, the interpolation 18.75 and 1.25; seeds move the trial by so many
    points, and the interpolation half as far. Three seeds; other recipes are as the trial.
    """
    generator = np.random.default_rng(5)
    base = np.array([40.0, 60.0, 60.0])
    whole, half = np.array([65.0, 55.0, 55.0]), np.array([58.75, 58.75, 58.75])
    for deviation in (2.5, 6.0):
        for others in (0, 2):
            held, width = np.zeros(2), np.zeros(2)
            for study in range(studies):
                hardness = generator.normal(size=(3, 150))

                def answers(values: Any, own: Any, hardness: Any = hardness) -> dict[str, Row]:
                    felt = np.sqrt(0.7) * hardness + np.sqrt(0.3) * own
                    right = felt < norm.ppf(np.clip(values, 0.1, 99.9) / 100)[:, None]
                    return dict(zip(("a", "b", "c"), 100.0 * right, strict=True))

                boot = _bootstrap(answers(base, generator.normal(size=hardness.shape)), 500, study)
                models: list[dict[int, dict[str, Evaluation]]] = [{} for _ in range(2 + others)]
                for runs in (models[0], *models[2:]):
                    for seed in range(3):
                        shift, own = (
                            deviation * generator.normal(size=3),
                            generator.normal(size=hardness.shape),
                        )
                        runs[seed] = _model(answers(whole + shift, own))
                        if runs is not models[0]:
                            continue
                        rest = np.sqrt(0.75) * generator.normal(size=hardness.shape)
                        models[1][seed] = _model(answers(half + shift / 2, own / 2 + rest))
                ends = []
                for trained in (("a", "a", "b", "c"), ("a", "d", "b", "c")):
                    found = boot.resample_runs(models, trained[: 2 + others])
                    difference = boot.difference(found[0], found[1], "score")
                    ends.append((difference.low, difference.high))
                _count(held, width, ends, (2.5, 2.5))
            print(deviation, others, (held / studies).round(3), (width / studies).round(1), flush=True)


def _scores(generator: np.random.Generator, n: int, better: float, worse: float, right: float) -> Pair:
    """Draw base's and tuned model's scores; of those that do not change `right` are right."""
    drawn, base, tuned = generator.random(n), np.zeros(n), np.zeros(n)
    base[(drawn >= better) & (drawn < better + worse)] = 100
    tuned[drawn < better] = 100
    both = (1 - better - worse) * right
    same = (drawn >= better + worse) & (drawn < better + worse + both)
    base[same] = tuned[same] = 100
    return base, tuned


def _model(scores: dict[str, Row]) -> dict[str, Evaluation]:
    return {task: Evaluation(task=task, scores=tuple(each)) for task, each in scores.items()}


def _bootstrap(base: dict[str, Row], replicates: int, seed: int) -> Bootstrap:
    objective = Objective(base={}, targets=("a",), held_out=tuple(task for task in base if task != "a"))
    return Bootstrap(_model(base), objective, confidence=0.95, replicates=replicates, seed=seed)


def _bca(change: Any, means: Any) -> Any:
    """Return the bias-corrected and accelerated interval (Efron, 1987) of a mean from its replicates."""
    mean, n = change.mean(), len(change)
    below = ((means < mean).mean() + (means <= mean).mean()) / 2
    bias = norm.ppf(np.clip(below, 1e-6, 1 - 1e-6))
    left_out = mean - (change.sum() - change) / (n - 1)
    spread = 6 * (left_out @ left_out) ** 1.5
    skew = (left_out**3).sum() / spread if spread > 0 else 0.0
    shifted = [bias + norm.ppf(tail) for tail in _TAILS]
    return np.quantile(means, [norm.cdf(bias + each / (1 - skew * each)) for each in shifted])


def _count(held: Any, width: Any, ends: Sequence[Any], true: Sequence[float]) -> None:
    for place, ((low, high), value) in enumerate(zip(ends, true, strict=True)):
        held[place] += low - 1e-9 <= value <= high + 1e-9
        width[place] += high - low


if __name__ == "__main__":
    _, which, *rest = sys.argv
    {"tasks": one_task, "worst": worst_task, "seeds": over_seeds, "variants": of_variants}[which](
        int(rest[0]) if rest else 400
    )
