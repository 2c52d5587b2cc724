"""Paired bootstrap intervals: what they hold, and how often."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.decision.bootstrap import Bootstrap
from search.decision.evidence import Estimate
from search.objective import Objective
from trainables.scoring.evaluation import Evaluation

TASKS = ("count", "colour", "shape")
OBJECTIVE = Objective(base={}, targets=("count",), held_out=("colour", "shape"))


def evaluations(**scores: Sequence[float]) -> dict[str, Evaluation]:
    return {task: Evaluation(task=task, scores=tuple(scores[task])) for task in TASKS}


def answers(right: int, of: int) -> list[float]:
    return [100.0] * right + [0.0] * (of - right)


def bootstrap(
    base: Mapping[str, Evaluation], confidence: float = 0.95, replicates: int = 1000, seed: int = 0
) -> Bootstrap:
    return Bootstrap(base, OBJECTIVE, confidence=confidence, replicates=replicates, seed=seed)


BASE = evaluations(count=answers(20, 100), colour=answers(90, 100), shape=answers(80, 100))
# Gain 30; drops 10 and -2, so forgetting 4 and worst 10; score 26.
TUNED = evaluations(count=answers(50, 100), colour=answers(80, 100), shape=answers(82, 100))


def test_values_are_those_of_the_objective() -> None:
    found = bootstrap(BASE).estimates(TUNED)
    assert found.target_gain.value == pytest.approx(30)
    assert found.held_out_forgetting.value == pytest.approx(4)
    assert found.worst_forgetting.value == pytest.approx(10)
    assert found.score.value == pytest.approx(26)
    assert {task: change.value for task, change in found.changes.items()} == pytest.approx(
        {"count": 30, "colour": -10, "shape": 2}
    )


def test_the_width_is_that_of_paired_differences() -> None:
    """30 of 100 samples gain 100 points: the mean's error is 100 sqrt(0.3 x 0.7 / 100) = 4.58 points.

    Two halves of a sample add 100 / 100 = 1 point: sqrt(4.58^2 + 1) = 4.69, of which 95 % reach 1.96 times
    as far, 9.2 points. Two independent models would have sqrt(0.16 + 0.25) x 10 = 6.4.
    """
    gain = bootstrap(BASE, replicates=20_000).estimates(TUNED).target_gain
    assert gain.high - gain.value == pytest.approx(9.2, abs=0.5)
    assert gain.value - gain.low == pytest.approx(9.2, abs=0.5)


def test_no_changed_sample_is_no_certainty() -> None:
    """The halves alone: their difference is 2 or more in 5 % of draws of Poisson(0.5) twice, 1 in 16 %."""
    found = bootstrap(BASE, replicates=20_000).estimates(BASE)
    assert found.target_gain == Estimate(value=0.0, low=-2.0, high=2.0)
    # The mean of two such tasks is nearer to 0.
    assert 0.5 <= found.held_out_forgetting.high <= 1.5
    assert found.score.low < 0 < found.score.high


def test_two_models_are_compared_on_the_same_resamples() -> None:
    """Both gain 30 points, and differ on 4 samples alone: sqrt(0.04 / 100 + 0.01^2) x 100 = 2.24, not 6.6."""
    scores = np.array(TUNED["count"].scores)
    scores[[0, 1, 60, 61]] = 100.0 - scores[[0, 1, 60, 61]]
    other = TUNED | {"count": Evaluation(task="count", scores=tuple(scores))}
    boot = bootstrap(BASE, replicates=20_000)
    first, second = boot.resample([TUNED, other])
    found = boot.difference(first, second, "target_gain")
    assert found.value == 0
    assert found.high == pytest.approx(1.96 * 2.24, abs=0.7)
    narrow = boot.difference(first, second, "target_gain", 0.68)
    assert narrow.high == pytest.approx(2.24, abs=0.8)
    assert boot.difference(first, second, "held_out_forgetting").value == 0


@pytest.mark.parametrize("count", [1, 3, 400])
def test_a_model_s_intervals_do_not_hang_on_what_is_resampled_with_it(count: int) -> None:
    alone = bootstrap(BASE, replicates=500)
    together = bootstrap(BASE, replicates=500).resample([BASE] * (count - 1) + [TUNED])
    assert together[-1].estimates == alone.estimates(TUNED)


def test_draws_are_bounded_in_memory_and_do_not_hang_on_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap(BASE).estimates(TUNED)
    monkeypatch.setattr("search.decision.bootstrap._DRAWN", 1000)
    monkeypatch.setattr("search.decision.bootstrap._HELD", 1)
    parts = bootstrap(BASE).resample([BASE, TUNED])[1].estimates
    assert parts == whole


def test_a_seed_repeats_the_draws_and_another_gives_others() -> None:
    assert bootstrap(BASE).estimates(TUNED) == bootstrap(BASE).estimates(TUNED)
    assert bootstrap(BASE).estimates(TUNED) != bootstrap(BASE, seed=1).estimates(TUNED)


def test_models_of_other_samples_are_refused() -> None:
    fewer = TUNED | {"shape": Evaluation(task="shape", scores=(100.0,))}
    with pytest.raises(ValueError, match="task 'shape': the base has 100 samples, the tuned model 1"):
        bootstrap(BASE).estimates(fewer)


SCORES = st.lists(st.sampled_from([0.0, 50.0, 100.0]), min_size=6, max_size=6)
MODEL = st.builds(lambda a, b, c: evaluations(count=a, colour=b, shape=c), SCORES, SCORES, SCORES)


@settings(max_examples=60, deadline=None)
@given(MODEL, MODEL, MODEL)
def test_laws(base: dict[str, Evaluation], one: dict[str, Evaluation], other: dict[str, Evaluation]) -> None:
    boot = bootstrap(base, replicates=200)
    first, second = boot.resample([one, other])
    found = first.estimates
    shown = (found.score, found.target_gain, found.held_out_forgetting, found.worst_forgetting)
    for each in (*shown, *found.changes.values()):
        assert each.low <= each.value <= each.high
        assert math.isfinite(each.low + each.high)
    assert found.worst_forgetting.high >= max(-found.changes[task].low for task in ("colour", "shape"))
    there = boot.difference(first, second, "score")
    assert there.value == pytest.approx(found.score.value - second.estimates.score.value)
    wide = boot.difference(first, second, "score", 0.9)
    narrow = boot.difference(first, second, "score", 0.5)
    assert wide.low <= narrow.low <= narrow.high <= wide.high


def drawn(generator: np.random.Generator, n: int, better: float, worse: float) -> tuple[list[float], ...]:
    """Draw a base's and a tuned model's scores of n samples, better and worse being rates of change."""
    kind = generator.random(n)
    base = np.where(kind < better, 0.0, 100.0)
    tuned = np.where((kind >= better) & (kind < better + worse), 0.0, 100.0)
    return list(base), list(tuned)


def test_intervals_cover_what_they_say() -> None:
    """Of 300 made studies of 60 samples a task; 3 errors of 300 draws at 95 % are 3.8 points of 100."""
    generator = np.random.default_rng(7)
    # True gain 25, drops 2 and 10: forgetting 6, worst 10, score 19.
    rates = {"count": (0.3, 0.05), "colour": (0.02, 0.04), "shape": (0.0, 0.1)}
    true = {"target_gain": 25.0, "held_out_forgetting": 6.0, "worst_forgetting": 10.0, "score": 19.0}
    held = dict.fromkeys(true, 0)
    for study in range(300):
        pairs = {task: drawn(generator, 60, *rate) for task, rate in rates.items()}
        base = evaluations(**{task: pair[0] for task, pair in pairs.items()})
        tuned = evaluations(**{task: pair[1] for task, pair in pairs.items()})
        found = bootstrap(base, replicates=400, seed=study).estimates(tuned)
        for measure, value in true.items():
            each: Estimate = getattr(found, measure)
            held[measure] += each.low <= value <= each.high
    for measure, count in held.items():
        assert count / 300 >= 0.912, measure
    assert max(held["target_gain"], held["score"]) / 300 <= 0.988


class TestSeeds:
    def test_their_mean_is_what_a_recipe_is_worth(self) -> None:
        other = evaluations(count=answers(40, 100), colour=answers(90, 100), shape=answers(80, 100))
        # Gains 30 and 20, forgetting 4 and 0.
        found = bootstrap(BASE).estimates_over([TUNED, other])
        assert found.target_gain.value == pytest.approx(25)
        assert found.held_out_forgetting.value == pytest.approx(2)
        assert found.score.value == pytest.approx(23)

    def test_one_run_says_nothing_of_them(self) -> None:
        assert bootstrap(BASE).estimates_over([TUNED]) == bootstrap(BASE).estimates(TUNED)

    def test_that_differ_widen_the_interval(self) -> None:
        apart = [
            evaluations(count=answers(n, 100), colour=answers(90, 100), shape=answers(80, 100))
            for n in (30, 50, 70)
        ]
        same = [apart[1]] * 3
        boot = bootstrap(BASE)
        wide, narrow = boot.estimates_over(apart).target_gain, boot.estimates_over(same).target_gain
        assert wide.value == pytest.approx(30)
        assert narrow.value == pytest.approx(30)
        assert wide.high - wide.low > 2 * (narrow.high - narrow.low)

    def test_are_pooled_over_recipes(self) -> None:
        """A recipe with one run takes its seeds' noise from one that has two."""
        low = evaluations(count=answers(30, 100), colour=answers(90, 100), shape=answers(80, 100))
        boot = bootstrap(BASE)
        alone = boot.estimates_over([TUNED]).target_gain
        beside = boot.resample_runs([{0: TUNED}, {0: TUNED, 1: low}])[0].estimates.target_gain
        assert beside.value == alone.value
        assert beside.high - beside.low > 1.5 * (alone.high - alone.low)

    def test_cover_what_they_say(self) -> None:
        """Gains of N(25, 6) over seeds: 3 recipes on 2 seeds each, 200 times; the band is 3 errors wide."""
        generator = np.random.default_rng(3)
        held = 0
        for study in range(200):
            base = answers(30, 60)
            recipes = []
            for _ in range(3):
                # A rate of right answers that hangs on the seed.
                rates = np.clip(0.75 + 0.06 * generator.standard_normal(2), 0, 1)
                runs = [list(100.0 * (generator.random(60) < rate)) for rate in rates]
                made = [evaluations(count=run, colour=base, shape=base) for run in runs]
                recipes.append(dict(enumerate(made)))
            # The base's rate is 0.5.
            at_start = list(100.0 * (generator.random(60) < 0.5))
            boot = bootstrap(evaluations(count=at_start, colour=base, shape=base), replicates=400, seed=study)
            gain = boot.resample_runs(recipes)[0].estimates.target_gain
            held += gain.low <= 25 <= gain.high
        assert held / 200 >= 0.91

    def test_shared_trainings_tell_of_the_seeds_once(self) -> None:
        """Two runs of one recipe have one degree of freedom, however many points are made of them."""
        low = evaluations(count=answers(40, 100), colour=answers(80, 100), shape=answers(82, 100))
        boot, runs = bootstrap(BASE, replicates=20_000), {0: TUNED, 1: low}

        def width(found: Estimate) -> float:
            return found.high - found.low

        alone = width(boot.estimates_over(list(runs.values())).target_gain)
        shared = width(boot.resample_runs([runs] * 3, ["a", "a", "a"])[0].estimates.target_gain)
        apart = width(boot.resample_runs([runs] * 3)[0].estimates.target_gain)
        assert shared == pytest.approx(alone, rel=0.1)
        assert apart < alone / 2


