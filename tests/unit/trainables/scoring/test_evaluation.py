"""Evaluation: value and error of one task, by hand."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.scoring.evaluation import Evaluation, evaluations_json

SCORES = st.lists(st.floats(0, 100), min_size=1, max_size=30).map(tuple)


def evaluation(*scores: float) -> Evaluation:
    return Evaluation(task="count", scores=scores)


def test_value_and_error() -> None:
    # Mean 75; squared deviations 3 x 625 + 5625 = 7500; variance 7500 / 3 = 2500; error sqrt(2500 / 4) = 25.
    got = evaluation(100.0, 0.0, 100.0, 100.0)
    assert (got.n, got.value, got.stderr) == (4, 75.0, 25.0)


def test_equal_scores_have_no_error() -> None:
    assert (evaluation(40.0, 40.0, 40.0).value, evaluation(40.0, 40.0, 40.0).stderr) == (40.0, 0.0)


def test_one_sample_has_no_known_error() -> None:
    assert evaluation(100.0).value == 100.0
    assert math.isnan(evaluation(100.0).stderr)


def test_the_first_samples_alone() -> None:
    """(100 + 0 + 50) / 3 = 50; of the first two (100 + 0) / 2 = 50, of the first alone 100."""
    whole = Evaluation(task="count", scores=(100.0, 0.0, 50.0), predictions=("a", "b", "c"))
    assert whole.first(1) == Evaluation(task="count", scores=(100.0,), predictions=("a",))
    assert (whole.first(2).n, whole.first(2).value) == (2, 50.0)
    assert whole.first(3) == whole
    with pytest.raises(ValueError, match="'count' was evaluated on 3 samples, not on 4"):
        whole.first(4)


def test_no_sample_is_no_evaluation() -> None:
    with pytest.raises(ValueError, match="task 'count' was evaluated on no sample"):
        evaluation()


def test_higher_is_better_unless_said() -> None:
    assert evaluation(1.0).direction == "higher"


@given(SCORES, st.sampled_from(["higher", "lower"]))
def test_json_holds_the_whole_evaluation(scores: tuple[float, ...], direction: str) -> None:
    got = Evaluation(task="count", scores=scores, direction=direction)  # type: ignore[arg-type]
    assert Evaluation.from_dict(json.loads(json.dumps(got.to_dict()))) == got


def test_a_file_holds_each_tasks_evaluation() -> None:
    assert json.loads(evaluations_json({"count": evaluation(100.0, 0.0), "name": evaluation(40.0)})) == {
        "count": {"task": "count", "scores": [100.0, 0.0], "direction": "higher"},
        "name": {"task": "count", "scores": [40.0], "direction": "higher"},
    }


@given(SCORES)
def test_the_value_lies_among_the_scores(scores: tuple[float, ...]) -> None:
    got = evaluation(*scores)
    assert min(scores) - 1e-9 <= got.value <= max(scores) + 1e-9


@given(SCORES.filter(lambda scores: len(scores) > 1), st.integers(2, 4))
def test_more_of_the_same_data_has_less_error(scores: tuple[float, ...], times: int) -> None:
    once, again = evaluation(*scores), evaluation(*(scores * times))
    assert again.value == pytest.approx(once.value, abs=1e-9)
    assert again.stderr <= once.stderr + 1e-9
