"""Rows: what a data file, a folder of them, or a data set holds, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from trainables.data.bad_samples import SampleError
from trainables.data.task_spec import Origin
from trainables.sources.data_sets import FILE_TYPES, DataFile, data_files
from trainables.sources.image_folder import METADATA, image_rows, labelled_rows
from trainables.sources.row import Row
from trainables.sources.table_rows import read_arrow, read_parquet
from trainables.sources.text_rows import read_csv, read_json, read_jsonl

__all__ = ["Row", "read_rows"]

Rows = Iterator[Row | SampleError]

_LFS: Final = b"version https://git-lfs.github.com/"


def read_rows(origin: Origin, mirror: Path | None = None) -> Rows:
    """Read an origin's rows in their order, each when it is asked for.

    Args:
        origin: Where they lie.
        mirror: Folder of copies of hub data sets, `<owner>/<name>/`.

    Yields:
        Each row, or the error of one that can't be read.

    Raises:
        ValueError: There is no such file, data set or split, or it can't be read at all.
    """
    path = Path(origin.source)
    if path.is_file():
        if origin.split is not None:
            raise ValueError(
                f"{path}: one file has no split {origin.split!r}; without `source` splits are files, and "
                "with train, search and confirm null it is divided between them"
            )
        for key in ("configuration", "revision"):
            if (value := getattr(origin, key)) is not None:
                raise ValueError(f"{path}: one file has no {key} {value!r}; null takes away a card's")
        if path.suffix not in FILE_TYPES:
            known = ", ".join(FILE_TYPES)
            raise ValueError(f"{path}: unknown type of file {path.suffix!r}: expected one of: {known}")
        yield from _file_rows(
            DataFile(path=path, label=str(path), kind=FILE_TYPES[path.suffix], suffix=path.suffix)
        )
        return
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path}: no regular file")
    files = data_files(origin, mirror)
    for file in files:
        if file.kind == "imagefolder":
            yield from _image_folder_rows([file, *files])
        else:
            yield from _file_rows(file)


def _file_rows(file: DataFile) -> Rows:
    try:
        yield from _rows_of(file)
    except OSError as error:
        raise ValueError(f"{file.label}: can't be read: {error.strerror or error}") from None


def _rows_of(file: DataFile) -> Rows:
    with file.path.open("rb") as content:
        if content.read(len(_LFS)) == _LFS:
            raise ValueError(f"{file.label}: a pointer of Git LFS; `git lfs pull` fetches the data")
    if file.kind == "parquet":
        return read_parquet(file.path, file.label, file.classes)
    if file.kind == "arrow":
        return read_arrow(file.path, file.label, file.classes)
    if file.kind == "csv":
        return read_csv(file.path, file.label, "\t" if file.suffix == ".tsv" else ",")
    return read_json(file.path, file.label) if file.suffix == ".json" else read_jsonl(file.path, file.label)


def _image_folder_rows(files: list[DataFile]) -> Rows:
    metadata = [file for file in files if file.path.name in METADATA]
    if not metadata:
        yield from labelled_rows([file.path for file in files])
    for file in metadata:
        kind = FILE_TYPES[file.suffix]
        yield from image_rows(
            _file_rows(DataFile(path=file.path, label=file.label, kind=kind, suffix=file.suffix))
        )