def moved(*gains: float, of: float = 20) -> dict[int, dict[str, Evaluation]]:
    """Return a run a seed that lifts each of 30 samples by as much: nothing hangs on the samples drawn."""
    level = [20.0] * 30
    return {
        seed: evaluations(count=[20.0 + of + gain] * 30, colour=level, shape=level)
        for seed, gain in enumerate(gains)
    }


class TestVariantsOfOneTraining:
    """A trial and what is made of its weights, which the same seeds move."""

    level = evaluations(count=[20.0] * 30, colour=[20.0] * 30, shape=[20.0] * 30)
    other = moved(-9, 4, 5)

    def draws(
        self, *models: Mapping[int, Mapping[str, Evaluation]], trained: Sequence[str]
    ) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
        """Return what the seeds add to each model's gain."""
        found = bootstrap(self.level, replicates=4000).resample_runs(models, trained)
        return [each.replicates["target_gain"] - each.estimates.target_gain.value for each in found]

    @pytest.mark.parametrize("beside", [False, True])
    def test_that_seeds_move_alike_differ_by_their_samples_alone(self, beside: bool) -> None:
        """Of 100 samples 20 + s and 17 + s are gained, s being -5, 0 and 5, beside another recipe or not."""
        shifts = (-5, 0, 5)

        def run(right: int) -> dict[str, Evaluation]:
            return evaluations(count=answers(right, 100), colour=answers(90, 100), shape=answers(80, 100))

        def mean(right: int) -> dict[str, Evaluation]:
            scores = np.mean([answers(right + shift, 100) for shift in shifts], axis=0)
            return evaluations(count=list(scores), colour=answers(90, 100), shape=answers(80, 100))

        one, other = ({seed: run(right + seed) for seed in shifts} for right in (40, 37))
        third = {seed: run(right) for seed, right in zip(shifts, (20, 60, 40), strict=True)}
        boot = bootstrap(BASE)
        seeds = boot.resample_runs([one, other, *([third] if beside else [])], ["a", "a", "b"][: 2 + beside])
        samples = boot.resample([mean(40), mean(37)])
        found, alone = (boot.difference(each[0], each[1], "score", 0.68) for each in (seeds, samples))
        assert found.value == pytest.approx(3)
        assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=1e-3)
        apart = boot.resample_runs([one, other])
        unpaired = boot.difference(apart[0], apart[1], "score", 0.68)
        assert unpaired.high - unpaired.low > 2 * (found.high - found.low)

    def test_follow_another_training_s_seeds_as_far_as_their_own(self) -> None:
        """An interpolation that each seed moves half as far is drawn half as far, whoever's seed it is."""
        whole, half, _ = self.draws(moved(-6, 0, 6), moved(-3, 0, 3), self.other, trained="aab")
        assert np.std(whole) > 1
        assert half == pytest.approx(whole / 2, abs=1e-4)

    def test_keep_what_is_theirs_alone(self) -> None:
        """Shifts of 3, -6 and 3 have nothing in common with -6, 0 and 6: nor have the draws."""
        whole, own, _ = self.draws(moved(-6, 0, 6), moved(3, -6, 3), self.other, trained="aab")
        spread = np.quantile(np.abs(own), 0.5) / np.quantile(np.abs(whole), 0.5)
        assert 0.5 < spread < 1.5
        assert abs(np.corrcoef(np.sign(whole), np.sign(own))[0, 1]) < 0.15

    def test_take_their_own_deviation_where_one_of_their_seeds_is_drawn(self) -> None:
        """Of three draws n0, n1 and n2 are of each seed: 6 (n2 - n0) against 9 (n0 + n2) - 18.

        Where n2 - n0 is 3 that is 18 to 9, where it is 2 it is 12 to 0; where it is 1 n0 + n2 is 1 or 3.
        """
        whole, own = self.draws(moved(-6, 0, 6), moved(3, -6, 3), trained="aa")
        drawn = np.abs(whole) > 1e-3
        ratios = np.round(own[drawn] / np.abs(whole[drawn]), 2) + 0.0
        assert set(ratios) == {0.5, 0.0, -1.5, 1.5}

    def test_are_paired_by_seed_in_whatever_order_the_runs_ended(self) -> None:
        runs = moved(-6, 0, 6)
        late = {seed: runs[seed] for seed in (2, 0, 1)}
        one, other = self.draws(runs, late, trained="aa")
        assert one == pytest.approx(other, abs=1e-6)

    def test_of_which_a_run_failed_are_drawn_for_themselves(self) -> None:
        """What is drawn of seeds 0 and 2 is not paired with what is drawn of 0, 1 and 2."""
        runs = moved(-6, 0, 6)
        one, other = self.draws(runs, {seed: runs[seed] for seed in (0, 2)}, trained="aa")
        assert abs(np.corrcoef(np.sign(one), np.sign(other))[0, 1]) < 0.1

    def test_different_trainings_are_independent(self) -> None:
        one, other = self.draws(moved(-6, 0, 6), moved(-6, 0, 6), trained="ab")
        assert abs(np.corrcoef(np.sign(one), np.sign(other))[0, 1]) < 0.1

    def test_cover_what_they_say_in_their_difference(self) -> None:
        """Gains of N(25, 6) over seeds, and 80 % of each shift kept, beside another recipe: 200 times."""
        generator = np.random.default_rng(4)
        held = 0
        for study in range(200):

            def run(rate: float, generator: np.random.Generator = generator) -> dict[str, Evaluation]:
                right = list(100.0 * (generator.random(60) < np.clip(rate, 0, 1)))
                return evaluations(count=right, colour=[0.0] * 60, shape=[0.0] * 60)

            shifts, others = 0.06 * generator.standard_normal((2, 3))
            one = {seed: run(0.6 + shift) for seed, shift in enumerate(shifts)}
            other = {seed: run(0.5 + 0.8 * shift) for seed, shift in enumerate(shifts)}
            third = {seed: run(0.6 + shift) for seed, shift in enumerate(others)}
            boot = bootstrap(run(0.35), replicates=400, seed=study)
            found = boot.resample_runs([one, other, third], "aab")
            gain = boot.difference(found[0], found[1], "target_gain")
            held += gain.low <= 10 <= gain.high
        assert held / 200 >= 0.91


def test_a_higher_confidence_is_wider() -> None:
    half = bootstrap(BASE, confidence=0.5, replicates=20_000).estimates(TUNED).target_gain
    reach = NormalDist().inv_cdf(0.75) * 4.69
    assert half.high - half.value == pytest.approx(reach, abs=1.1)
