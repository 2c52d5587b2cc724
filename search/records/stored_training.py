"""A finalist's training as a file: how far it has come, to be gone on with by a later driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from search.records.stored_results import read_json, rung_from_dict
from search.records.stored_shapes import BegunTrainingShape
from search.results import Rung
from trainables.checkpoint import MANIFEST_FILE
from trainables.files import naming, read_object
from trainables.pointer import pointer_from_dict
from trainables.scoring.evaluation import Evaluation, read_evaluations, rung_file

TRAINING_FILE: Final = "training.json"


@dataclass(frozen=True, kw_only=True)
class StoredTraining:
    """A training as its folder holds it.

    Attributes:
        rungs: What was measured, by rising step.
        evaluations: Step -> task -> its evaluation.
        checkpoints: Where the tensors of its last rungs lie, newest first; see `Pointer.to_dict`.
        manifest: What is trained; None before the first rung.
        error: Why it failed, one line; None unless it did.
    """

    rungs: tuple[Rung, ...]
    evaluations: Mapping[int, Mapping[str, Evaluation]]
    checkpoints: tuple[Mapping[str, Any], ...]
    manifest: Mapping[str, Any] | None
    error: str | None


def read_training(folder: Path) -> StoredTraining | None:
    """Read how far a training has come; None where it is to begin anew, since its weights are not all there.

    Args:
        folder: The training's folder.

    Raises:
        OSError: A file can't be read.
        DamagedFile: One is damaged, or another training's.
    """
    file = folder / TRAINING_FILE
    if not file.exists():
        return None
    with naming(file):
        fields = read_json(file, BegunTrainingShape)
        name = training_name(fields["trial"], fields["seed"])
        if name != folder.name:
            raise ValueError(f"expected the training of {folder.name}, got that of {name}")
        rungs = tuple(rung_from_dict(rung, folder) for rung in fields["rungs"])
        checkpoints = tuple(pointer_from_dict(each, folder) for each in fields["checkpoints"])
    if any(rung.weights is None for rung in rungs):
        return None
    return StoredTraining(
        rungs=rungs,
        evaluations={rung.step: read_evaluations(folder / rung_file(rung.step)) for rung in rungs},
        checkpoints=checkpoints,
        manifest=read_object(folder / MANIFEST_FILE) if rungs else None,
        error=fields["error"],
    )


def training_name(trial: int, seed: int) -> str:
    """Return the name of the folder of a trial's recipe trained again on a seed."""
    return f"trial_{trial}_seed_{seed}"
