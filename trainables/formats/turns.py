"""Conversations: OpenAI's messages with parts of text and images, and LLaVA's and ShareGPT's turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from spaces.nearest import did_you_mean
from trainables.data.samples import IMAGE_MARK, Turn
from trainables.formats.dialogue import Dialogue, Images, check_turns
from trainables.formats.fields import Fields
from trainables.formats.row_images import listed
from trainables.formats.texts import nested, shown

_Role = Literal["system", "user", "assistant"]
_ROLES: Final[dict[str, _Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}


def read_conversation(fields: Fields, field: str) -> Dialogue:
    """Read a conversation that lies in one field.

    Raises:
        ValueError: It is none.
    """
    images = Images(listed(fields.get("images")))
    turns = read_turns(fields.get(field), fields.name(field), images)
    system = fields.get("system")
    if system is not None and (not turns or turns[0].role != "system"):
        turns.insert(0, Turn(role="system", text=_content(system, fields.name("system"), images).strip()))
    check_turns(turns)
    return Dialogue(turns=tuple(turns), images=images.in_order())


def read_turns(value: Any, what: str, images: Images) -> list[Turn]:
    """Return the turns of a list of mappings with `role` and `content`, or `from` and `value`.

    White space around a turn is dropped: with what a template writes before it, it could make one token.

    Args:
        value: What the row holds.
        what: What messages call it.
        images: Takes the images that stand in the turns.

    Raises:
        ValueError: It is no such list.
    """
    value = nested(value)
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{what} must be a list of turns, got {shown(value)}")
    turns = []
    for number, turn in enumerate(value, start=1):
        here = f"turn {number} of {what}"
        if not isinstance(turn, Mapping):
            raise ValueError(f"{here} must be a mapping, got {shown(turn)}")
        speaker, said = ("from", "value") if turn.get("from") is not None else ("role", "content")
        for key in (speaker, said):
            if turn.get(key) is None:
                raise ValueError(
                    f"{here} must have 'role' and 'content', or 'from' and 'value', got {', '.join(turn)}"
                )
        role = turn[speaker]
        if not isinstance(role, str) or role not in _ROLES:
            raise ValueError(f"{here}: unknown {speaker} {shown(role)}: {did_you_mean(str(role), _ROLES)}")
        turns.append(Turn(role=_ROLES[role], text=_content(turn[said], here, images).strip()))
    return turns


def _content(value: Any, what: str, images: Images) -> str:
    if isinstance(value, str):
        return images.marked(value)
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{what}: its content must be a text or a list of parts, got {shown(value)}")
    return "".join(_part(part, what, images) for part in value)


def _part(part: Any, what: str, images: Images) -> str:
    if isinstance(part, str):
        return images.marked(part)
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text":
        if not isinstance(part.get("text"), str):
            raise ValueError(f"{what}: a part of type text must have a text, got {shown(part.get('text'))}")
        return images.marked(part["text"])
    if kind == "image_url":
        url = part.get("image_url")
        url = url.get("url") if isinstance(url, Mapping) else url
        if url is None:
            raise ValueError(f"{what}: a part of type image_url must have an image_url with a url")
        return images.place(url)
    if kind == "image":
        own = (part.get(key) for key in ("image", "path", "url", "base64", "bytes"))
        image = next((value for value in own if value is not None), None)
        # Without one of its own it marks the place of the next image of the row.
        return images.marked(IMAGE_MARK) if image is None else images.place(image)
    raise ValueError(f"{what}: a part's type must be text, image or image_url, got {shown(kind or part)}")
