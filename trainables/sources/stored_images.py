"""Images that lie encoded inside a file of many, read when they are needed."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Place = tuple[str | int, ...]

_LEAST: Final = 256  # characters; a shorter text is cheaper to keep than to find again
# How the base64 of PNG, JPEG, WebP and GIF files begins, and of BMP and TIFF files, which say less.
_SURE: Final = ("iVBORw0KGgo", "/9j/", "UklGR", "R0lGOD")
_LIKELY: Final = ("Qk", "SUkq", "TU0AK")
_SURE_FROM: Final = 32  # characters behind it; a path of such letters alone is not to be expected
_HEAD: Final = 256  # characters of a long text that are looked at one by one
_LETTERS: Final = re.compile(r"[A-Za-z0-9+/\s]*={0,2}\s*")
_URL: Final = re.compile(r"data:image/[\w.+-]+(?:;[\w.=+-]+)*;base64,")


@dataclass(frozen=True, slots=True)
class StoredText:
    """A base64 image inside one line of a JSON Lines file.

    Attributes:
        file: Path of the file.
        offset: Byte at which the line begins.
        length: Bytes of the line.
        place: Keys and indices that lead to the text within the line's object.
    """

    file: str
    offset: int
    length: int
    place: Place

    def read(self) -> bytes:
        """Return the image file's content.

        Raises:
            OSError: The file is gone or another, or the text is not base64.
        """
        with open(self.file, "rb") as file:
            file.seek(self.offset)
            line = file.read(self.length)
        try:
            value = json.loads(line)
            for key in self.place:
                value = value[key]
            return base64_bytes(value)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise OSError(f"no base64 image at byte {self.offset} of {self.file}: {error}") from None


def is_base64_image(text: str) -> bool:
    """Tell whether a text begins as an image in base64 does and looks like base64, as far as is cheap."""
    beginning = next((each for each in (*_SURE, *_LIKELY) if text.startswith(each)), None)
    least = _SURE_FROM if beginning in _SURE else _LEAST
    return beginning is not None and len(text) >= len(beginning) + least and _is_base64(text)


def base64_bytes(text: str) -> bytes:
    """Decode a base64 text or a data URL.

    Raises:
        ValueError: It is not base64.
    """
    if text.startswith("data:"):
        header, comma, text = text.partition(",")
        if not comma or not header.endswith(";base64"):
            raise ValueError("a data URL must hold base64")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from None


def with_stored_images(value: Any, file: Path, offset: int, length: int) -> Any:
    """Return a line's value with its base64 images replaced by where they stand.

    Args:
        value: What the line holds.
        file: The line's file.
        offset: Byte at which the line begins.
        length: Bytes of the line.
    """

    def replaced(value: Any, place: Place) -> Any:
        if isinstance(value, dict):
            return {key: replaced(each, (*place, key)) for key, each in value.items()}
        if isinstance(value, list):
            return [replaced(each, (*place, index)) for index, each in enumerate(value)]
        if isinstance(value, str) and _is_image(value):
            return StoredText(str(file), offset, length, place)
        return value

    # Lines without a long text, which are the most, are not walked.
    return value if length < _LEAST else replaced(value, ())


def _is_image(text: str) -> bool:
    """Tell whether a text is an image that is long enough to be left where it is.

    Other texts may begin like one: which columns hold images is not known here.
    """
    if len(text) < _LEAST:
        return False
    url = _URL.match(text)
    return _is_base64(text[url.end() :]) if url else is_base64_image(text)


def _is_base64(text: str) -> bool:
    return " " not in text and _LETTERS.fullmatch(text[:_HEAD]) is not None
