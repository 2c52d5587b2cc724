"""Rows of text files, each with its line, so that a wrong line is named and costs no other."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from trainables.data.bad_samples import SampleError
from trainables.sources.json_list import is_lines, list_items
from trainables.sources.row import Row
from trainables.sources.row_check import NESTED_TOO_DEEPLY, check_value
from trainables.sources.stored_images import with_stored_images

_BOM: Final = b"\xef\xbb\xbf"


def read_jsonl(path: Path, label: str) -> Iterator[Row | SampleError]:
    """Read a JSON object from each line that is not blank.

    Args:
        path: The file.
        label: What messages call it.
    """
    offset = 0
    with path.open("rb") as file:
        # Binary lines end at "\n" alone: JSON allows a text to hold characters that str.splitlines ends at.
        for number, line in enumerate(file, start=1):
            content = line.removeprefix(_BOM) if number == 1 else line
            if content.strip():
                yield _json_line(content, f"{label}:{number}", path, offset + len(line) - len(content))
            offset += len(line)


def read_json(path: Path, label: str) -> Iterator[Row | SampleError]:
    """Read the objects of a list, which is all of the file or the only list of objects in its one object.

    A file of one object a line, which is JSON Lines by another name, is read as such.

    Raises:
        ValueError: The file is not JSON, or has no such list, or its objects can't be told apart.
    """
    content = path.read_bytes().removeprefix(_BOM)
    # A wrong byte within an object is that object's fault alone.
    text = content.decode(errors="surrogateescape")
    if is_lines(text):
        yield from read_jsonl(path, label)
        return
    line, before = 1, 0
    try:
        for position, value in list_items(text):
            line += text.count("\n", before, position)
            before = position
            yield _object(value, f"{label}:{line}", path)
    except json.JSONDecodeError as error:
        if (wrong := _not_utf8(content)) is not None:
            raise ValueError(f"{label}:{wrong}") from None
        raise ValueError(f"{label}:{error.lineno}: not JSON: {error.msg}") from None
    except ValueError as error:
        raise ValueError(f"{label}: {error}") from None


def read_csv(path: Path, label: str, delimiter: str = ",") -> Iterator[Row | SampleError]:
    """Read a table whose first line names the columns; an empty cell is None, all others are texts.

    A quote that is not closed takes the lines after it into its row. Of a row that can't be used, each of its
    lines counts, since each may have been one.

    Raises:
        ValueError: The columns have no names, or two have one.
    """
    # The default limit of 128 KiB refuses images in base64.
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        columns = next(reader, [])
        for column in columns:
            if not column.strip() or columns.count(column) > 1:
                raise ValueError(f"{label}:1: columns need names of their own, got {column!r}")
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                yield from _spoilt(label, line, reader.line_num, f"not CSV: {error}")
                continue
            if cells is None:
                return
            if not cells:
                continue
            row = _csv_row(columns, cells, f"{label}:{line}", path)
            if isinstance(row, SampleError):
                yield from _spoilt(label, line, reader.line_num, row.reason)
            else:
                yield row


def _json_line(content: bytes, where: str, path: Path, offset: int) -> Row | SampleError:
    try:
        value = json.loads(content.decode())
    except UnicodeDecodeError as error:
        return SampleError(where, f"not UTF-8 text: {error.reason} at byte {error.start} of the line")
    except json.JSONDecodeError as error:
        return SampleError(where, f"not JSON: {error.msg}")
    except ValueError as error:  # a number of thousands of digits
        return SampleError(where, f"not JSON that can be read: {error}")
    except RecursionError:
        return SampleError(where, NESTED_TOO_DEEPLY)
    row = _object(value, where, path)
    if isinstance(row, SampleError):
        return row
    return Row(where, with_stored_images(row.values, path, offset, len(content)), row.folder)


def _object(value: Any, where: str, path: Path) -> Row | SampleError:
    if not isinstance(value, dict):
        return SampleError(where, f"expected an object with named values, got {type(value).__name__}")
    try:
        check_value(value)
    except ValueError as error:
        return SampleError(where, str(error))
    return Row(where, value, path.parent)


def _not_utf8(content: bytes) -> str | None:
    """Return the line of a file's first byte that is not UTF-8, and what is wrong; None if all are."""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return f"{line}: not UTF-8 text: {error.reason} at byte {error.start}"
    return None


def _spoilt(label: str, first: int, last: int, reason: str) -> Iterator[SampleError]:
    """Yield an error for each line of a row that can't be used."""
    if first == last:
        yield SampleError(f"{label}:{first}", reason)
        return
    yield SampleError(
        f"{label}:{first}", f"{reason}; the row goes on to line {last}, as where a quote is not closed"
    )
    for line in range(first + 1, last + 1):
        yield SampleError(f"{label}:{line}", f"within the row of line {first}, which can't be used")


def _csv_row(columns: list[str], cells: list[str], where: str, path: Path) -> Row | SampleError:
    if len(cells) != len(columns):
        return SampleError(where, f"{len(cells)} cells in a table of {len(columns)} columns")
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return SampleError(where, "not UTF-8 text")
    return Row(where, {name: cell or None for name, cell in zip(columns, cells, strict=True)}, path.parent)
