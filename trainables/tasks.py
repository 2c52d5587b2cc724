"""Tasks: named sources of samples, each with a metric and three splits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from spaces.nearest import did_you_mean
from trainables import tiny
from trainables.images import image_size
from trainables.metrics import DEFAULT_DECODING, EXACT_MATCH, Decoding, MetricSpec
from trainables.samples import Sample, Split


class Task(Protocol):
    """A source of samples."""

    @property
    def name(self) -> str:
        """Name of the task in study files, metrics and reports."""

    @property
    def metric(self) -> MetricSpec:
        """How an answer is scored."""

    @property
    def decoding(self) -> Decoding:
        """How answers are written, where the metric needs it."""

    def load(self, split: Split, limit: int | None = None) -> list[Sample]:
        """Return a split's first `limit` samples, or all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddedTask:
    """A task of the embedded test bed, rendered on the fly."""

    name: str
    metric: MetricSpec = EXACT_MATCH
    decoding: Decoding = DEFAULT_DECODING

    def load(self, split: Split, limit: int | None = None) -> list[Sample]:
        """Render a split's first `limit` samples, or all of them."""
        return tiny.load_split(self.name, split, limit)


@dataclass(frozen=True, kw_only=True, slots=True)
class FileTask:
    """A task of the user's own: one JSON Lines file a split.

    Each line is an object with `prompt` and `answer`, and optionally `image` (a path relative to the file)
    and `id`.
    """

    name: str
    metric: MetricSpec
    train: str | None
    search: str | None
    confirm: str | None = None
    decoding: Decoding = DEFAULT_DECODING

    def load(self, split: Split, limit: int | None = None) -> list[Sample]:
        """Read a split's first `limit` samples, or all of them.

        Raises:
            ValueError: The split has no file, or a line is not a sample; the message names file and line.
        """
        file = {"train": self.train, "search": self.search, "confirm": self.confirm}[split]
        if file is None:
            raise ValueError(f"tasks.{self.name}: no file for the split {split!r}")
        path = Path(file)
        if not path.is_file():
            raise ValueError(f"tasks.{self.name}.{split}: no such file: {path}")
        samples = []
        try:
            # Not splitlines(): JSON allows a text to hold characters that it takes for the end of a line.
            for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
                if limit is not None and len(samples) == limit:
                    break
                if line.strip():
                    samples.append(_parse_line(line, path, number, f"{split}-{number}"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from None
        if not samples:
            raise ValueError(f"tasks.{self.name}.{split}: {path} holds no sample")
        return samples


def resolve_tasks(names: Sequence[str], own: Mapping[str, Task]) -> dict[str, Task]:
    """Return the tasks of these names, the user's own before the embedded ones.

    Raises:
        ValueError: A name is neither the user's nor embedded.
    """
    resolved: dict[str, Task] = {}
    for name in names:
        if name in own:
            resolved[name] = own[name]
        elif name in tiny.TASKS:
            resolved[name] = EmbeddedTask(name=name)
        else:
            raise ValueError(f"unknown task {name!r}: {did_you_mean(name, {*own, *tiny.TASKS})}")
    return resolved


def _parse_line(line: str, path: Path, number: int, default_id: str) -> Sample:
    where = f"{path}:{number}"
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON: {error.msg}") from None
    if not isinstance(row, dict):
        raise ValueError(f"{where}: expected an object with 'prompt' and 'answer', got {type(row).__name__}")
    for key in row:
        if key not in ("id", "prompt", "answer", "image"):
            raise ValueError(
                f"{where}: unknown key {key!r}: {did_you_mean(key, ('id', 'prompt', 'answer', 'image'))}"
            )
    for key in ("prompt", "answer"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise ValueError(f"{where}: {key!r} must be a text that is not empty")
    image = row.get("image")
    if image is not None:
        if not isinstance(image, str):
            raise ValueError(f"{where}: 'image' must be a path, got {image!r}")
        image = path.parent / image
        if not image.is_file():
            raise ValueError(f"{where}: no such image: {image}")
        try:
            image_size(image)
        except ValueError:
            raise ValueError(f"{where}: not a readable image: {image}") from None
    return Sample(
        id=str(row.get("id", default_id)),
        prompt=row["prompt"],
        answer=row["answer"],
        images=() if image is None else (image,),
        where=where,
    )
