from __future__ import annotations

import string

import pytest

from trainables.letter_metrics import choice_letter, letter_in, letter_or_text


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        # At the start, with or without marks.
        *((text, "B") for text in ("B", " b\n", "(B)", "(b)", "B.", "**B**", "B. red", "b) red", "B: red")),
        ("B red", "B"),
        ("[C] since it is red", "C"),
        ("C\n\nExplanation: it isn't A", "C"),
        ("2. red", "2"),
        # An article in capitals can't be told from a letter; lmms-eval takes it for one, too.
        ("A red bird", "A"),
        ("a red bird", None),
        ("Apple", None),
        # `I` and `I'm` are no letters before a word, but an answer may be I.
        ("I think it is B", "B"),
        ("I'm sure: B", "B"),
        ("I", "I"),
        # At the end, before what announces one.
        ("The answer is B, not C", "C"),
        # After what announces it; the last one counts.
        ("The answer is B because it is red", "B"),
        ("Option D, since it is red", "D"),
        ("the correct answer is: (c).", "C"),
        ("Answer: b", "B"),
        ("If the answer is A, it's not. So the choice is C, clearly", "C"),
        # In brackets, and nowhere.
        ("It shows (C) or (D) maybe", "D"),
        ("The bird is a robin", None),
        ("answer", None),
        ("", None),
    ],
)
def test_the_letter_that_a_text_names(text: str, letter: str | None) -> None:
    assert letter_in(text) == letter


@pytest.mark.parametrize("letter", string.ascii_uppercase)
def test_every_letter_is_read(letter: str) -> None:
    for text in (letter, letter.lower(), f"({letter})", f"{letter}. it is", f"The answer is {letter}."):
        assert choice_letter(text, [letter], {}) == 100.0
        assert choice_letter(text, ["A" if letter != "A" else "B"], {}) == 0.0


@pytest.mark.parametrize(
    ("text", "answer", "points"),
    [
        ("(B) the left one", "B", 100.0),
        ("the left one", "B", 0.0),
        # Else the same text, but for case and the full stop at its end.
        ("Yes.", "yes", 100.0),
        ("3.5", "3.5", 100.0),
        ("Stop sign", "stop sign.", 100.0),
        ("3", "3", 100.0),
        ("three", "3", 0.0),
        ("stop-sign", "stop sign", 0.0),
        ("a stop sign", "stop sign", 0.0),
        ("three signs", "3", 0.0),
    ],
)
def test_letter_or_text(text: str, answer: str, points: float) -> None:
    assert letter_or_text(text, [answer], {}) == points
