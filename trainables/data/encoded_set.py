"""EncodedSet: samples that were encoded once and lie on storage, read by index without copying.

A set is a folder of Arrow files, its *parts*, and a `set.json` that lists them; the latter is written last. A
part is mapped into memory, so a sample's tensors are views of the file: what nobody looks at is not read, and
all workers of a node share the pages that the system keeps of it.

A row holds a sample's tensors one behind the other, each at a multiple of 8 bytes, and a header that tells
their types and shapes. Samples about the same image refer to the row that holds its tensors.
"""

from __future__ import annotations

import bisect
import json
import math
import mmap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from trainables.collate import EncodedSample
from trainables.files import write_atomically

INDEX: Final = "set.json"
ALIGNMENT: Final = 8  # bytes; Arrow's own, and that of the widest type


class EncodedSetError(ValueError):
    """A set of encoded samples is missing or damaged; the message names the file."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a set.

    Attributes:
        file: Its name in the set's folder.
        rows: Samples in it.
        size: Bytes.
    """

    file: str
    rows: int
    size: int


@dataclass(frozen=True, slots=True)
class SetIndex:
    """What is known of a set besides its samples.

    Attributes:
        parts: Its files, in the order of the samples.
        bad: Samples that could not be encoded, which no part holds: index in the split, and why.
        streamed: Whether the float inputs of images were left out, of which the parts know the shapes alone.
    """

    parts: tuple[Part, ...]
    bad: tuple[tuple[int, str], ...] = ()
    streamed: bool = False

    @property
    def rows(self) -> int:
        """Samples in all parts."""
        return sum(part.rows for part in self.parts)

    def write(self, folder: Path) -> None:
        """Write the index, which makes the set whole."""
        write_atomically(folder / INDEX, json.dumps(asdict(self)).encode())

    @classmethod
    def read(cls, folder: Path) -> SetIndex:
        """Read the index of a whole set.

        Raises:
            EncodedSetError: There is none, or a part is not of the size that it was written with.
        """
        try:
            fields = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            parts = tuple(Part(**part) for part in fields["parts"])
            bad = tuple((int(index), str(reason)) for index, reason in fields["bad"])
            sizes = {part.file: (folder / part.file).stat().st_size for part in parts}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EncodedSetError(f"{folder}: no whole set of encoded samples: {error}") from None
        for part in parts:
            if sizes[part.file] != part.size:
                raise EncodedSetError(
                    f"{folder / part.file}: {sizes[part.file]} bytes, but {part.size} were written"
                )
        return cls(parts, bad, bool(fields["streamed"]))


class _Mapped:
    """A part in memory.

    Args:
        path: The file.

    Raises:
        EncodedSetError: It is no Arrow file.
    """

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as stream:
                # Copied on write, so that torch takes it for memory of its own; nobody writes to it.
                self.memory = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
            whole = pa.py_buffer(self.memory)
            reader = pa.ipc.open_file(pa.BufferReader(whole))
            batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        except (OSError, ValueError, pa.ArrowInvalid) as error:
            raise EncodedSetError(f"{path}: not readable: {error}") from None
        self._keeps = batches  # what the columns below are views of
        self.first = [0, *accumulate(batch.num_rows for batch in batches)]
        self._headers = [batch.column("header") for batch in batches]
        self._starts = [_starts(batch.column("content"), whole.address) for batch in batches]

    def header(self, row: int) -> dict[str, Any]:
        batch = bisect.bisect_right(self.first, row) - 1
        header: dict[str, Any] = json.loads(self._headers[batch][row - self.first[batch]].as_py())
        return header

    def start(self, row: int) -> int:
        """Return where the row's tensors start, in bytes from the start of the file."""
        batch = bisect.bisect_right(self.first, row) - 1
        return int(self._starts[batch][row - self.first[batch]])


class EncodedSet(Sequence[EncodedSample]):
    """Encoded samples on storage.

    Args:
        parts: Mapped files.
        rows: Which of their samples, counted through all parts, and in what order.
    """

    def __init__(self, parts: Sequence[_Mapped], rows: range) -> None:
        self._parts = parts
        self._first = [0, *accumulate(part.first[-1] for part in parts)]
        self._rows = rows

    @classmethod
    def open(cls, folder: Path) -> EncodedSet:
        """Map a set into memory.

        Raises:
            EncodedSetError: It is not there, not whole, or damaged.
        """
        index = SetIndex.read(folder)
        return cls([_Mapped(folder / part.file) for part in index.parts], range(index.rows))

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> EncodedSample: ...
    @overload
    def __getitem__(self, index: slice) -> EncodedSet: ...
    def __getitem__(self, index: int | slice) -> EncodedSample | EncodedSet:
        """Return a sample, or the set of a slice's samples; neither reads any tensor."""
        if isinstance(index, slice):
            return EncodedSet(self._parts, self._rows[index])
        row = self._rows[index]
        number = bisect.bisect_right(self._first, row) - 1
        return _sample(self._parts[number], row - self._first[number])


def _sample(part: _Mapped, row: int) -> EncodedSample:
    header = part.header(row)
    tokens, end = _tensors(part, header["tokens"], part.start(row))
    choices, end = _tensors(part, header["choices"], end)
    extras = header["extras"]
    if (same := header["same_extras"]) is None:
        images, _ = _tensors(part, extras, end)
    else:
        other = part.header(same)
        end = part.start(same) + sum(_room(each) for kind in ("tokens", "choices") for each in other[kind])
        images, _ = _tensors(part, extras, end)
    return EncodedSample(
        tokens,
        images,
        header["prompt_length"],
        tuple((start, stop) for start, stop in header["earlier"]),
        tuple(choices.values()),
    )


def _tensors(part: _Mapped, described: Sequence[Sequence[Any]], start: int) -> tuple[dict[str, Tensor], int]:
    """Return the tensors that lie one behind the other, and where the last one ends."""
    found = {}
    for each in described:
        name, kind, shape, stored = each
        dtype = getattr(torch, kind)
        if not stored:
            found[name] = torch.empty(shape, dtype=dtype, device="meta")
        elif count := math.prod(shape):
            found[name] = torch.frombuffer(part.memory, dtype=dtype, count=count, offset=start).view(shape)
        else:
            found[name] = torch.empty(shape, dtype=dtype)
        start += _room(each)
    return found, start


def _room(described: Sequence[Any]) -> int:
    """Return the bytes that a described tensor takes, with what fills them up to the next one."""
    _, kind, shape, stored = described
    size = math.prod(shape) * getattr(torch, kind).itemsize if stored else 0
    return -(-size // ALIGNMENT) * ALIGNMENT


def _starts(column: Any, address: int) -> npt.NDArray[np.int64]:
    """Return where each row of a `large_binary` column lies, in bytes from an address."""
    _, offsets, content = column.buffers()
    starts = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column)]
    return starts + (content.address - address)
