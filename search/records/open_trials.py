"""OpenTrial: a trial that has not ended, as far as it has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from search.records.stored_results import (
    TRIAL_FILE,
    read_json,
    rung_from_dict,
    rung_to_dict,
    write_json,
)
from search.records.stored_shapes import OpenTrialShape
from search.results import Rung, TrialResult, TrialState
from spaces.recipe import Recipe
from trainables.files import naming
from trainables.pointer import CHECKPOINTS, pointer_from_dict, pointer_to_dict

OPEN_FILE: Final = "open.json"


@dataclass(kw_only=True, slots=True)
class OpenTrial:
    """A trial under way.

    Attributes:
        trial_id: The study's id of it, the key in every record.
        number: Order in which the trials were started, from 0.
        recipe: What is trained and how.
        preset: Name of the preset that queued it, or None.
        started: When it started first, in seconds since 1970.
        seconds: Wall-clock time that it ran, up to its last event.
        rungs: Its evaluations so far.
        nodes: Addresses of the nodes that its workers ran on.
        checkpoints: Where the tensors of its last rungs lie, newest first; see `Pointer.to_dict`.
        losses: How often it was lost with its process since its last rung, and handed out again.
    """

    trial_id: str
    number: int
    recipe: Recipe
    preset: str | None
    started: float
    seconds: float = 0.0
    rungs: list[Rung] = field(default_factory=list)
    nodes: set[str] = field(default_factory=set)
    checkpoints: list[Mapping[str, Any]] = field(default_factory=list)
    losses: int = 0

    def add(self, rung: Rung, checkpoint: Mapping[str, Any] | None, nodes: list[str]) -> None:
        """Take a rung that was reported, with the pointer to its tensors."""
        self.rungs.append(rung)
        self.losses = 0
        self.nodes.update(nodes)
        if checkpoint is not None:
            self.checkpoints = [checkpoint, *self.checkpoints][:CHECKPOINTS]

    def ended(self, error: str | None = None) -> TrialResult:
        """Return the trial as ended.

        It is COMPLETE if it was trained to its end, else PRUNED; with an error or without a rung FAILED.

        Args:
            error: Why it failed, one line.
        """
        if error is None and not self.rungs:
            error = "the trial ended before its first rung"
        if error is not None:
            state = TrialState.FAILED
        else:
            state = TrialState.COMPLETE if self.is_trained else TrialState.PRUNED
        return TrialResult(
            trial_id=self.trial_id,
            number=self.number,
            recipe=self.recipe,
            state=state,
            rungs=tuple(self.rungs),
            nodes=tuple(sorted(self.nodes)),
            preset=self.preset,
            error=error,
            seconds=self.seconds,
            started=self.started,
        )

    @property
    def is_trained(self) -> bool:
        """Whether its last rung was reported."""
        return bool(self.rungs) and self.rungs[-1].progress == 1


def trial_id_of(number: int) -> str:
    """Return the id of a study's trial, which is the name of its folder: `0007` for its eighth."""
    return f"{number:04d}"


def write_open_trial(folder: Path, trial: OpenTrial) -> None:
    """Write how far a trial has come.

    Args:
        folder: The study's folder.
        trial: The trial.
    """
    fields = {
        "trial_id": trial.trial_id,
        "number": trial.number,
        "recipe": trial.recipe.to_dict(),
        "preset": trial.preset,
        "started": trial.started,
        "seconds": trial.seconds,
        "rungs": [rung_to_dict(rung, folder) for rung in trial.rungs],
        "nodes": sorted(trial.nodes),
        "checkpoints": [pointer_to_dict(each) for each in trial.checkpoints],
        "losses": trial.losses,
    }
    write_json(_file(folder, trial.trial_id), fields)


def close_open_trial(folder: Path, trial_id: str) -> None:
    """Forget how far a trial had come, now that it has ended."""
    _file(folder, trial_id).unlink(missing_ok=True)


def read_open_trials(folder: Path) -> dict[int, OpenTrial]:
    """Return number -> trial, of those that began and have not ended.

    Args:
        folder: The study's folder.

    Raises:
        OSError: A file can't be read.
        DamagedFile: One is damaged.
    """
    found = {}
    for file in sorted(folder.glob(f"trials/*/{OPEN_FILE}")):
        if (file.parent / TRIAL_FILE).exists():
            continue
        with naming(file):
            trial = _from_dict(read_json(file, OpenTrialShape), folder, file.parent)
        found[trial.number] = trial
    return found


def _from_dict(fields: Mapping[str, Any], folder: Path, home: Path) -> OpenTrial:
    if fields["trial_id"] != home.name:
        raise ValueError(f"trial_id: expected {home.name!r}, its folder's name, got {fields['trial_id']!r}")
    return OpenTrial(
        trial_id=fields["trial_id"],
        number=fields["number"],
        recipe=Recipe.from_dict(fields["recipe"]),
        preset=fields["preset"],
        started=fields["started"],
        seconds=fields["seconds"],
        rungs=[rung_from_dict(rung, folder) for rung in fields["rungs"]],
        nodes=set(fields["nodes"]),
        checkpoints=[pointer_from_dict(each, home) for each in fields["checkpoints"]],
        losses=fields["losses"],
    )


def _file(folder: Path, trial_id: str) -> Path:
    return folder / "trials" / trial_id / OPEN_FILE
