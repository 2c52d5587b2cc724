"""WorkerPool: the one owner of warm worker groups, which it leases by shape within a cluster's resources."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._private.state import state
from ray.util.placement_group import PlacementGroup, remove_placement_group

from trainables.files import write_atomically
from trainables.group import WorkerGroup
from trainables.orphans import remove_orphans
from trainables.workers.execution import GroupShape
from trainables.workers.groups import Action, Close, Grant, PoolStatus, Start
from trainables.workers.jobs import WorkerSetup
from trainables.workers.nodes import Nodes, Resources
from trainables.workers.packing import Packer

# What must outlive the loss of a worker's node runs on the head; Ray declares this resource there.
ON_HEAD = {"node:__internal_head__": 0.0001}
_TICK = 1.0  # seconds between decisions when nothing else happens
_LOOK = 5.0  # seconds between looks at the cluster's nodes
_CLOSING = 120.0  # seconds for workers to end by themselves, which may first write a checkpoint
_SWEEPS = 12  # looks after a death, in each of which orphans are freed
_FAILING = 3.0  # the same in a group that failed: some may wait for one that is gone


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to use a worker group until it is released.

    Attributes:
        name: The group's name.
        group: Handle of its `WorkerGroup` actor.
        max_failures: Groups that may be leased in this one's place, one after another, if it dies.
    """

    name: str
    group: Any
    max_failures: int = 0


