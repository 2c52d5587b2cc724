"""A rung's metrics: paired with the base on the samples that the rung was evaluated on, by hand."""

from __future__ import annotations

import pytest

from search.objective import Objective, paired_metrics
from trainables.scoring.evaluation import Evaluation


def evaluations(**scores: tuple[float, ...]) -> dict[str, Evaluation]:
    return {task: Evaluation(task=task, scores=each) for task, each in scores.items()}


BASE = evaluations(count=(0, 100, 0, 0), colour=(100, 100, 100, 0), faces=(100, 0))
OBJECTIVE = Objective(
    base={task: evaluation.value for task, evaluation in BASE.items()},
    targets=("count",),
    held_out=("colour", "faces"),
    forgetting_weight=2.0,
)


def test_a_rung_of_all_samples_is_compared_with_the_whole_base() -> None:
    """Gain 75 - 25 = 50; drops 75 - 50 = 25 and 50 - 100 = -50, mean -12.5; 50 + 2 x 12.5 = 75."""
    tuned = evaluations(count=(100, 100, 100, 0), colour=(100, 0, 100, 0), faces=(100, 100))
    assert paired_metrics(tuned, objective=OBJECTIVE, base=BASE) == {
        "score": 75.0,
        "target_gain": 50.0,
        "held_out_forgetting": -12.5,
        "worst_forgetting": 25.0,
        "target/count": 75.0,
        "held_out/colour": 50.0,
        "held_out/faces": 100.0,
        "scored_samples": 10.0,
    }


def test_a_rung_of_the_first_samples_is_compared_with_the_base_on_the_same() -> None:
    """The first three of four, and both of the task that has no more.

    The base's means over them are 33.3, 100 and 50. Gain 66.7 - 33.3 = 33.3; drops 100 - 66.7 = 33.3 and
    50 - 0 = 50, mean 41.7; 33.3 - 2 x 41.7 = -50.
    """
    tuned = evaluations(count=(100, 100, 0), colour=(100, 0, 100), faces=(0, 0))
    found = paired_metrics(tuned, objective=OBJECTIVE, base=BASE)
    assert found["target_gain"] == pytest.approx(100 / 3)
    assert found["held_out_forgetting"] == pytest.approx(125 / 3)
    assert found["worst_forgetting"] == pytest.approx(50)
    assert found["score"] == pytest.approx(-50)
    assert found["target/count"] == pytest.approx(200 / 3)
    assert found["scored_samples"] == 8.0


def test_a_model_that_answers_like_the_base_scores_nothing_at_any_rung() -> None:
    for n in (1, 2):
        tuned = {task: evaluation.first(n) for task, evaluation in BASE.items()}
        assert paired_metrics(tuned, objective=OBJECTIVE, base=BASE)["score"] == 0.0
