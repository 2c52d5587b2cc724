"""What the packer keeps track of, and what it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from trainables.workers.capacity import Seat
from trainables.workers.execution import GroupShape


@dataclass(frozen=True, slots=True)
class Start:
    """A group is to be started."""

    group: str
    shape: GroupShape


@dataclass(frozen=True, slots=True)
class Grant:
    """A request is served by a group."""

    request: str
    group: str


@dataclass(frozen=True, slots=True)
class Close:
    """A group is to be ended; it counts as there until `gone` is called."""

    group: str


Action = Start | Grant | Close


class Stage(Enum):
    """Where a group is in its life."""

    STARTING = "starting"
    IDLE = "idle"
    LEASED = "leased"
    CLOSING = "closing"


@dataclass(slots=True)
class Request:
    """Somebody waits for a group."""

    name: str
    planned: GroupShape
    shape: GroupShape  # what it waits for: the planned one, or a smaller one where nodes are lost
    passed: int = 0  # later requests that were given what this one waits for


@dataclass(slots=True)
class Group:
    """A worker group, as far as the packer knows it."""

    name: str
    shape: GroupShape
    seats: tuple[Seat, ...]  # none where its place is not known
    since: float  # when its workers were last asked for
    stage: Stage = Stage.STARTING
    placed: bool = False  # whether its workers have been up since then
    turn: int = 0  # rises with each change of hands
    idle_since: float = 0.0
    yielded: int = 0  # groups that went to make room for this one
    alone_since: float | None = None


@dataclass(frozen=True, kw_only=True)
class PoolStatus:
    """How a pool stands, by shape.

    Attributes:
        starting: Groups whose workers have not come up, or are loading.
        idle: Groups that wait for a lease.
        leased: Groups that serve a trial.
        closing: Groups that are being ended.
        waiting: Requests that wait.
    """

    starting: Mapping[GroupShape, int] = field(default_factory=dict)
    idle: Mapping[GroupShape, int] = field(default_factory=dict)
    leased: Mapping[GroupShape, int] = field(default_factory=dict)
    closing: Mapping[GroupShape, int] = field(default_factory=dict)
    waiting: Mapping[GroupShape, int] = field(default_factory=dict)
