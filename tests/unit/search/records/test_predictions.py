"""The tables of predictions, and what is said where a model scores otherwise the second time."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from made_study import Answered, record, with_answers

from search.phases.prediction_jobs import asked_of_base, predict
from search.records.predictions import COLUMNS, differences, write_predictions
from trainables.data.samples import Sample, Turn
from trainables.metrics import MetricSpec
from trainables.scoring.evaluation import Evaluation, evaluations_json
from trainables.workers.execution import GroupShape
from trainables.workers.jobs import TaskData

COUNTED = Sample(id="s0", prompt="How many?", answer="2", references=("2", "two"), where="count.jsonl:1")
NUMERIC = MetricSpec("numeric", (("tolerance", 0.1),))
CHOSEN = Sample(id="s0", prompt="Which?", answer="red", choices=("red", "blue"))


def test_a_table_holds_every_sample_with_its_answer(tmp_path: Path) -> None:
    made = with_answers(
        record(),
        Answered("count", [COUNTED], [("3", 0.0)], [("two", 100.0)], NUMERIC),
        Answered("colour", [CHOSEN], [("red", 100.0)], [("", 12.5)]),
    )
    file = tmp_path / "predictions" / "selected.parquet"
    write_predictions(file, made.tasks, made.predictions.models["selected"])
    table = pq.read_table(file)
    assert table.schema.equals(COLUMNS)
    assert table.to_pylist() == [
        {
            "task": "count",
            "role": "target",
            "split": "search",
            "id": "s0",
            "where": "count.jsonl:1",
            "prompt": "How many?",
            "messages": [{"role": "user", "content": "How many?"}],
            "references": ["2", "two"],
            "choices": [],
            "prediction": "two",
            "score": 100.0,
            "metric": "numeric(tolerance=0.1)",
        },
        {
            "task": "colour",
            "role": "held_out",
            "split": "search",
            "id": "s0",
            "where": "",
            "prompt": "Which?",
            "messages": [{"role": "user", "content": "Which?"}],
            "references": ["red"],
            "choices": ["red", "blue"],
            "prediction": "",
            "score": 12.5,
            "metric": "exact_match",
        },
    ]


def test_a_conversation_is_there_as_a_whole(tmp_path: Path) -> None:
    said = (("system", "Be brief."), ("user", "<image>\nWhat is it?"), ("assistant", "A cup."))
    sample = Sample(
        id="s0",
        prompt="And <image>?",
        answer="a mug",
        history=tuple(Turn(role=role, text=text) for role, text in said),  # type: ignore[arg-type]
    )
    task = TaskData(name="cups", role="target", metric=MetricSpec("token_f1"), train=(), search=(sample,))
    evaluation = Evaluation(task="cups", scores=(0.0,), predictions=("a jug",))
    write_predictions(tmp_path / "t.parquet", [task], {"cups": evaluation})
    (row,) = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert row["prompt"] == "And <image>?"
    assert [(turn["role"], turn["content"]) for turn in row["messages"]] == [*said, ("user", "And <image>?")]


def test_an_answer_that_is_not_known_is_null(tmp_path: Path) -> None:
    task = TaskData(name="count", role="target", metric=MetricSpec("numeric"), train=(), search=(COUNTED,))
    write_predictions(tmp_path / "t.parquet", [task], {"count": Evaluation(task="count", scores=(50.0,))})
    (row,) = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert (row["prediction"], row["score"]) == (None, 50.0)


def test_an_evaluation_of_other_samples_makes_no_table(tmp_path: Path) -> None:
    task = TaskData(name="count", role="target", metric=MetricSpec("numeric"), train=(), search=(COUNTED,))
    with pytest.raises(ValueError, match="zip"):
        write_predictions(
            tmp_path / "t.parquet", [task], {"count": Evaluation(task="count", scores=(0.0, 0.0))}
        )
    assert list(tmp_path.iterdir()) == []


def test_scores_that_differ_are_told_with_task_and_count() -> None:
    before = {name: Evaluation(task=name, scores=(0.0, 100.0, 100.0, 0.0)) for name in ("count", "colour")}
    # Two samples differ, and the mean of 100, 0, 100 and 0 is what it was.
    again = before | {"count": Evaluation(task="count", scores=(100.0, 0.0, 100.0, 0.0))}
    assert differences("base", before, before) == []
    (line,) = differences("selected recipe", again, before)
    assert line == (
        "task 'count': 2 of 4 samples score otherwise than when the selected recipe was evaluated before: "
        "50.0 points instead of 50.0"
    )


def test_what_the_base_answered_to_an_earlier_study_is_not_asked_again(tmp_path: Path) -> None:
    stored = {"count": Evaluation(task="count", scores=(0.0, 100.0), predictions=("3", "2"))}
    cache = tmp_path / "base.json"
    cache.write_bytes(evaluations_json(stored))
    scores = {"count": Evaluation(task="count", scores=(100.0, 100.0))}
    # Without a pool nobody could be asked.
    found = predict(None, {"base": asked_of_base(GroupShape(), scores, cache)}, at_a_time=1)
    assert found.models == {"base": stored}
    (warning,) = found.warnings
    assert warning.startswith("task 'count': 1 of 2 samples score otherwise than when the base was")
