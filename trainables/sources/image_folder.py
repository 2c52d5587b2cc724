"""Rows of a folder of images: a metadata file's, or one an image with its folder as its label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from trainables.data.bad_samples import SampleError
from trainables.sources.row import Row

METADATA: Final = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


def image_rows(rows: Iterator[Row | SampleError]) -> Iterator[Row | SampleError]:
    """Turn a metadata file's column `file_name` into the column `image`."""
    for row in rows:
        if isinstance(row, SampleError) or "file_name" not in row.values:
            yield row
        else:
            others = {name: value for name, value in row.values.items() if name != "file_name"}
            yield Row(row.where, {"image": row.values["file_name"], **others}, row.folder)


def labelled_rows(images: Sequence[Path]) -> Iterator[Row]:
    """Yield each image with the name of its folder as its label."""
    for image in images:
        yield Row(str(image), {"image": image.name, "label": image.parent.name}, image.parent)
