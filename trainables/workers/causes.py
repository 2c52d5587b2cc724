"""What a remote error says, in a line that a person can read."""

from __future__ import annotations

from typing import Final

LONGEST: Final = 400  # characters


def cause_of(error: BaseException) -> str:
    """Return the last line of a remote error, which names its cause, cut where it goes on for pages.

    Ray tells the memory of every process on the node when it ends one for want of memory.
    """
    line = (str(error).strip() or type(error).__name__).splitlines()[-1]
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}... (Ray's logs have the rest)"
