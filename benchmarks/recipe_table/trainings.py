"""Trainings that have ended, a small file each, so that a production goes on where it was broken off."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.recipe_table.grid import Cell
from trainables.files import read_object, write_atomically
from trainables.scoring.evaluation import Evaluation


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What one training measured.

    Attributes:
        cell: Which one.
        rungs: Step -> metric -> value: `value/<task>`, where early rungs of a study see fewer samples
            `value<samples>/<task>`, and what the job reported of drift, loss and cost.
        error: Why it failed, one line; None unless it did.
    """

    cell: Cell
    rungs: Mapping[int, Mapping[str, float]]
    error: str | None = None


class TrainingFiles:
    """The trainings of one target in their folder.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def begun(cls, folder: Path, made_from: Mapping[str, Any]) -> TrainingFiles:
        """Return a folder's trainings, of which there may be none yet.

        Args:
            folder: Where they lie.
            made_from: What their results depend on, as plain values.

        Raises:
            ValueError: The folder holds trainings that were made from something else.
        """
        files = cls(folder)
        text = json.dumps(made_from, sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()
        if not files._made_from.exists():
            content = {"sha256": digest, **made_from}
            write_atomically(files._made_from, json.dumps(content, default=str).encode())
        elif files.made_from["sha256"] != digest:
            raise ValueError(
                f"{folder}: it holds trainings of another model, data or settings (see "
                f"{files._made_from.name}); give another folder with --cache, or delete this one"
            )
        return files

    @property
    def made_from(self) -> dict[str, Any]:
        """What the results of the trainings depend on."""
        return read_object(self._made_from)

    def missing(self, cells: Iterable[Cell]) -> list[Cell]:
        """Return the trainings that have not ended yet."""
        return [cell for cell in cells if not self._file(cell).exists()]

    def write(self, trained: Trained) -> None:
        """Keep a training that has ended."""
        rungs = {str(step): dict(metrics) for step, metrics in trained.rungs.items()}
        content = {"rungs": rungs, "error": trained.error}
        write_atomically(self._file(trained.cell), json.dumps(content).encode())

    def read(self, cells: Iterable[Cell]) -> Iterator[Trained]:
        """Yield those of the trainings that have ended."""
        for cell in cells:
            if self._file(cell).exists():
                found = read_object(self._file(cell))
                rungs = {int(step): metrics for step, metrics in found["rungs"].items()}
                yield Trained(cell=cell, rungs=rungs, error=found["error"])

    def write_base(self, values: Mapping[str, float]) -> None:
        """Keep what the untouched model scores."""
        write_atomically(self.folder / "base.json", json.dumps(dict(values)).encode())

    def read_base(self) -> dict[str, float] | None:
        """Return what the untouched model scores; None where that was not measured yet."""
        file = self.folder / "base.json"
        return read_object(file) if file.exists() else None

    @property
    def _made_from(self) -> Path:
        return self.folder / "made_from.json"

    def _file(self, cell: Cell) -> Path:
        return self.folder / f"{cell.name}.json"


def values_of(evaluations: Mapping[str, Evaluation], early: int | None) -> dict[str, float]:
    """Return the tasks' values in points: of all samples, and of the first ones that early rungs see.

    Args:
        evaluations: Task -> its evaluation.
        early: How many samples a study scores at rungs before the last; None scores all.
    """
    found = {f"value/{task}": each.value for task, each in evaluations.items()}
    if early is not None:
        found |= {f"value{early}/{task}": each.first(early).value for task, each in evaluations.items()}
    return found
