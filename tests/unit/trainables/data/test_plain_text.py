"""What a text is without case, punctuation and surplus space, and what it must keep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.data.plain_text import plain_text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("  What is\tthis ?\n", "what is this"),
        ("“What—is this…”", "what is this"),
        ("STRASSE, Straße", "strasse strasse"),
        ("Is it 10:30, or 3.5?", "is it 10:30 or 3.5"),
        ("1,000 - 5", "1,000 - 5"),
        ("well-known - so", "well known so"),
        ("5-3 = -2", "5-3 = -2"),
        ("5 + 3 * 2 % 4 / 1", "5 + 3 * 2 % 4 / 1"),
        ("A.", "a"),
        ("?!", "?!"),
        ("", ""),
    ],
)
def test_plain_texts(text: str, plain: str) -> None:
    assert plain_text(text) == plain


@pytest.mark.parametrize(
    ("one", "other"), [("3.5", "35"), ("-5", "5"), ("5 + 7", "5 * 7"), ("[ ( ) ]", "[ ( ] )"), ("?", "!")]
)
def test_what_differs_in_meaning_stays_different(one: str, other: str) -> None:
    assert plain_text(one) != plain_text(other)


@given(text=st.text(max_size=40))
def test_a_plain_text_has_no_surplus_space(text: str) -> None:
    assert plain_text(text) == " ".join(plain_text(text).split())
