"""Questions with one reference answer or several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from trainables.data.samples import Turn
from trainables.formats.dialogue import Dialogue, Images, check_turns
from trainables.formats.fields import Fields
from trainables.formats.row_images import listed
from trainables.formats.template import fill
from trainables.formats.texts import as_text, filled_text, nested, shown


def read_question(fields: Fields, template: str | None) -> Dialogue:
    """Read a question; the most frequent reference, the first of equals, is the answer that is taught.

    Raises:
        ValueError: The question is missing or empty, or there is no answer.
    """
    images = Images(listed(fields.get("images")))
    question = filled_text(fields.get("question"), fields.name("question"))
    field = fields.first("answers", "answer")
    value = fields.get(field)
    # A single answer may be a text that looks like a list.
    references = references_of(nested(value) if field == "answers" else value, fields.name(field))
    # Who was asked and left the field blank gave no answer: a blank one would be found in any text.
    references = [reference for reference in references if reference.strip()]
    if field == "answers" and not fields.named(field):
        _check_other(fields.get("answer"), references)
    counts = Counter(references)
    if not counts:
        raise ValueError(f"{fields.name(field)} is empty")
    text = question if template is None else fill(template, {"question": question}, fields.values)
    turns = [
        Turn(role="user", text=images.marked(text)),
        Turn(role="assistant", text=max(counts, key=counts.__getitem__)),
    ]
    check_turns(turns)
    return Dialogue(
        turns=tuple(turns),
        images=images.in_order(),
        references=tuple(references) if len(references) > 1 else (),
    )


def _check_other(answer: Any, references: Sequence[str]) -> None:
    """Refuse a single answer that is none of the references beside it."""
    if isinstance(answer, str) and answer.strip() not in ("", *map(str.strip, references)):
        raise ValueError(
            f"'answers' and 'answer' both hold the answer, and {shown(answer)} is none of the former; say "
            "under columns which one is meant: columns.answers or columns.answer"
        )


def references_of(value: Any, what: str) -> list[str]:
    """Return reference answers, in order and with repetitions.

    Args:
        value: A text, a list of texts, a list of mappings with `answer` or `text`, or one such mapping.
        what: What messages call it.

    Raises:
        ValueError: It is nothing of that.
    """
    if value is None:
        return []
    if isinstance(value, Mapping):
        for key in ("text", "answer", "answers"):
            if value.get(key) is not None:
                return references_of(value[key], what)
        raise ValueError(
            f"{what} must have 'text' or 'answer', got {', '.join(map(str, value)) or 'nothing'}"
        )
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in _items(item, what)]
    return [as_text(value, what)]


def _items(value: Any, what: str) -> list[str]:
    if isinstance(value, (list, tuple)):
        raise ValueError(f"an answer in {what} must be a text, got {shown(value)}")
    # A text within a list is no list, however it is written.
    return [value] if isinstance(value, str) else references_of(value, what)
