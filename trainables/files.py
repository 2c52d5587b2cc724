"""Files that a reader sees whole or not at all, also after a crash."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from spaces.nearest import did_you_mean
from trainables.sources.row_check import check_value

_DAMAGED: Final = "this file of the study is damaged"
_LONGEST: Final = 300  # characters of a reason
_SYNCED_AT_A_TIME: Final = 1 << 30  # bytes


def near_path(path: Path) -> str:
    """Return `; did you mean 'train.jsonl'?` where a path leads nowhere, but one beside it is near."""
    if not path.parent.is_dir():
        return ""
    near = did_you_mean(path.name, [each.name for each in path.parent.iterdir()])
    return f"; {near}" if near.startswith("did") else ""


class DamagedFile(ValueError):
    """A file that a program wrote holds something else now; the message names it, on one line."""


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Turn what goes wrong while a file's content is made sense of into one line that names the file.

    Raises:
        DamagedFile: In place of what was raised, but for errors of the file system, which name it themselves.
    """
    try:
        yield
    except DamagedFile:
        raise
    except KeyError as error:
        raise DamagedFile(f"{file}: {_DAMAGED}: it lacks {error}") from None
    except (ValueError, TypeError, AttributeError, IndexError, RecursionError) as error:
        text = " ".join(str(error).removeprefix(f"{file}: ").split())
        raise DamagedFile(f"{file}: {_DAMAGED}: {text[:_LONGEST] or type(error).__name__}") from None


def read_object(file: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        OSError: It can't be read, or is no regular file: reading a pipe would wait for ever.
        DamagedFile: It holds something else.
    """
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "no regular file", str(file))
    with naming(file):
        try:
            found = json.loads(file.read_bytes().decode(), parse_constant=_no_number)
        except UnicodeDecodeError as error:
            raise ValueError(f"not UTF-8 text: {error.reason} at byte {error.start}") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON: {error}") from None
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(file)) from None
        if not isinstance(found, dict):
            raise ValueError(f"expected an object with named values, got {type(found).__name__}")
        check_value(found)
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing, also after a crash."""
    with written_atomically(path) as stream:
        stream.write(content)


@contextmanager
def written_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write that takes its place when all is written; its folder is made.

    The content is on the disk before the name is, and the name when this returns. What a process that is
    killed meanwhile leaves begins with a dot and ends with `.tmp`, as no file that is read does, and is for
    `drop_temporaries`.
    """
    _make_folder(path.parent)
    # On storage that machines share, another process of this number may write the same file.
    writer = f"{socket.gethostname()}.{os.getpid()}.{threading.get_native_id()}"
    temporary = path.with_name(f".{path.name}.{writer}.tmp")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def drop_temporaries(folder: Path, *, but: Path | None = None) -> None:
    """Delete what processes that were killed while they wrote have left in a folder and those below it.

    Args:
        folder: The folder, into which nobody writes now.
        but: One below it that is left as it is.
    """
    for place, folders, names in os.walk(folder):
        if but is not None and Path(place) == but.parent and but.name in folders:
            folders.remove(but.name)
        for name in names:
            if name.startswith(".") and name.endswith(".tmp"):
                Path(place, name).unlink(missing_ok=True)


def copy_atomically(source: Path, target: Path) -> Path:
    """Copy a file so that a reader sees all of it or nothing, also after a crash; return the copy."""
    with source.open("rb") as content, written_atomically(target) as stream:
        shutil.copyfileobj(content, stream)
    return target


def syncing(stream: BinaryIO, beat: Callable[[], None], every: int = _SYNCED_AT_A_TIME) -> Callable[[], None]:
    """Return what to call while a large file is written: it brings what was written so far to the disk.

    Left to the end, that takes minutes on a slow disk, in one call that gives no sign of progress.

    Args:
        stream: The file.
        beat: Called each time, before and after what takes long.
        every: Bytes that are brought to the disk at a time.
    """
    synced = 0

    def on() -> None:
        nonlocal synced
        beat()
        if stream.tell() - synced >= every:
            stream.flush()
            os.fsync(stream.fileno())
            synced = stream.tell()
            beat()

    return on


def sync_tree(folder: Path) -> None:
    """Bring to the disk what others have written into a folder that is about to take its place."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        elif path.is_dir():
            sync_folder(path)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, where its file system can."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        # Some network file systems have no such call.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(opened)


def _make_folder(folder: Path) -> None:
    """Make a folder with those that it lies in, all of whose names are on the disk then."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing):
        sync_folder(each.parent)
