"""Which samples count as the same or nearly so, and that honest splits have none."""

from __future__ import annotations

import dataclasses
import random
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_near_images import brighter, encoded, scene, smaller

from search.data.inputs import load_data
from search.data.signatures import signatures
from search.data.thumbnails import Thumbnails
from search.data.twins import Twin, find_twins
from search.settings.study_file import load_study
from trainables.data.samples import SPLITS, ImageSource, Sample, Turn
from trainables.tiny import load_split
from trainables.tiny.tasks import TASKS

QUICKSTART = Path(__file__).resolve().parents[4] / "examples" / "quickstart.yaml"
CAT, DOG = (encoded(scene(seed).resize((320, 240)), "JPEG", quality=95) for seed in (0, 1))
COPY = encoded(smaller(brighter(scene(0).resize((320, 240)))), "JPEG", quality=60)
LONG = "The quick brown fox jumps over the lazy dog, and then it sleeps all day long under a tree. " * 6


def ask(prompt: str, answer: str, *images: ImageSource, **fields: Any) -> Sample:
    return Sample(id=prompt, prompt=prompt, answer=answer, images=images, **fields)


def twins(train: list[Sample], scored: list[Sample]) -> list[tuple[int, int, bool]]:
    known = Thumbnails()
    found = find_twins({"a/train": signatures(train, known)}, {"b/search": signatures(scored, known)})
    return [(twin.place, twin.other, twin.exact) for twin in found]


SAME = [
    (ask("Is it red?", "no"), ask("  is it  RED ", "No.")),
    (ask("Is it red?", "no", CAT), ask("is it red", "no", CAT)),
    (ask("Is it red?", "no", CAT), ask("Is it red?", "no", COPY)),
    (ask("Is it red?", "no", CAT, DOG), ask("Is it red?", "no", COPY, DOG)),
    (ask("Is it red?", "no", CAT, DOG), ask("Is it red?", "no", CAT, encoded(scene(1), "PNG"))),
    (ask("Is it red?", "no", CAT), ask("Is it red?\nAnswer with a single word.", "no", CAT)),
    (ask("Question: Is it red? Answer:", "no", CAT), ask("Is it red?", "no", COPY)),
    # One of several answers that count as right.
    (ask("How many?", "two"), ask("How many?", "2", references=("2", "two", "a pair"))),
    (ask(LONG, "yes"), ask(LONG.replace("jumps", "leaps", 1).upper(), "yes")),
    # A mark is a place, not a text.
    (ask("<image> Is it red?", "no", CAT), ask("Is it red? <image>", "no", CAT)),
    # What the system is told is a template's.
    (
        ask("Is it red?", "no"),
        ask("Is it red?", "no", history=(Turn(role="system", text="You are terse."),)),
    ),
    # About the same image it makes no difference what was said before.
    (
        ask("Red?", "no", CAT),
        ask("Red?", "no", CAT, history=(Turn(role="user", text="Is it big?"),)),
    ),
]
OTHERS = [
    (ask("Is it red?", "no"), ask("Is it red?", "yes")),
    (ask("Is it red?", "no", CAT), ask("Is it red?", "no", DOG)),
    (ask("Is it red?", "no", CAT), ask("Is it red?", "no")),
    (ask("Is it red?", "no", CAT), ask("Is it red?", "no", CAT, CAT)),
    (ask("Is it red?", "no", CAT, DOG), ask("Is it red?", "no", COPY, CAT)),
    (ask("Is it red?", "no", CAT), ask("Is it big?", "no", CAT)),
    (ask("Is it red?", "no", CAT), ask("Is it reddish?", "no", COPY)),
    (ask("Is it red?", "no", CAT), ask("Is it red?", "yes", COPY)),
    (ask(LONG, "yes"), ask(LONG.replace("jumps", "leaps", 1), "no")),
    (ask("What is 5 plus 7?", "12"), ask("What is 7 plus 5?", "12")),
    (ask("What is 3.5?", "x"), ask("What is 35?", "x")),
    (ask(LONG + "Was it a fox or a bear?", "yes"), ask(LONG + "Did the dog move at all?", "yes")),
    # Without an image, a question is nothing without what was said before.
    (
        ask("Why?", "so", history=(Turn(role="user", text="Is it red?"), Turn(role="assistant", text="No"))),
        ask("Why?", "so", history=(Turn(role="user", text="Is it big?"), Turn(role="assistant", text="No"))),
    ),
]


@pytest.mark.parametrize("pair", SAME, ids=range(len(SAME)))
def test_nearly_the_same(pair: tuple[Sample, Sample]) -> None:
    one, other = pair
    assert twins([one], [other]) == twins([other], [one]) == [(0, 0, False)]


@pytest.mark.parametrize("pair", OTHERS, ids=range(len(OTHERS)))
def test_others(pair: tuple[Sample, Sample]) -> None:
    one, other = pair
    assert twins([one], [other]) == twins([other], [one]) == []


