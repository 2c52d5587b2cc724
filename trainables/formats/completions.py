"""Prompt and completion, Alpaca's instruction, input and output among them."""

from __future__ import annotations

from trainables.data.samples import Turn
from trainables.formats.dialogue import Dialogue, Images, check_turns
from trainables.formats.fields import Fields
from trainables.formats.row_images import listed
from trainables.formats.template import fill
from trainables.formats.texts import filled_text
from trainables.formats.turns import read_turns


def read_completion(fields: Fields, template: str | None) -> Dialogue:
    """Read a prompt and its completion, each a text or a list of turns.

    Raises:
        ValueError: One is missing or empty.
    """
    images = Images(listed(fields.get("images")))
    prompt, completion = fields.get("prompt"), fields.get("completion")
    if isinstance(prompt, list):
        if template is not None:
            raise ValueError("prompt: the row's prompt is a conversation, which says itself what is asked")
        turns = read_turns(prompt, fields.name("prompt"), images)
        if isinstance(completion, str):
            completion = [{"role": "assistant", "content": completion}]
        turns += read_turns(completion, fields.name("completion"), images)
        check_turns(turns)
        return Dialogue(turns=tuple(turns), images=images.in_order())
    text = filled_text(prompt, fields.name("prompt"))
    further = fields.get("input")
    if further is not None and fields.name("prompt") != fields.name("input"):
        # Alpaca's: what the instruction is about, often empty.
        about = filled_text(further, fields.name("input")) if str(further).strip() else ""
        text = f"{text}\n{about}" if about else text
    if template is not None:
        text = fill(template, {"prompt": text}, fields.values)
    answer = filled_text(completion, fields.name("completion"))
    turns = [Turn(role="user", text=images.marked(text)), Turn(role="assistant", text=answer)]
    check_turns(turns)
    return Dialogue(turns=tuple(turns), images=images.in_order())
