"""Multiple choice: options in a list, a mapping or columns; the answer as index, letter or text."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from trainables.data.samples import Turn
from trainables.formats.dialogue import Dialogue, Images, check_turns
from trainables.formats.fields import Fields
from trainables.formats.row_images import listed
from trainables.formats.template import fill
from trainables.formats.texts import as_text, filled_text, nested, shown

Written = Literal["letter", "text"]

# How LLaVA 1.5 (arXiv 2310.03744) asks for a letter.
_BY_LETTER: Final = "{question}\n{choices}\nAnswer with the option's letter from the given choices directly."
_BY_TEXT: Final = "{question}\n{choices}\nAnswer with the text of the right option."
ANSWERS: Final = ("answer_index", "answer_letter", "answer_text", "answer")
"""Fields that may hold the answer; the last one's meaning is found by what it says."""


@dataclass(frozen=True, slots=True)
class Option:
    """One choice.

    Attributes:
        letter: What it is called.
        text: What it says; None where the row leaves it out.
    """

    letter: str
    text: str | None


def read_choice(fields: Fields, template: str | None, written: Written | None) -> Dialogue:
    """Read a question with choices.

    Args:
        fields: The row.
        template: The prompt's, which may name `{choices}`: the lettered options, one a line.
        written: How the answer is written; None is by its letter.

    Raises:
        ValueError: A part is missing or empty, or the answer is none of the choices or may be several.
    """
    images = Images(listed(fields.get("images")))
    question = filled_text(fields.get("question"), fields.name("question"))
    if fields.given("choices"):
        options = options_of(fields.get("choices"), fields.name("choices"))
    else:
        options = options_of(lettered_columns(fields.values), "'A', 'B' and so on")
    field = fields.first(*ANSWERS)
    right = right_option(fields.get(field), field, fields.name(field), options)
    there = [option for option in options if option.text is not None]
    own = {
        "question": question,
        "choices": "\n".join(f"{option.letter}. {option.text}" for option in there),
    }
    text = fill(template or (_BY_TEXT if written == "text" else _BY_LETTER), own, fields.values)
    names = [str(option.text) if written == "text" else option.letter for option in there]
    if len(set(names)) < len(names):
        raise ValueError(f"two of the choices are the same: {shown(names)}")
    turns = [
        Turn(role="user", text=images.marked(text)),
        Turn(role="assistant", text=names[there.index(right)]),
    ]
    check_turns(turns)
    return Dialogue(turns=tuple(turns), images=images.in_order(), choices=tuple(names))


def lettered_columns(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a row's columns `A`, `B` and so on, if it has two or more."""
    letters = [letter for letter in string.ascii_uppercase if letter in values]
    if letters[:2] != ["A", "B"] or values["A"] is None:
        return None
    return {letter: values[letter] for letter in letters}


def options_of(value: Any, what: str) -> list[Option]:
    """Return the choices of a list, of a mapping from letters, or of one with lists `label` and `text`.

    Raises:
        ValueError: It is nothing of that, or there are fewer than two.
    """
    value = nested(value)
    if isinstance(value, Mapping) and {"text", "label"} <= set(value):
        labels, texts = value["label"], value["text"]
        if not isinstance(labels, list) or not isinstance(texts, list) or len(labels) != len(texts):
            raise ValueError(f"{what} must have as many labels as texts, got {shown(value)}")
        pairs = list(zip(labels, texts, strict=True))
    elif isinstance(value, Mapping):
        pairs = list(value.items())
    elif isinstance(value, (list, tuple)):
        if len(value) > len(string.ascii_uppercase):
            raise ValueError(f"{what} has {len(value)} choices; there are letters for 26")
        pairs = list(zip(string.ascii_uppercase, value, strict=False))
    else:
        raise ValueError(f"{what} must be a list of choices or a mapping from letters, got {shown(value)}")
    options = [
        Option(str(letter), None if text is None else filled_text(text, f"choice {letter} of {what}"))
        for letter, text in pairs
    ]
    if sum(option.text is not None for option in options) < 2:
        raise ValueError(f"{what} must be at least two choices, got {shown(value)}")
    return options


def right_option(value: Any, field: str, what: str, options: Sequence[Option]) -> Option:
    """Return the choice that an answer means.

    Args:
        value: The answer.
        field: One of `ANSWERS`.
        what: What messages call it.
        options: The choices.

    Raises:
        ValueError: It means none of them, or may mean several.
    """
    text = filled_text(value, what)
    found = {
        "answer_text": _by_text(text, options),
        "answer_letter": _by_letter(text, options),
        "answer_index": _by_index(text, options),
    }
    if field in found:
        found = {field: found[field]}
    elif not isinstance(value, str):
        found = {"answer_index": found["answer_index"]}
    meant = {place for places in found.values() for place in places if options[place].text is not None}
    if len(meant) == 1:
        return options[meant.pop()]
    letters = ", ".join(option.letter for option in options if option.text is not None)
    if not meant:
        raise ValueError(
            f"{what} is {shown(value)}, which is no choice: neither the text of one, nor one of {letters}, "
            "nor an index from 0"
        )
    may = " or ".join(options[place].letter for place in sorted(meant))
    raise ValueError(
        f"{what} is {shown(value)}, which may mean the choice {may}: give its column under columns as "
        f"{', '.join(sorted(set(ANSWERS) - {'answer'}))}"
    )


def _by_text(text: str, options: Sequence[Option]) -> list[int]:
    exact = [place for place, option in enumerate(options) if option.text == text]
    if exact:
        return exact
    bare = text.strip().casefold()
    return [p for p, option in enumerate(options) if option.text and option.text.strip().casefold() == bare]


def _by_letter(text: str, options: Sequence[Option]) -> list[int]:
    bare = text.strip().strip("().").casefold()
    return [place for place, option in enumerate(options) if option.letter.casefold() == bare]


def _by_index(text: str, options: Sequence[Option]) -> list[int]:
    bare = as_text(text, "index").strip()
    return [int(bare)] if bare.isdecimal() and int(bare) < len(options) else []
