"""Which samples the report shows as won and lost, and in which words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_study import Answered, config, record, with_answers

from search.findings.example_findings import IN_ALL, PER_TASK, example_rows, pick_examples
from search.records.study_record import Predictions
from trainables.data.samples import Sample, Turn


def samples(n: int, **fields: Any) -> list[Sample]:
    return [
        Sample(id=f"s{number}", prompt=f"question {number}", answer="yes", **fields) for number in range(n)
    ]


def answered(task: str, base: Sequence[float], selected: Sequence[float], **fields: Any) -> Answered:
    """Make a task whose answers are called after model and sample."""

    def answers(model: str, scores: Sequence[float]) -> list[tuple[str, float]]:
        return [(f"{model} {number}", score) for number, score in enumerate(scores)]

    return Answered(task, samples(len(base), **fields), answers("base", base), answers("tuned", selected))


def picked(*tasks: Answered) -> list[tuple[str, list[str]]]:
    found = pick_examples(with_answers(record(), *tasks))
    return [(task.task, [example.sample.id for example in task.examples]) for task in found]


def test_a_target_shows_what_was_won_and_a_held_out_task_what_was_lost() -> None:
    base, selected = [0.0, 100.0, 50.0, 0.0, 100.0], [100.0, 0.0, 50.0, 30.0, 90.0]
    made = with_answers(record(), answered("count", base, selected), answered("colour", base, selected))
    target, held_out = pick_examples(made)
    assert (target.n, target.won, target.lost) == (held_out.n, held_out.won, held_out.lost) == (5, 2, 2)
    # Won by 100 and 30, lost by 100 and 10.
    assert [example.sample.id for example in target.examples] == ["s0", "s3"]
    assert [example.sample.id for example in held_out.examples] == ["s1", "s4"]
    lost = held_out.examples[1]
    assert (lost.base, lost.base_score, lost.tuned, lost.tuned_score) == ("base 4", 100.0, "tuned 4", 90.0)


def test_the_largest_differences_come_first_and_equal_ones_in_the_order_of_the_split() -> None:
    gains = [10.0, 40.0, 10.0, 90.0, 40.0, 5.0, 10.0, 7.0]
    assert picked(answered("count", [0.0] * 8, gains)) == [("count", ["s3", "s1", "s4", "s0", "s2", "s6"])]


def test_every_task_has_its_first_example_before_any_has_its_second() -> None:
    names = [f"kept{number}" for number in range(IN_ALL + 2)]
    study = config(held_out=names)
    lost = [answered(name, [100.0, 100.0], [0.0, 0.0]) for name in names]
    won = answered("count", [0.0] * 9, [100.0] * 9)
    counts = [
        len(task.examples) for task in pick_examples(with_answers(record(study=study), won, *lost[:10]))
    ]
    # 6 + 10 x 2 are fewer than the bound.
    assert counts == [PER_TASK, *[2] * 10]
    counts = [len(task.examples) for task in pick_examples(with_answers(record(study=study), won, *lost))]
    assert counts == [*[1] * IN_ALL, *[0] * 3]


def test_the_counts_are_said_in_words() -> None:
    many = answered("count", [0.0] * 9 + [100.0], [100.0] * 8 + [0.0] * 2)
    none = answered("colour", [0.0], [0.0])
    first, second = example_rows(with_answers(record(), many, none))
    assert first["counts"] == "of 10 samples, 8 won, 1 lost, 1 the same"
    assert first["shown"] == "6 of the 8 won"
    assert (second["counts"], second["shown"]) == ("of 1 sample, 0 won, 0 lost, 1 the same", "")
    (few,) = example_rows(with_answers(record(), answered("shape", [100.0] * 2, [0.0, 100.0])))
    assert few["shown"] == "1 lost"


def test_the_first_task_of_a_kind_that_has_examples_is_open() -> None:
    none, won = answered("count", [0.0], [0.0]), answered("clock", [0.0], [100.0])
    lost = [answered(name, [100.0], [0.0]) for name in ("colour", "shape")]
    rows = example_rows(with_answers(record(), none, won, *lost))
    assert [row["open"] for row in rows] == [False, True, True, False]


def test_without_both_models_answers_there_are_no_examples() -> None:
    made = with_answers(record(), answered("count", [0.0], [100.0]))
    alone = Predictions(models={"base": made.predictions.models["base"]})
    assert example_rows(replace(made, predictions=alone)) == []
    assert example_rows(record()) == []


def shown(sample: Sample, answer: str = "no") -> Any:
    task = Answered("count", [sample], [("no", 0.0)], [(answer, 100.0)])
    (row,) = example_rows(with_answers(record(), task))
    (example,) = row["examples"]  # type: ignore[misc]
    return example


def test_marks_of_images_are_left_out_before_a_text_and_told_within_it() -> None:
    sample = Sample(
        id="a", prompt="<image>\n<image> How many in <image>?", answer="1", references=("1", "one")
    )
    texts = {name: said["whole"] for name, said in shown(sample)["texts"]}
    assert texts == {"prompt": "How many in [image]?", "reference": "1 | one"}


def test_what_was_said_before_comes_before_the_prompt() -> None:
    sample = Sample(id="a", prompt="And now?", answer="1", history=(Turn(role="user", text="Count."),))
    assert [(name, said["whole"]) for name, said in shown(sample)["texts"]] == [
        ("user", "Count."),
        ("prompt", "And now?"),
        ("reference", "1"),
    ]


def test_a_long_text_is_folded_at_a_word_and_cut_at_last() -> None:
    sample = Sample(id="a", prompt="x" * 150 + " " + "y" * 2860, answer="1")
    said = dict(shown(sample)["texts"])["prompt"]
    assert said["start"] == "x" * 150 + " …"
    # 150 + 1 + 2860 characters, of which the first 3000 stay.
    assert said["whole"] == sample.prompt[:3000] + " … (11 characters more)"


def test_a_text_without_a_blank_is_folded_too() -> None:
    assert dict(shown(Sample(id="a", prompt="z" * 161, answer="1"))["texts"])["prompt"]["start"] == (
        "z" * 160 + " …"
    )


def test_an_empty_answer_and_an_unknown_one_say_so() -> None:
    example = shown(Sample(id="a", prompt="?", answer="1"), answer=" ")
    assert [(name, said["instead"], score) for name, said, score in example["answers"]] == [
        ("base", "", "0 points"),
        ("tuned", "no text", "100 points"),
    ]
    made = with_answers(record(), answered("count", [0.0], [100.0]))
    models = {
        name: {task: replace(each, predictions=()) for task, each in evaluations.items()}
        for name, evaluations in made.predictions.models.items()
    }
    (row,) = example_rows(replace(made, predictions=Predictions(models=models)))
    (example,) = row["examples"]  # type: ignore[misc]
    assert {said["instead"] for _, said, _ in example["answers"]} == {"not recorded"}


def test_an_image_that_can_no_longer_be_read_is_told_and_stops_nothing(tmp_path: Path) -> None:
    missing = tmp_path / "gone.png"
    example = shown(Sample(id="a", prompt="?", answer="1", images=(missing,)))
    assert example["pictures"] == ()
    assert str(missing) in example["missing"]


@pytest.mark.parametrize(("count", "told"), [(3, ""), (4, "and 1 more image"), (6, "and 3 more images")])
def test_further_images_of_a_sample_are_counted(count: int, told: str) -> None:
    picture = np.zeros((4, 4, 3), dtype=np.uint8)
    example = shown(Sample(id="a", prompt="?", answer="1", images=(picture,) * count))
    assert (len(example["pictures"]), example["more"]) == (3, told)
