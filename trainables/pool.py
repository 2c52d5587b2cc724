"""WorkerPool: the one owner of warm worker groups, which it leases by shape within a cluster's resources."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any

import ray

from trainables.execution import GroupShape
from trainables.group import WorkerGroup
from trainables.jobs import WorkerSetup


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to use a worker group until it is released.

    Attributes:
        name: The group's name.
        group: Handle of its `WorkerGroup` actor.
    """

    name: str
    group: Any


@dataclass
class _Member:
    lease: Lease
    shape: GroupShape
    busy: bool
    holder: str = ""


class WorkerPool:
    """The actor; make it with `ray.remote(num_cpus=0)(WorkerPool)`.

    Args:
        setup: What each worker loads.
        cpus: CPU cores that all groups together may take.
        gpus: GPUs that all groups together may take.
        storage_path: Folder of Ray Train's own state, shared by all nodes.
        max_failures: Restarts after dead workers before a job fails.
    """

    def __init__(
        self, setup: WorkerSetup, cpus: float, gpus: float, storage_path: str, max_failures: int
    ) -> None:
        self._setup = setup
        self._cpus, self._gpus = cpus, gpus
        self._storage_path = storage_path
        self._max_failures = max_failures
        self._members: dict[str, _Member] = {}
        self._changed = asyncio.Condition()

    async def lease(self, shape: GroupShape, holder: str = "") -> Lease:
        """Wait for a group of a shape: an idle one, a new one, or one that takes an idle other shape's place.

        Args:
            shape: What the group must be.
            holder: Who leases it, for `reclaim`.

        Raises:
            ValueError: The pool's resources can't ever hold the shape.
        """
        if not self._fits(shape, members=[]):
            raise ValueError(
                f"{shape} needs more than the pool's {self._cpus:g} CPUs and {self._gpus:g} GPUs"
            )
        async with self._changed:
            while True:
                if (member := self._idle(shape)) is not None:
                    member.busy, member.holder = True, holder
                    return member.lease
                if self._fits(shape, list(self._members.values())):
                    member = self._start(shape, busy=True)
                    member.holder = holder
                    return member.lease
                if (other := self._idle_other_than(shape)) is not None:
                    del self._members[other.lease.name]
                    await self._end(other)
                else:
                    await self._changed.wait()

    async def release(self, name: str, *, usable: bool = True) -> None:
        """Give a leased group back.

        Args:
            name: The lease's name.
            usable: False ends the group instead of keeping it for the next lease.
        """
        async with self._changed:
            member = self._members.get(name)
            if member is not None:
                member.busy = False
                if not usable:
                    del self._members[name]
                    await self._end(member)
            self._changed.notify_all()

    async def reclaim(self, holder: str) -> None:
        """End the groups that a holder died with; without leases of its own, nothing happens."""
        held = [m.lease.name for m in self._members.values() if m.busy and m.holder == holder]
        for name in held:
            await self.release(name, usable=False)

    async def warm_up(self, shape: GroupShape, count: int) -> None:
        """Start up to `count` groups of a shape, as far as they fit, without waiting for them."""
        async with self._changed:
            for _ in range(count - len(self._members)):
                if self._fits(shape, list(self._members.values())):
                    self._start(shape, busy=False)

    async def close(self) -> None:
        """End all groups and wait for Ray Train to have ended their workers."""
        async with self._changed:
            await asyncio.gather(*(self._end(member) for member in self._members.values()))
            self._members.clear()

    def _fits(self, shape: GroupShape, members: list[_Member]) -> bool:
        shapes = [shape, *(member.shape for member in members)]
        cpus = sum(s.workers * s.cpus for s in shapes)
        gpus = sum(s.workers * s.gpus for s in shapes)
        return cpus <= self._cpus + 1e-6 and gpus <= self._gpus + 1e-6

    def _idle(self, shape: GroupShape) -> _Member | None:
        return next((m for m in self._members.values() if not m.busy and m.shape == shape), None)

    def _idle_other_than(self, shape: GroupShape) -> _Member | None:
        return next((m for m in self._members.values() if not m.busy and m.shape != shape), None)

    def _start(self, shape: GroupShape, *, busy: bool) -> _Member:
        name = f"group-{uuid.uuid4().hex[:8]}"
        group = (
            ray.remote(num_cpus=0, max_concurrency=1000)(WorkerGroup)
            .options(name=name)
            .remote(name, self._setup, shape, self._storage_path, self._max_failures)
        )
        self._members[name] = _Member(Lease(name, group), shape, busy)
        return self._members[name]

    @staticmethod
    async def _end(member: _Member) -> None:
        """Close a group and free what it held; a group that died needs no closing."""
        try:
            await member.lease.group.close.remote()
            await asyncio.wait_for(member.lease.group.wait_closed.remote(), timeout=30)
        except (ray.exceptions.RayActorError, TimeoutError):
            pass
        ray.kill(member.lease.group)
