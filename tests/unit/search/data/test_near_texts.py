"""Nearly the same texts: what counts as such, and how they are found among many."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.data.near_texts import CORE, LONG, alike, candidates, cores, within, words_of

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def story(seed: int, length: int) -> list[str]:
    """Words of a story that has no word sequence in common with another."""
    draw = random.Random(seed)
    return ["".join(draw.choices(LETTERS, k=5)) for _ in range(length)]


TEXT = story(0, 200)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (TEXT, True),
        ([*TEXT[:30], "other", *TEXT[31:]], True),
        ([*TEXT[:30], "another", "one", *TEXT[32:]], True),
        ([*TEXT[:10], *TEXT[11:]], True),
        # Of 200 words 2 are one in 100; 3 are more, and of the 199 that are left so are 2.
        (["x", *TEXT[1:100], "y", *TEXT[101:]], True),
        (["x", *TEXT[1:100], "y", *TEXT[101:150], "z", *TEXT[151:]], False),
        (["x", *TEXT[1:100], "y", *TEXT[102:]], False),
        # Another number in the same template.
        ([*TEXT[:30], "12", *TEXT[31:]], False),
        (TEXT[:190], False),
        (story(1, 200), False),
    ],
)
def test_long_texts(other: list[str], same: bool) -> None:
    assert alike(TEXT, other) == alike(other, TEXT) == same


def test_another_question_about_the_same_text_is_another() -> None:
    """Three words in a row, of as many as may differ."""
    text = story(0, 400)
    assert alike(text, [*text[:390], "who", *text[391:395], "was", "it", *text[397:]])
    assert not alike(text, [*text[:390], "who", "was", "it", *text[393:]])


def test_words_that_are_the_same_in_another_order_are_another_text() -> None:
    swapped = [*TEXT[:10], *TEXT[40:50], *TEXT[20:40], *TEXT[10:20], *TEXT[50:]]
    assert sorted(swapped) == sorted(TEXT)
    assert not alike(TEXT, swapped)


def test_numbers_that_changed_places_make_another_text() -> None:
    one, other = ([*TEXT[:10], a, *TEXT[11:40], b, *TEXT[41:]] for a, b in ("57", "75"))
    assert not alike(one, other)


@pytest.mark.parametrize("length", [5, 20, 99])
def test_short_texts_differ_by_any_word(length: int) -> None:
    assert not alike(story(0, length), ["other", *story(0, length)[1:]])


def test_a_text_within_another_ends_at_its_words() -> None:
    assert within(["is", "it", "red"], ["so", "is", "it", "red", "now"], 3)
    assert not within(["is", "it", "red"], ["so", "is", "it", "reddish", "now"], 3)
    assert not within(["it", "red"], ["it", "red"], 3)


def test_each_character_counts_where_words_are_not_apart() -> None:
    assert words_of("图中有几只猫 cats 2") == [*"图中有几只猫", "cats", "2"]


def test_what_all_texts_of_a_split_begin_and_end_with_is_its_template() -> None:
    texts = [["so", "tell", *story(seed, CORE + seed), "in", "short"] for seed in range(3)]
    assert cores(texts) == [story(seed, CORE + seed) for seed in range(3)]
    # One that says nothing but the template, or next to nothing, has no core, and takes none from the others.
    assert cores([*texts, ["so", "tell", "me", "in", "short"]]) == [*cores(texts), None]
    assert cores([texts[0]]) == cores([texts[0], texts[0]])[:1] == [texts[0]]
    assert cores([story(1, CORE), story(2, CORE - 1)]) == [story(1, CORE), None]
    assert cores([]) == []


def test_a_changed_text_is_found_among_others_of_its_template() -> None:
    """A preamble that more than ten texts share is a template's, and finds nothing."""
    preamble = story(99, 40)
    others = [[*preamble, *story(seed, 30)] for seed in range(200)]
    ones = [[*preamble, *story(seed, 30)] for seed in range(1000, 1200)]
    ones[7] = [*others[150][:50], "changed", *others[150][51:]]
    ones[8] = ["another", "preamble", *others[20][40:]]
    assert list(candidates(ones, others)) == [(7, 150), (8, 20)]


@given(
    length=st.integers(LONG, 500),
    changed=st.sets(st.integers(0, 499), max_size=6),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_what_counts_as_nearly_the_same_is_found(length: int, changed: set[int], seed: int) -> None:
    text = story(seed, length)
    other = ["changed" if place in changed else word for place, word in enumerate(text)]
    ones = [*(story(seed + 1 + number, LONG) for number in range(3)), other]
    if alike(text, other):
        assert (3, 1) in set(candidates(ones, [story(seed + 9, length), text]))


def test_texts_are_found_behind_thousands() -> None:
    many = [story(seed, 10) for seed in range(4200)]
    assert list(candidates([["x"], *many], [["y"], many[4199], many[3]])) == [(4, 2), (4200, 1)]
    assert list(candidates([["y"], many[4199], many[3]], [["x"], *many])) == [(1, 4200), (2, 4)]


@pytest.mark.parametrize(("ones", "others"), [([], []), ([TEXT], []), ([], [TEXT]), ([["a"]], [["a"]])])
def test_nothing_is_found_where_nothing_is_long(ones: list[list[str]], others: list[list[str]]) -> None:
    assert list(candidates(ones, others)) == []
