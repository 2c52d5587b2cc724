"""What may reach a terminal: one line of text, with nothing in it that the terminal would obey.

Names and values come from files that others wrote; raw, an escape sequence in them could hide the rest of a
message, or set the title of the window.
"""

from __future__ import annotations

import re
from typing import Final

from spaces.own_roles import FORM_START

# All that is no text: of ASCII and Latin-1, marks that turn the direction of writing, and half characters.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LONGEST: Final = 1000  # characters of a message; what is longer quotes a value whole
_HEAD: Final = 700


def error_text(error: Exception) -> str:
    """Return what is said of a wrong input: one line, and a form to fill in where the message has one."""
    line, form, rest = str(error).partition(f"\n{FORM_START}")
    return one_line(line) + printable(form + rest)


def one_line(text: object) -> str:
    """Return a message as one line, its control characters as Python writes them; cut if very long."""
    line = printable(" ".join(str(text).split()))
    if len(line) <= _LONGEST:
        return line
    return f"{line[:_HEAD]} [...] {line[len(line) - (_LONGEST - _HEAD) :]}"


def printable(text: str) -> str:
    """Return a text with its control characters, other than line ends and tabs, as Python writes them."""
    return _CONTROL.sub(lambda found: found[0] if found[0] in "\n\t" else ascii(found[0])[1:-1], text)


def is_plain(text: str) -> bool:
    """Tell whether a text is one line without control characters."""
    return _CONTROL.search(text) is None
