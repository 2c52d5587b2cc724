"""Rows as users write them, read by a task's definition."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

from trainables.data.samples import Sample, Split
from trainables.data.task_spec import TaskSpec
from trainables.formats import to_samples
from trainables.sources.row import Row

WHERE = "data/birds.jsonl:7"


def read(
    row: dict[str, Any], split: Split = "search", folder: Path | None = None, **spec: Any
) -> list[Sample]:
    columns = {
        key: (each,) if isinstance(each, str) else each for key, each in spec.pop("columns", {}).items()
    }
    task = TaskSpec(name="birds", origins={}, columns=columns, **spec)
    return to_samples(Row(WHERE, row, folder), task, split)


def one(row: dict[str, Any], split: Split = "search", folder: Path | None = None, **spec: Any) -> Sample:
    (sample,) = read(row, split, folder, **spec)
    return sample


def picture(shade: int = 0) -> bytes:
    """Return a PNG file of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (4, 3), (shade, 0, 0)).save(file, "PNG")
    return file.getvalue()
