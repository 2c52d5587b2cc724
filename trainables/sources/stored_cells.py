"""Images in the cells of Parquet and Arrow files, read when they are needed."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

_PARQUET_MAGIC: Final = b"PAR1"
_ARROW_MAGIC: Final = b"ARROW1"


@dataclass(frozen=True, slots=True)
class StoredCell:
    """An image in a cell of a Parquet or Arrow file.

    A column chunk of a Parquet file is read whole for it, and kept for the cells that are read next.

    Attributes:
        file: Path of the file.
        row: Its row in the file, from 0.
        column: Its column.
        item: Its index in a cell that holds a list; None where the cell is the image.
    """

    file: str
    row: int
    column: str
    item: int | None = None

    def read(self) -> bytes:
        """Return the image file's content.

        Raises:
            OSError: The file is gone, damaged or another.
        """
        try:
            value = _cell(self.file, self.row, self.column)
            value = value if self.item is None else value[self.item]
            content = value["bytes"] if isinstance(value, dict) else value
        except (pa.ArrowException, OSError, LookupError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise OSError(f"no image in row {self.row + 1} of {self.file}: {reason}") from None
        if not isinstance(content, bytes):
            raise OSError(f"no image in row {self.row + 1} of {self.file}")
        return content


@dataclass(frozen=True, slots=True)
class _Chunks:
    """A table that is read in pieces of consecutive rows.

    Attributes:
        ends: Number of rows up to the end of each piece.
        read: Reads a column of a piece.
    """

    ends: list[int]
    read: Callable[[int, str], pa.ChunkedArray | pa.Array]


def _cell(path: str, row: int, column: str) -> Any:
    ends = _chunks(path).ends
    chunk = bisect.bisect_right(ends, row)
    return _column(path, chunk, column)[row - (ends[chunk - 1] if chunk else 0)].as_py()


# Two, so that two columns or files can take turns; of all files together, for a piece may be large.
@lru_cache(maxsize=2)
def _column(path: str, chunk: int, column: str) -> pa.ChunkedArray | pa.Array:
    return _chunks(path).read(chunk, column)


@lru_cache(maxsize=8)
def _chunks(path: str) -> _Chunks:
    with open(path, "rb") as file:
        magic = file.read(len(_ARROW_MAGIC))
    if magic.startswith(_PARQUET_MAGIC):
        parquet = pq.ParquetFile(path)
        groups = range(parquet.metadata.num_row_groups)
        ends = list(accumulate(parquet.metadata.row_group(group).num_rows for group in groups))
        return _Chunks(ends, lambda group, column: parquet.read_row_group(group, columns=[column])[column])
    source = pa.memory_map(path)
    if magic == _ARROW_MAGIC:
        reader = pa.ipc.open_file(source)
        ends = list(accumulate(reader.get_batch(each).num_rows for each in range(reader.num_record_batches)))
        return _Chunks(ends, lambda batch, column: reader.get_batch(batch).column(column))
    # A stream has no index; its batches stay in the mapped file.
    batches = pa.ipc.open_stream(source).read_all().to_batches()
    return _Chunks(
        list(accumulate(batch.num_rows for batch in batches)),
        lambda batch, column: batches[batch].column(column),
    )
