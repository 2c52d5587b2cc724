"""Rows of Parquet and Arrow files, in batches, with their images left where they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from trainables.sources.row import Row
from trainables.sources.stored_cells import StoredCell

_BATCH: Final = 64  # rows; images that have to be read are held for so many

Classes = Mapping[str, Sequence[str]]
"""Column of class labels -> the names that its numbers stand for."""


def read_parquet(path: Path, label: str, classes: Classes | None = None) -> Iterator[Row]:
    """Read a Parquet file; columns of images that are all there are not even looked at.

    Args:
        path: The file.
        label: What messages call it.
        classes: Columns of class labels, besides those that the file itself tells of.

    Raises:
        ValueError: It is no such file.
    """
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            first = 0
            for group in range(file.metadata.num_row_groups):
                unread = _full_columns(schema, file.metadata.row_group(group))
                columns = [name for name in schema.names if name not in unread]
                for batch in file.iter_batches(_BATCH, row_groups=[group], columns=columns):
                    yield from _rows(batch, schema, unread, path, label, first, classes)
                    first += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{label}: not a Parquet file that can be read: {_one_line(error)}") from None


def read_arrow(path: Path, label: str, classes: Classes | None = None) -> Iterator[Row]:
    """Read an Arrow file or stream; see `read_parquet`."""
    try:
        with pa.memory_map(str(path)) as source:
            first = 0
            for batch in _batches(source):
                for start in range(0, batch.num_rows, _BATCH):
                    part = batch.slice(start, _BATCH)
                    yield from _rows(part, batch.schema, frozenset(), path, label, first + start, classes)
                first += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{label}: not an Arrow file that can be read: {_one_line(error)}") from None


def _batches(source: pa.MemoryMappedFile) -> Iterator[pa.RecordBatch]:
    try:
        file = pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        yield from pa.ipc.open_stream(source)
        return
    for index in range(file.num_record_batches):
        yield file.get_batch(index)


def _rows(
    batch: pa.RecordBatch,
    schema: pa.Schema,
    unread: frozenset[str],
    path: Path,
    label: str,
    first: int,
    classes: Classes | None,
) -> Iterator[Row]:
    """Yield a batch's rows.

    Args:
        batch: The rows, but for the columns that were left unread.
        schema: All columns.
        unread: Columns with an image in every row.
        path: Their file.
        label: What messages call it.
        first: Number of the first row in the file, from 0.
        classes: Columns of class labels.
    """
    names = {**_own_classes(schema), **(classes or {})}
    columns: dict[str, list[Any]] = {}
    for field in schema:
        cell = partial(StoredCell, str(path), column=field.name)
        if field.name in unread:
            columns[field.name] = [cell(row=first + index) for index in range(batch.num_rows)]
        elif _is_image(field.type):
            array = batch.column(field.name)
            columns[field.name] = [_image(array[i], cell(row=first + i)) for i in range(batch.num_rows)]
        elif _is_list_of_images(field.type):
            array = batch.column(field.name)
            columns[field.name] = [_images(array[i], cell(row=first + i)) for i in range(batch.num_rows)]
        else:
            values = batch.column(field.name).to_pylist()
            known = names.get(field.name)
            columns[field.name] = values if known is None else [_class(value, known) for value in values]
    for index in range(batch.num_rows):
        values = {name: column[index] for name, column in columns.items()}
        yield Row(f"{label} row {first + index + 1}", values, path.parent)


def _image(scalar: pa.Scalar, cell: StoredCell) -> StoredCell | str | None:
    """Return where an image is stored, its path where the file holds none, or None."""
    if not scalar.is_valid:
        return None
    if not pa.types.is_struct(scalar.type) or scalar["bytes"].is_valid:
        return cell
    path: str | None = scalar["path"].as_py()
    return path


def _images(scalar: pa.ListScalar, cell: StoredCell) -> list[StoredCell | str | None] | None:
    if not scalar.is_valid:
        return None
    return [
        _image(item, StoredCell(cell.file, cell.row, cell.column, index))
        for index, item in enumerate(scalar.values)
    ]


def _class(value: Any, names: Sequence[str]) -> Any:
    """Return a class's name; data sets without labels have -1 there."""
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None


def _full_columns(schema: pa.Schema, group: Any) -> frozenset[str]:
    """Return the columns of images of which a row group's statistics say that no row lacks one."""
    nulls = {}
    for index in range(group.num_columns):
        column = group.column(index)
        if column.statistics is not None and column.statistics.has_null_count:
            nulls[column.path_in_schema] = column.statistics.null_count
    leaves = {
        field.name: f"{field.name}.bytes" if pa.types.is_struct(field.type) else field.name
        for field in schema
        if _is_image(field.type)
    }
    return frozenset(name for name, leaf in leaves.items() if nulls.get(leaf) == 0)


def _is_image(kind: pa.DataType) -> bool:
    """Tell whether a column holds bytes, or bytes and path as the `datasets` library stores images."""
    if pa.types.is_struct(kind):
        return {field.name for field in kind} == {"bytes", "path"}
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_list_of_images(kind: pa.DataType) -> bool:
    return (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _is_image(kind.value_type)


def _own_classes(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the class labels that the `datasets` library wrote into a file."""
    written = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = written.get("info", {}).get("features", {})
    return {
        name: feature["names"]
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
