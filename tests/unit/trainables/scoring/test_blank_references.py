"""A reference that was left blank makes no answer right, by any metric that reads what was written."""

from __future__ import annotations

import pytest

from trainables.data.task_spec import TaskSpec
from trainables.formats import to_samples
from trainables.metrics import METRICS, MetricSpec
from trainables.sources.row import Row

SCORED = [name for name, metric in METRICS.items() if metric.score is not None]


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize("answers", [["b", "", None], ["", " ", "b", "b"]])
def test_a_blank_reference_counts_for_nothing(name: str, answers: list[str | None]) -> None:
    row = Row("birds.jsonl:1", {"question": "Which?", "answers": answers}, None)
    (sample,) = to_samples(row, TaskSpec(name="birds", origins={}), "search")
    metric = MetricSpec(name)
    assert metric.score("", sample.accepted) == 0
    assert metric.score("zzz", sample.accepted) == 0
    if name not in ("numeric", "clock_time"):  # which a letter can't satisfy
        assert metric.score("b", sample.accepted) == pytest.approx(100)
