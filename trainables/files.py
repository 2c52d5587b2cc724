"""Files that a reader sees whole or not at all, also after a crash."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from spaces.nearest import did_you_mean


def near_path(path: Path) -> str:
    """Return `; did you mean 'train.jsonl'?` where a path leads nowhere, but one beside it is near."""
    if not path.parent.is_dir():
        return ""
    near = did_you_mean(path.name, [each.name for each in path.parent.iterdir()])
    return f"; {near}" if near.startswith("did") else ""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing, also after a crash."""
    with written_atomically(path) as stream:
        stream.write(content)


@contextmanager
def written_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write that takes its place when all is written; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
