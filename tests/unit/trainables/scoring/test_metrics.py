from __future__ import annotations

import dataclasses
import pickle

import pytest

from trainables.data.samples import Sample
from trainables.metrics import METRICS, MetricSpec

# An answer that fits each metric that reads something special.
ANSWERS = {"choice_letter": "B", "numeric": "12", "clock_time": "3:45"}


@pytest.mark.parametrize("name", METRICS)
def test_each_metric_scores_what_it_is_for(name: str) -> None:
    metric, answer = MetricSpec(name), ANSWERS.get(name, "red bird")
    assert metric.metric.direction == "higher"
    assert metric.metric.source
    sample = Sample(id="1", prompt="?", answer=answer, choices=(answer, "no"))
    metric.check("birds", [sample])
    assert (metric.metric.score is None) == (metric.metric.measured != "generation")
    if metric.metric.score is not None:
        assert metric.score(answer, sample.accepted) == pytest.approx(100.0)
        assert metric.score("zzz", sample.accepted) == 0.0
    assert pickle.loads(pickle.dumps(metric)) == metric


def test_options_have_defaults() -> None:
    assert MetricSpec("clock_time").score("3:47", ["3:45"]) == 0.0
    assert MetricSpec("clock_time", (("minutes", 2.0),)).score("3:47", ["3:45"]) == 100.0
    assert str(MetricSpec("clock_time", (("minutes", 2.0),))) == "clock_time(minutes=2)"


@pytest.mark.parametrize(
    ("metric", "changes", "reason"),
    [
        ("multiple_choice", {}, "it weighs the choices of a sample, and there are none"),
        ("multiple_choice_norm", {}, "it weighs the choices of a sample, and there are none"),
        ("multiple_choice", {"choices": ("red", "blue")}, "the answer 'green' is none of the choices"),
        ("choice_letter", {}, "it reads a choice's letter, and the answer is 'green'"),
        ("numeric", {}, "it reads a number, and the answer is 'green'"),
        ("clock_time", {}, "it reads a time such as 3:45, and the answer is 'green'"),
    ],
)
def test_a_sample_that_can_t_be_scored_is_named(
    metric: str, changes: dict[str, tuple[str, ...]], reason: str
) -> None:
    fits = Sample(id="0", prompt="?", answer=ANSWERS.get(metric, "red"), choices=("red", "12", "B", "3:45"))
    wrong = Sample(id="1", prompt="?", answer="green", where="a.jsonl:2")
    wrong = dataclasses.replace(wrong, **changes)  # type: ignore[arg-type]
    later = dataclasses.replace(wrong, where="a.jsonl:3")
    with pytest.raises(ValueError, match="does not fit") as error:
        MetricSpec(metric).check("birds", [fits, wrong, later])
    assert str(error.value) == f"a.jsonl:2: the metric {metric!r} does not fit: {reason}"
    # Without a file, the task tells where the id belongs.
    with pytest.raises(ValueError, match=r"^task 'birds': sample '1': the metric "):
        MetricSpec(metric).check("birds", [dataclasses.replace(wrong, where="")])