def test_a_question_in_the_template_of_another_task() -> None:
    """A template is what all of a split begin and end with; what one sample alone has more is content."""
    towns = ("Rome", "Oslo", "Bern", "Lima", "Riga")
    walks = [
        f"{a} lies {n} miles from {b}, and {n + 1} from {c}."
        for n, (a, b, c) in enumerate(permutations(towns, 3))
    ]
    train = [ask(f"Question: {text} Is that far?\nAnswer:", "no") for text in walks]
    scored = [ask(f"Tell me, {text} Is that far?", "no") for text in walks]
    assert twins(train, scored) == [(n, n, False) for n in range(len(walks))]
    longer = [ask(f"{text} Is that far?", "no") for text in (f"{walks[0]} A mile is 2 km.", *walks[1:])]
    assert twins(longer, scored) == [(n, n, False) for n in range(1, len(walks))]


def test_the_very_same_comes_before_nearly_the_same() -> None:
    near, same = ask("is it red", "no", CAT), ask("Is it red?", "no", CAT)
    assert twins([same], [near, dataclasses.replace(same, id="other")]) == [(0, 1, True)]


def test_each_scored_split_counts_once() -> None:
    sample, copy = ask("Is it red?", "no", CAT), ask("Is it red?", "no", COPY)
    signed = signatures([sample, copy], Thumbnails())
    found = find_twins({"a/train": signed}, {"b/search": signed, "b/confirm": signed[1:]})
    assert found == [
        Twin(split="a/train", place=0, scored="b/search", other=0, exact=True),
        Twin(split="a/train", place=0, scored="b/confirm", other=0, exact=False),
        Twin(split="a/train", place=1, scored="b/search", other=1, exact=True),
        Twin(split="a/train", place=1, scored="b/confirm", other=0, exact=True),
    ]


@pytest.mark.parametrize(("teaches", "found"), [(True, [(0, 0, False)]), (False, [])])
def test_each_answer_that_training_learns_counts(teaches: bool, found: list[tuple[int, int, bool]]) -> None:
    history = (
        Turn(role="user", text="<image> Is it big?"),
        Turn(role="assistant", text="Yes"),
        Turn(role="user", text="Is it red?"),
        Turn(role="assistant", text="No"),
    )
    conversation = ask("Is it soft?", "Yes", CAT, history=history, teaches_history=teaches)
    assert twins([conversation], [ask("Is it red?", "no", COPY)]) == found
    assert twins([conversation], [ask("Is it soft?", "yes", COPY)]) == [(0, 0, False)]


def test_pixels_and_a_file_of_them_are_one_image() -> None:
    pixels = np.asarray(scene(2).resize((64, 48)))
    file = encoded(Image.fromarray(pixels))
    assert twins([ask("Is it red?", "no", pixels)], [ask("Is it red?", "no", file)]) == [(0, 0, False)]


def test_an_image_that_can_t_be_decoded_still_counts_by_its_content() -> None:
    broken, other = b"nonsense", b"other nonsense"
    scored = [ask("Is it red?", "no", other), ask("is it red", "no", broken)]
    assert twins([ask("Is it red?", "no", broken)], scored) == [(0, 1, False)]


def test_questions_of_one_template_are_not_the_same() -> None:
    """BIG-bench's arithmetic: the same answer many times, and questions that differ by one number."""
    sums = [(a, b) for a in range(40) for b in range(40)]
    random.Random(0).shuffle(sums)
    short = [ask(f"What is {a} plus {b}?", str(a + b)) for a, b in sums]
    story = "In a small town there are {} red houses and on the other side of the river {} blue ones, as is well known to everyone. How many houses are there?"  # noqa: E501
    long = [ask(story.format(a, b), str(a + b)) for a, b in sums]
    for samples in (short, long):
        assert twins(samples[:800], samples[800:]) == []


def test_the_quickstart_has_no_twins_and_nothing_else_to_say() -> None:
    data = load_data(load_study(QUICKSTART))
    assert (data.leaks, data.warnings) == ((), ())
    assert sum(name.endswith("/confirm") for name in data.fingerprints) == 11


@pytest.mark.slow
def test_no_two_splits_of_the_embedded_tasks_have_twins() -> None:
    known = Thumbnails()
    signed = {
        f"{name}/{split}": signatures(load_split(name, split), known) for name in TASKS for split in SPLITS
    }
    train = {split: each for split, each in signed.items() if split.endswith("/train")}
    scored = {split: each for split, each in signed.items() if split not in train}
    assert find_twins(train, scored) == []
    search, confirm = (
        {split: each for split, each in scored.items() if split.endswith(last)}
        for last in ("/search", "/confirm")
    )
    # Two of easy-VQA's published pictures, of the 400 samples to confirm with.
    (twin,) = find_twins(confirm, search)
    assert (twin.split, twin.scored, twin.exact) == ("easy_vqa_color/confirm", "easy_vqa_color/search", False)
