"""What a study's files must hold, checked when they are read back: they may be damaged, or others'."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from search.results import TrialState

# Whole numbers of any length are JSON: what is computed of them must not overflow.
_Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e18, le=1e18)]
_Whole = Annotated[int, Field(ge=0, le=2**53)]
_Checksum = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# What is written into these becomes part of a path.
_FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")]
_RunFolder = Annotated[str, Field(pattern=r"^finalists/[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")]


class Shape(BaseModel):
    """Keys that a file must have, and what they hold; more keys may be there."""

    model_config = ConfigDict(strict=True, extra="ignore")


class _Rung(Shape):
    step: _Whole
    progress: _Number
    score: dict[str, _Number]
    values: dict[str, _Number]
    metrics: dict[str, _Number]
    weights: str | None
    sha256: _Checksum | None = None


class TrialShape(Shape):
    """A trial that has ended."""

    trial_id: _FolderName
    number: _Whole
    recipe: dict[str, Any]
    state: Literal[tuple(each.value for each in TrialState)]  # type: ignore[valid-type]
    rungs: list[_Rung]
    preset: str | None
    error: str | None
    seconds: _Number | None
    nodes: list[str]
    started: _Number | None = None


class _Checkpoint(Shape):
    path: str
    sha256: str
    step: _Whole
    optimizer: str | None = None
    optimizer_sha256: str | None = None
    micro_batch_size: _Whole | None = None
    spent: dict[str, _Number] = Field({})


class OpenTrialShape(Shape):
    """A trial that has not ended."""

    trial_id: _FolderName
    number: _Whole
    recipe: dict[str, Any]
    preset: str | None
    started: _Number
    seconds: _Number
    rungs: list[_Rung]
    nodes: list[str]
    checkpoints: list[_Checkpoint]
    losses: _Whole


class IdentityShape(Shape):
    """What makes a study the same one."""

    study_id: _FolderName
    directory: Annotated[str, Field(pattern=r"^/[^\x00]*$", max_length=4096)]
    searches: list[_Number]


class PointShape(Shape):
    """A point that was measured."""

    number: _Whole
    point: dict[str, Any]
    trial: _Whole
    rung: _Rung | None
    preset: str | None
    error: str | None
    unwritten: str | None = None


class RunShape(Shape):
    """A finalist's run."""

    seed: _Whole
    rung: _Rung | None
    confirmed: dict[str, _Number] | None
    error: str | None


class _Estimate(Shape):
    value: _Number
    low: _Number
    high: _Number


class FinalistShape(Shape):
    """A finalist."""

    candidate: str
    place: _Whole
    runs: list[_RunFolder]
    dropped: bool
    estimates: dict[str, _Estimate | dict[str, _Estimate]] | None


class TrainingShape(Shape):
    """How a finalist's training went: step -> metrics."""

    metrics: dict[str, dict[str, _Number]]


class BegunTrainingShape(TrainingShape):
    """The same, as a driver that goes on with it needs it."""

    trial: _Whole
    seed: _Whole
    rungs: list[_Rung]
    checkpoints: list[_Checkpoint]
    error: str | None


class FactsShape(Shape):
    """What no file of a trial or point tells."""

    finished: bool
    study_id: str | None = None
    run_id: str
    kept: list[str] | None = None
    seconds: _Number
    points_seconds: _Number
    finalists_seconds: _Number
    finalists_left_out: list[str] = Field([])
    versions: dict[str, str]
    model_fingerprint: str
    architecture: str
    data_fingerprints: dict[str, str]
    leaks: list[dict[str, Any]]
    bad: list[dict[str, Any]]
