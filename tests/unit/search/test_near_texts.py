"""Nearly the same texts: what counts as such, and how they are found among many."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.near_texts import GRAM, alike, candidates, within, words_of

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def story(seed: int, length: int) -> list[str]:
    """Words of a story that has no word sequence in common with another."""
    draw = random.Random(seed)
    return ["".join(draw.choices(LETTERS, k=5)) for _ in range(length)]


LONG = story(0, 60)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (LONG, True),
        ([*LONG[:30], "other", *LONG[31:]], True),
        ([*LONG[:10], *LONG[11:]], True),
        ([*LONG[:10], "one", "more", *LONG[10:]], True),
        # 3 of 60 words are one in 20; 4 are more.
        (["x", *LONG[1:20], "y", *LONG[21:40], "z", *LONG[41:]], True),
        (["x", *LONG[1:20], "y", *LONG[21:40], "z", *LONG[41:50], "u", *LONG[51:]], False),
        # Another question about the same text: three words in a row.
        ([*LONG[:57], "who", "was", "it"], False),
        # Another number in the same template.
        ([*LONG[:30], "12", *LONG[31:]], False),
        # A template around the text, or a part of it.
        (["question", *LONG, "short", "answer"], True),
        (LONG[:GRAM], True),
        (LONG[: GRAM - 1], False),
        (story(1, 60), False),
    ],
)
def test_long_texts(other: list[str], same: bool) -> None:
    assert alike(LONG, other) == alike(other, LONG) == same


def test_words_that_are_the_same_in_another_order_are_another_text() -> None:
    swapped = [*LONG[:10], *LONG[40:50], *LONG[20:40], *LONG[10:20], *LONG[50:]]
    assert sorted(swapped) == sorted(LONG)
    assert not alike(LONG, swapped)


def test_numbers_that_changed_places_make_another_text() -> None:
    one, other = ([*LONG[:10], a, *LONG[11:40], b, *LONG[41:]] for a, b in ("57", "75"))
    assert not alike(one, other)


def test_short_texts_differ_by_any_word() -> None:
    assert not alike("what is 5 plus 7".split(), "what is 5 plus 8".split())
    assert not alike("is there a red circle".split(), "is there a blue circle".split())


def test_a_text_within_another_ends_at_its_words() -> None:
    assert within(["is", "it", "red"], ["so", "is", "it", "red", "now"], 3)
    assert not within(["is", "it", "red"], ["so", "is", "it", "reddish", "now"], 3)
    assert not within(["it", "red"], ["it", "red"], 3)


def test_each_character_counts_where_words_are_not_apart() -> None:
    assert words_of("图中有几只猫 cats 2") == [*"图中有几只猫", "cats", "2"]


def test_a_changed_text_is_found_among_others_of_its_template() -> None:
    """A preamble that more than ten texts share is a template's, and finds nothing."""
    preamble = story(99, 40)
    others = [[*preamble, *story(seed, 30)] for seed in range(200)]
    ones = [[*preamble, *story(seed, 30)] for seed in range(1000, 1200)]
    ones[7] = [*others[150][:50], "changed", *others[150][51:]]
    ones[8] = ["another", "template", *others[20][40:]]
    assert list(candidates(ones, others)) == [(7, 150), (8, 20)]


@given(
    length=st.integers(GRAM, 80),
    changed=st.sets(st.integers(0, 79), max_size=4),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_what_counts_as_nearly_the_same_is_found(length: int, changed: set[int], seed: int) -> None:
    text = story(seed, length)
    other = ["changed" if place in changed else word for place, word in enumerate(text)]
    ones = [story(seed + 1 + number, GRAM) for number in range(3)] + [other]
    if alike(text, other):
        assert (3, 1) in set(candidates(ones, [story(seed + 9, length), text]))


def test_texts_are_found_behind_thousands() -> None:
    many = [story(seed, 10) for seed in range(4200)]
    assert list(candidates([["x"], *many], [["y"], many[4199], many[3]])) == [(4, 2), (4200, 1)]
    assert list(candidates([["y"], many[4199], many[3]], [["x"], *many])) == [(1, 4200), (2, 4)]


@pytest.mark.parametrize(("ones", "others"), [([], []), ([LONG], []), ([], [LONG]), ([["a"]], [["a"]])])
def test_nothing_is_found_where_nothing_is_long(ones: list[list[str]], others: list[list[str]]) -> None:
    assert list(candidates(ones, others)) == []
