from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.scoring.vqa_metric import vqa_accuracy, vqa_form


@pytest.mark.parametrize(
    ("same", "points"),
    [
        (0, 0.0),
        # Without one who gave it, none of three is left; without one of the nine others, 1 of 3: 9/10 * 1/3.
        (1, 30.0),
        # 2/10 * 1/3 + 8/10 * 2/3.
        (2, 60.0),
        # 3/10 * 2/3 + 7/10 * 1.
        (3, 90.0),
        (4, 100.0),
        (10, 100.0),
    ],
)
def test_ten_answers(same: int, points: float) -> None:
    accepted = ["The Dog."] * same + [f"other {number}" for number in range(10 - same)]
    assert vqa_accuracy("a dog", accepted, {}) == pytest.approx(points)


@pytest.mark.parametrize(
    ("accepted", "points"),
    [
        (["dog"], 100.0),
        (["cat"], 0.0),
        # Of two, without the first the other must be the same: 0 of 1; without the other, 1 of 1.
        (["dog", "cat"], 50.0),
        # Of three, two others must be: (1/2 + 1/2 + 1) / 3.
        (["dog", "dog", "cat"], 100.0 * 2 / 3),
    ],
)
def test_fewer_answers(accepted: list[str], points: float) -> None:
    assert vqa_accuracy("dog", accepted, {}) == pytest.approx(points)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("The dog, a cat and an owl?", "dog cat and owl"),
        ("Two", "2"),
        ("none", "0"),
        ("eleven", "eleven"),
        # A mark between words parts them; one that stands beside a space somewhere in the text does not.
        ("red/blue", "red blue"),
        ("red / blue", "red blue"),
        ("t-shirt", "t shirt"),
        ("t-shirt - red", "tshirt red"),
        # A full stop stays before a digit.
        ("3.5", "3.5"),
        ("U.S.A.", "usa"),
        ("1,000", "1000"),
        # Contractions get their apostrophes; `'s` is a word of its own.
        ("dont", "don't"),
        ("couldntve", "couldntve"),
        ("couldn'tve", "couldn't've"),
        ("oclock", "o'clock"),
        ("John's", "john 's"),
        ("yes\n", "yes"),
        ("", ""),
    ],
)
def test_form_of_answers(text: str, form: str) -> None:
    assert vqa_form(text) == form


@given(st.text(max_size=12), st.lists(st.text(max_size=4), min_size=1, max_size=10))
def test_bounds_and_agreement(text: str, accepted: list[str]) -> None:
    assert 0.0 <= vqa_accuracy(text, accepted, {}) <= 100.0
    assert vqa_accuracy(text, [text] * len(accepted), {}) == pytest.approx(100.0)
    # The order of those who were asked does not matter.
    assert vqa_accuracy(text, accepted[::-1], {}) == pytest.approx(vqa_accuracy(text, accepted, {}))