class WorkerPool:
    """The actor; make it with `ray.remote(num_cpus=0, resources=ON_HEAD)(WorkerPool)`.

    It may be restarted, with its calls repeated (`max_restarts`, `max_task_retries`): its groups die with it,
    whoever holds one leases another, and the new pool frees what Ray still reserves for the dead.

    It carries out what a `Packer` decides. Everything happens in one event loop and nothing waits between an
    event and the decisions that follow from it, so that no lock is needed.

    Args:
        setup: What each worker loads, or the file that `write_setup` made: Ray does not vouch for the restart
            of an actor whose own arguments lie in its object store, as large ones do.
        nodes: CPU and GPU of each node that groups may take, those included that an autoscaler may start.
        storage_path: Folder of Ray Train's own state, shared by all nodes.
        max_failures: Restarts after dead workers before a job fails.
        grows: Whether an autoscaler starts nodes that groups wait for.
        max_idle: Idle groups kept alive; None keeps as many as there is room for.
        idle_seconds: How long a group stays idle before it is ended, for the sake of other studies.
        hang_seconds: Workers that give no sign of progress for so long are started anew.
        min_workers: The fewest workers of a group whose nodes were lost: see `Elastic`.
    """

    def __init__(
        self,
        setup: WorkerSetup | Path,
        nodes: Sequence[Resources],
        storage_path: str,
        max_failures: int,
        *,
        grows: bool = False,
        max_idle: int | None = None,
        idle_seconds: float = 300.0,
        hang_seconds: float = 300.0,
        min_workers: int | None = None,
    ) -> None:
        loaded = ray.cloudpickle.loads(setup.read_bytes()) if isinstance(setup, Path) else setup
        self._setup = ray.put(loaded)  # once, for all groups
        self._storage_path = storage_path
        self._max_failures = max_failures
        self._hang_seconds = hang_seconds
        self._sweeps = _SWEEPS if ray.get_runtime_context().was_current_actor_reconstructed else 0
        self._nodes = Nodes(nodes, _alive(), grows=grows)
        self._packer = Packer(
            self._nodes.present.nodes,
            expected=self._nodes.present.expected,
            max_idle=max_idle,
            idle_seconds=idle_seconds,
            min_workers=min_workers,
            prefix=f"group-{uuid.uuid4().hex[:8]}",
        )
        self._groups: dict[str, Any] = {}  # handles, until they are gone
        self._places: dict[str, PlacementGroup] = {}  # what Ray reserved for a group's workers
        self._holders: dict[str, str] = {}  # leased group -> who holds it
        self._waiting: dict[str, tuple[str, asyncio.Future[Lease]]] = {}  # request -> who waits
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._tasks = {asyncio.create_task(self._tick()), asyncio.create_task(self._look())}

    # ---- for those who want a group

    async def lease(self, shape: GroupShape, holder: str = "") -> Lease:
        """Wait for a group of a shape: an idle one, a new one, or one that takes an idle other shape's place.

        Args:
            shape: What the group must be.
            holder: Who leases it, for `reclaim`. One who asks again has lost what it held or waited for.

        Raises:
            ValueError: The cluster can't ever hold the shape.
        """
        if holder:
            await self.reclaim(holder)
        request = uuid.uuid4().hex
        self._packer.ask(request, shape)
        granted: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        self._waiting[request] = holder, granted
        self._act()
        return await granted

    async def release(self, name: str, *, usable: bool = True) -> None:
        """Give a leased group back.

        Args:
            name: The lease's name.
            usable: False ends the group instead of keeping it for the next lease.
        """
        self._holders.pop(name, None)
        self._act(self._packer.release(name, _now(), usable=usable))

    async def reclaim(self, holder: str) -> None:
        """End the groups that a holder died with, and forget what it waits for."""
        for request, (who, granted) in list(self._waiting.items()):
            if who == holder:
                del self._waiting[request]
                self._packer.withdraw(request)
                granted.cancel()
        for name in [name for name, who in self._holders.items() if who == holder]:
            await self.release(name, usable=False)

    async def warm_up(self, counts: Mapping[GroupShape, int]) -> None:
        """Start up to so many groups of each shape, as far as they fit, without waiting for them."""
        for shape, count in counts.items():
            self._act(self._packer.warm_up(shape, count, _now()))

    async def status(self) -> PoolStatus:
        """Return how many groups and requests there are, by shape."""
        return self._packer.status()

    async def short(self) -> str | None:
        """Say what has waited long for nodes that are not there, in a line; None where nothing has."""
        return self._packer.short(_now())

    async def close(self) -> None:
        """End all groups and wait for Ray Train to have ended their workers."""
        for task in self._tasks:
            task.cancel()
        for request, (_, granted) in self._waiting.items():
            self._packer.withdraw(request)
            granted.cancel()
        self._waiting.clear()
        for name in self._groups:
            self._end(name)
        await asyncio.gather(*self._ending.values())
        if self._sweeps:
            await asyncio.to_thread(remove_orphans)

    # ---- for the groups

    async def starts(self, name: str) -> tuple[str, ...]:
        """Return the nodes that a group shall ask Ray for, now that it starts its workers."""
        return self._packer.starts(name, _now())

    async def placed(self, name: str, nodes: Sequence[str], place: PlacementGroup) -> None:
        """Note that a group's workers are up, where, and what Ray reserved for them."""
        if name in self._groups:
            self._places[name] = place
        self._packer.placed(name, nodes)
        self._act()

    async def ready(self, name: str) -> None:
        """Note that a group can serve."""
        self._packer.ready(name, _now())
        self._act()

    async def shun(self, name: str) -> None:
        """Note that a group's workers could not go on where they are."""
        self._act(self._packer.shun(name, _now()))

    # ---- what follows

    def _act(self, actions: Sequence[Action] = ()) -> None:
        """Carry out actions and the decisions that follow from what happened."""
        for action in [*actions, *self._packer.decide(_now())]:
            if isinstance(action, Start):
                self._start(action)
            elif isinstance(action, Close):
                self._end(action.group)
            elif isinstance(action, Grant):
                holder, granted = self._waiting.pop(action.request)
                self._holders[action.group] = holder
                granted.set_result(Lease(action.group, self._groups[action.group], self._max_failures))

    def _start(self, start: Start) -> None:
        group = (
            ray.remote(num_cpus=0, max_concurrency=1000, resources=ON_HEAD)(WorkerGroup)
            .options(name=start.group)
            .remote(
                start.group,
                self._setup,
                start.shape,
                self._storage_path,
                self._max_failures,
                ray.get_runtime_context().current_actor,
                self._hang_seconds,
            )
        )
        self._groups[start.group] = group
        self._spawn(self._follow(start.group, group))

    def _end(self, name: str) -> None:
        """End a group; its resources count as taken until it is gone."""
        if name not in self._ending:
            self._ending[name] = asyncio.create_task(self._close(name))

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, name: str, group: Any) -> None:
        """Wait until a group can serve no more; unasked, it broke."""
        try:
            await group.wait_over.remote()
        except ray.exceptions.RayActorError:
            pass  # it was killed where it ran, which is not where its workers do
        else:
            if name not in self._ending:
                self._act(self._packer.shun(name, _now()))
        if name not in self._ending:
            self._act(self._packer.broke(name))

    async def _close(self, name: str) -> None:
        """Close a group and free what it held; a group that died needs no closing."""
        group = self._groups[name]
        try:
            serving = await group.close.remote()
            await asyncio.wait_for(group.wait_closed.remote(), timeout=_CLOSING if serving else _FAILING)
        except (ray.exceptions.RayActorError, TimeoutError):
            self._sweeps = _SWEEPS
        finally:
            # Whatever went wrong, nobody must wait for what the group held.
            try:
                ray.kill(group)
                # Ray Train gives a killed group's place back only where a dashboard runs, and after a while.
                if (place := self._places.pop(name, None)) is not None:
                    remove_placement_group(place)
            finally:
                del self._groups[name], self._ending[name]
                self._holders.pop(name, None)
                self._packer.gone(name)
                self._act()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._act()

    async def _look(self) -> None:
        """Follow the nodes that come and go, and free what the dead have left."""
        while True:
            await asyncio.sleep(_LOOK)
            if self._sweeps:
                self._sweeps -= 1
                await asyncio.to_thread(remove_orphans)
            alive = await asyncio.to_thread(_alive)
            before, present = self._nodes.present, self._nodes.update(alive)
            if present != before:
                self._act(self._packer.set_nodes(present.nodes, _now(), expected=present.expected))


def write_setup(setup: WorkerSetup, folder: Path) -> Path:
    """Write what a pool's workers load to a file, for the pool alone; return its path.

    Args:
        setup: What they load.
        folder: Folder of Ray Train's own state.
    """
    path = folder / "setup.pickle"
    write_atomically(path, ray.cloudpickle.dumps(setup))
    return path


def _alive() -> dict[str, Resources]:
    """Return the nodes that workers can be started on; Ray starts none on one that it drains."""
    alive = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    draining = state.get_draining_nodes()
    return {name: resources for name, resources in alive.items() if name not in draining}


def _now() -> float:
    return time.monotonic()
