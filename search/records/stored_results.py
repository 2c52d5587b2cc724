"""Trials and points as files: written when they end, read back by whoever looks at a study later.

Paths inside a study's folder are written relative to it, so that it may be moved.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from search.objective import Score
from search.records.stored_shapes import PointShape, Shape, TrialShape
from search.results import PointResult, Rung, TrialResult, TrialState
from search.settings.user_input import parse_section
from spaces.points import Point
from spaces.recipe import Recipe
from trainables.files import naming, read_object, write_atomically

TRIAL_FILE: Final = "trial.json"
POINT_FILE: Final = "point.json"


def write_trial(folder: Path, trial: TrialResult) -> None:
    """Write a trial that has ended.

    Args:
        folder: The study's folder.
        trial: The trial.
    """
    fields = {
        "trial_id": trial.trial_id,
        "number": trial.number,
        "recipe": trial.recipe.to_dict(),
        "state": trial.state.value,
        "rungs": [rung_to_dict(rung, folder) for rung in trial.rungs],
        "preset": trial.preset,
        "error": trial.error,
        "seconds": trial.seconds if math.isfinite(trial.seconds) else None,
        "nodes": list(trial.nodes),
        "started": trial.started if math.isfinite(trial.started) else None,
    }
    write_json(folder / "trials" / trial.trial_id / TRIAL_FILE, fields)


def read_trial(folder: Path, file: Path) -> TrialResult:
    """Read back a trial.

    Args:
        folder: The study's folder.
        file: The trial's file.

    Raises:
        OSError: The file can't be read.
        ValueError: It is damaged.
    """
    fields = read_json(file, TrialShape)
    if fields["trial_id"] != file.parent.name:
        raise ValueError(
            f"trial_id: expected {file.parent.name!r}, its folder's name, got {fields['trial_id']!r}"
        )
    started = fields.get("started")
    return TrialResult(
        trial_id=fields["trial_id"],
        number=fields["number"],
        recipe=Recipe.from_dict(fields["recipe"]),
        state=TrialState(fields["state"]),
        rungs=tuple(rung_from_dict(rung, folder) for rung in fields["rungs"]),
        preset=fields["preset"],
        error=fields["error"],
        seconds=math.nan if fields["seconds"] is None else fields["seconds"],
        nodes=tuple(fields["nodes"]),
        started=math.nan if started is None else started,
    )


def write_point(folder: Path, result: PointResult) -> None:
    """Write a point that was evaluated, or failed.

    Args:
        folder: The study's folder.
        result: The point.
    """
    fields = {
        "number": result.number,
        "point": result.point.to_dict(),
        "trial": result.trial.number,
        "rung": None if result.rung is None else rung_to_dict(result.rung, folder),
        "preset": result.preset,
        "error": result.error,
        "unwritten": result.unwritten,
    }
    write_json(folder / "points" / str(result.number) / POINT_FILE, fields)


def read_point(folder: Path, file: Path, trials: Mapping[int, TrialResult]) -> PointResult:
    """Read back a point.

    Args:
        folder: The study's folder.
        file: The point's file.
        trials: Number -> trial.

    Raises:
        OSError: The file can't be read.
        ValueError: It is damaged.
    """
    fields = read_json(file, PointShape)
    if fields["trial"] not in trials:
        raise ValueError(f"trial {fields['trial']}, of which it is made, is not there")
    return PointResult(
        number=fields["number"],
        point=Point.from_dict(fields["point"]),
        trial=trials[fields["trial"]],
        rung=None if fields["rung"] is None else rung_from_dict(fields["rung"], folder),
        preset=fields["preset"],
        error=fields["error"],
        unwritten=fields.get("unwritten"),
    )


def rung_to_dict(rung: Rung, folder: Path) -> dict[str, Any]:
    """Return a rung as plain values; see `rung_from_dict`."""
    weights = Path(rung.weights) if rung.weights is not None else None
    root = folder.absolute()
    inside = weights is not None and weights.is_relative_to(root)
    return {
        "step": rung.step,
        "progress": rung.progress,
        "score": rung.score.to_metrics(),
        "values": dict(rung.values),
        "metrics": dict(rung.metrics),
        "weights": str(weights.relative_to(root)) if weights is not None and inside else rung.weights,
        "sha256": rung.sha256,
        "at": rung.at if math.isfinite(rung.at) else None,
    }


def rung_from_dict(fields: Mapping[str, Any], folder: Path) -> Rung:
    """Read back what `rung_to_dict` wrote; weights that are gone since are None.

    Args:
        fields: The plain values.
        folder: The study's folder, where it lies now.
    """
    weights = None if fields["weights"] is None else folder.absolute() / fields["weights"]
    if weights is not None and not weights.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"weights: expected a file in {folder}, got {fields['weights']!r}")
    at = fields.get("at")
    return Rung(
        step=fields["step"],
        progress=fields["progress"],
        score=Score.from_metrics(fields["score"]),
        values=fields["values"],
        metrics=fields["metrics"],
        weights=str(weights) if weights is not None and weights.exists() else None,
        sha256=fields.get("sha256"),
        at=math.nan if at is None else at,
    )


def write_json(file: Path, fields: Mapping[str, Any]) -> None:
    """Write plain values; a number that is not finite is an error."""
    write_atomically(file, json.dumps(fields, allow_nan=False).encode())


def read_json(file: Path, shape: type[Shape] | None = None) -> dict[str, Any]:
    """Read back what `write_json` wrote.

    Args:
        file: The file.
        shape: What it must hold.

    Raises:
        OSError: The file can't be read.
        ValueError: It holds something else; the message names it.
    """
    fields = read_object(file)
    if shape is not None:
        with naming(file):
            parse_section(shape, fields, str(file))
    return fields
