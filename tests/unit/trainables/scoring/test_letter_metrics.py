from __future__ import annotations

import string

import pytest

from trainables.scoring.letter_metrics import choice_letter, letter_in, letter_or_text


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
        # Behind it with words between; of several letters the one that is new last.
        ("So the best choice is clearly C, the wren", "C"),
        ("I choose B because of the beak", "B"),
        ("The answer is not A but B, as A is red", "B"),
        # In brackets, even before what follows at the start; then before marks, a space, anything.
        ("(A) and (B) are wrong; (C) is right", "C"),
        ("(a) and (b) are wrong; (c) is right", "C"),
        ("The bird(s) shown: B. robin", "B"),
        ("Looking at it, B. a barn owl", "B"),
        ("Based on it, the answer would be B.\nC: the owl, D) none", "B"),
        ("The bird matches C: a wren, D) none", "C"),
        ("I would choose B) barn owl, not A or so", "B"),
        ("My answer would be C - the owl", "C"),
        ("It's B, the owl", "B"),
        ("It is [D], I think", "D"),
        # Initials, compounds and the word I are no letters.
        ("It shows a T-shirt, so D seems right, I think", "D"),
        ("It shows the U.S. flag", None),
        # Nowhere.
        ("It shows (C) or (D) maybe", "D"),
        ("The bird is a robin", None),
        ("answer", None),
        ("", None),
    ],
)
def test_the_letter_that_a_text_names(text: str, letter: str | None) -> None:
    """As lmms-eval's `extract_mcq_answer` of August 2026 has it for A to D, which was run on these texts.

    It differs on nine: those with small letters, 2 and I, where it finds none, and on `Apple` and
    `Answer: b`, where it finds an A.
    """
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
