"""What a remote error says, in a line that a person can read."""

from __future__ import annotations

import errno
from typing import Final

LONGEST: Final = 400  # characters
_GUESSES: Final = " Some common causes include: "
# What is wrong with a path that somebody gave, wherever it is looked for.
_OF_PATHS: Final = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.EINVAL,
    }
)


class GroupFailed(RuntimeError):
    """A worker group can serve no more jobs; another one may."""


class GroupHopeless(GroupFailed):
    """A worker group can't serve the study, and no other one could."""


def is_of_the_machine(error: BaseException | None) -> bool:
    """Return whether an error comes from the machine that it was met on: its disks, its mounts, its network.

    What it was raised from counts: a sample that can't be read for such a reason says only that it can't be.
    A library's OSError without a number tells of a file's content.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None and error.errno not in _OF_PATHS:
            return True
        error = error.__cause__ or error.__context__
    return False


def cause_of(error: BaseException) -> str:
    """Return the last line of a remote error, which names its cause, cut where it goes on for pages.

    Ray tells the memory of every process on the node when it ends one for want of memory.
    """
    return in_short((str(error).strip() or type(error).__name__).splitlines()[-1])


def in_short(line: str) -> str:
    """Return a line without Ray's guesses at why a process died, and of bounded length."""
    line = line.partition(_GUESSES)[0]
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}... (Ray's logs have the rest)"
