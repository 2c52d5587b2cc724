"""Rows: what a data file, a folder of them, or a data set holds, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from trainables.bad_samples import SampleError
from trainables.row import Row
from trainables.table_rows import read_arrow, read_parquet
from trainables.task_spec import Origin
from trainables.text_rows import read_csv, read_json, read_jsonl

__all__ = ["FILE_TYPES", "Row", "read_rows"]

Rows = Iterator[Row | SampleError]

FILE_TYPES: Final[dict[str, Callable[[Path, str], Rows]]] = {
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": lambda path, label: read_csv(path, label, "\t"),
    ".parquet": read_parquet,
    ".arrow": read_arrow,
}


def read_rows(origin: Origin, mirror: Path | None = None) -> Rows:
    """Read an origin's rows in their order, each when it is asked for.

    Args:
        origin: Where they lie.
        mirror: Folder of copies of hub data sets, `<owner>/<name>/`.

    Yields:
        Each row, or the error of one that can't be read.

    Raises:
        ValueError: There is no such file, or it can't be read at all.
    """
    path = Path(origin.source)
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    if path.suffix not in FILE_TYPES:
        known = ", ".join(FILE_TYPES)
        raise ValueError(f"{path}: unknown type of file {path.suffix!r}: expected one of: {known}")
    yield from FILE_TYPES[path.suffix](path, str(path))
