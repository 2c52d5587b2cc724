"""The lock of a study's folder: one driver at a time."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from search.settings.user_input import InputError


@contextmanager
def only_driver(folder: Path) -> Iterator[None]:
    """Hold a study's folder for as long as the context is open; a killed driver's hold ends with it.

    The lock lies beside the folder, which may be replaced while it is held. Where no folder was made, nothing
    is left.

    Args:
        folder: The study's folder.

    Raises:
        InputError: Another driver holds it.
    """
    missing = [each for each in folder.parents if not each.exists()]
    lock = folder.with_name(f".{folder.name}.lock")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # What a link names is not ours to empty, and a pipe would be waited for.
        opened = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        raise InputError(f"output: {folder} can't be made: {error.strerror}: {error.filename}") from None
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise InputError(f"output: {lock} is no file that can be locked")
    with os.fdopen(opened, "r+") as file:
        _take(file, folder)
        try:
            yield
        finally:
            if not folder.exists():
                lock.unlink(missing_ok=True)
                with suppress(OSError):  # another study's folder lies there by now
                    for each in missing:
                        each.rmdir()


def _take(file: TextIO, folder: Path) -> None:
    """Lock a study's lock file, and write into it who did."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        raise InputError(f"{folder}: the study is being run by {holder}") from None
    except OSError as error:
        raise InputError(f"output: {folder.parent} can't hold a lock: {error.strerror}") from None
    if os.fstat(file.fileno()).st_nlink == 0:
        raise InputError(f"{folder}: another driver of the study ended just now: start again")
    file.seek(0)
    file.truncate()
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
