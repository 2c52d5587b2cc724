"""The pool of worker groups: leases by shape, within the nodes that it was given."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import ray.train
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from tiny_models import setup

from trainables.group import WorkerGroup
from trainables.pool import Lease, WorkerPool
from trainables.workers.causes import GroupFailed
from trainables.workers.execution import GroupShape
from trainables.workers.groups import PoolStatus
from trainables.workers.jobs import EvaluateJob

pytestmark = pytest.mark.usefixtures("local_ray")

# One core stands for a GPU: a worker that reserves a GPU insists on computing there.
HALF, ONE = GroupShape(cpus=0.5), GroupShape(cpus=1)


@pytest.fixture
def make_pool(base: Path, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    pools = []

    def make(**options: Any) -> Any:
        actor = ray.remote(num_cpus=0, max_concurrency=100)(WorkerPool)
        pools.append(actor.remote(setup(base), [{"CPU": 1}], str(tmp_path), 0, **options))
        return pools[-1]

    yield make
    for pool in pools:
        ray.get(pool.close.remote(), timeout=120)


def lease(pool: Any, shape: GroupShape = ONE, holder: str = "") -> Lease:
    leased: Lease = ray.get(pool.lease.remote(shape, holder), timeout=90)
    return leased


def waits(pending: Any) -> bool:
    return not ray.wait([pending], timeout=0.5)[0]


def evaluated(leased: Lease) -> int:
    sequence = ray.get(leased.group.submit.remote(EvaluateJob()))
    report = ray.get(leased.group.next_report.remote(sequence), timeout=120)
    assert report.error is None
    return len(report.evaluations)


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def status(pool: Any) -> PoolStatus:
    found: PoolStatus = ray.get(pool.status.remote(), timeout=5)
    return found


def until_all_is_free() -> None:
    until(lambda: ray.available_resources().get("CPU") == 2, "cores are still held")


@ray.remote(num_cpus=0)
class Trial:
    """Stands for a trial's process: it leases a group and keeps it."""

    def lease(self, pool: Any, shape: GroupShape, name: str) -> tuple[int, Lease]:
        return os.getpid(), ray.get(pool.lease.remote(shape, name))


@pytest.mark.slow
def test_two_shapes_take_turns(make_pool: Callable[..., Any]) -> None:
    """One walk, so that only three groups have to start."""
    pool = make_pool(max_idle=1)
    ray.get(pool.warm_up.remote({HALF: 5}))
    assert status(pool).starting == {HALF: 1}, "no more are warmed up than may be idle"
    first = lease(pool, HALF)
    assert evaluated(first) == 2
    second = lease(pool, HALF)
    assert second.name != first.name
    assert status(pool).leased == {HALF: 2}

    # Whoever died while waiting is granted nothing.
    dead = pool.lease.remote(HALF, "dead")
    assert waits(dead), "a third half was leased"
    ray.get(pool.reclaim.remote("dead"))
    with pytest.raises(ray.exceptions.RayError):
        ray.get(dead, timeout=10)
    ray.get(pool.release.remote(first.name))
    assert status(pool).idle == {HALF: 1}

    # Nobody waits while a group ends: here, the one more that would be idle.
    ray.get(pool.release.remote(second.name), timeout=5)
    now = status(pool)
    assert (now.idle, now.closing) == ({HALF: 1}, {HALF: 1})
    (again,) = ray.get([pool.lease.remote(HALF)], timeout=1)
    assert again.name == second.name, "the one used last stays"
    ray.get(pool.release.remote(again.name))

    # The whole is free only when both halves are gone.
    trial = Trial.remote()
    pid, whole = ray.get(trial.lease.remote(pool, ONE, "trial"), timeout=90)
    assert evaluated(whole) == 2
    assert status(pool).leased == {ONE: 1}
    waiting = pool.lease.remote(HALF)
    assert waits(waiting)
    ray.get(pool.reclaim.remote("another trial"))
    assert evaluated(whole) == 2, "a lease was taken from a holder that lives"

    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([process for process in psutil.process_iter() if process.pid == pid], timeout=10)
    ray.get(pool.reclaim.remote("trial"))
    assert evaluated(ray.get(waiting, timeout=90)) == 2
    ray.get(pool.close.remote(), timeout=60)
    until_all_is_free()


def test_a_shape_that_can_never_fit_is_refused(make_pool: Callable[..., Any]) -> None:
    pool = make_pool()
    with pytest.raises(ValueError, match=r"3 worker.* x \(0.5 CPU, 0 GPU\) don't fit 1 x \(1 CPU, 0 GPU\)"):
        lease(pool, GroupShape(workers=3, cpus=0.5))
    with pytest.raises(ValueError, match=r"\(1 CPU, 1 GPU\) don't fit"):
        lease(pool, GroupShape(gpus=1))


@pytest.mark.slow
def test_a_group_that_never_came_up_leaves_nothing(make_pool: Callable[..., Any]) -> None:
    """Another study holds the cores."""
    other = placement_group([{"CPU": 2}])
    assert other.wait(30)
    pool = make_pool()
    pending = pool.lease.remote(ONE)
    assert waits(pending)
    until(lambda: "PENDING" in states(), "Ray was not asked for workers")
    ray.get(pool.close.remote(), timeout=60)
    until(lambda: "PENDING" not in states(), "Ray is still asked for workers")
    remove_placement_group(other)
    until_all_is_free()


def states() -> list[str]:
    return [group["state"] for group in placement_group_table().values()]


def found_by_rank_0(folder: Path) -> str:
    """Return a model's folder that becomes another one when it gets to a worker of another rank."""

    class Folder(str):  # here and not above, since the pool can't import this module
        def __reduce__(self) -> Any:
            return as_seen_here, (str(self),)

    def as_seen_here(path: str) -> str:
        try:
            rank = ray.train.get_context().get_world_rank()
        except RuntimeError:  # not in a worker
            return Folder(path)
        return path if rank == 0 else f"{path}-is-not-here"

    return Folder(folder)


@pytest.mark.slow
def test_one_of_two_workers_that_can_not_load_the_model_is_heard(base: Path, tmp_path: Path) -> None:
    """Its fellow waits for it in a collective, and so Ray Train never ends."""
    broken = replace(setup(base), model=found_by_rank_0(base))
    actor = ray.remote(num_cpus=0, max_concurrency=100)(WorkerPool)
    pool = actor.remote(broken, [{"CPU": 1}], str(tmp_path), 0)
    leased = lease(pool, GroupShape(workers=2, cpus=0.5))
    with pytest.raises(GroupFailed, match=r"ModelError: model '.*is-not-here' can't be loaded"):
        evaluated(leased)
    ended = leased.group.wait_closed.remote()
    assert waits(ended), "the workers ended by themselves, so that this shows nothing"
    ray.get(pool.release.remote(leased.name, usable=False))
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(ended, timeout=60)
    ray.get(pool.close.remote(), timeout=60)
    until_all_is_free()


@pytest.mark.slow
def test_a_group_that_fails_to_close_gives_its_place_back(make_pool: Callable[..., Any]) -> None:
    pool = make_pool()
    leased = lease(pool)

    def break_it(group: WorkerGroup) -> None:
        group._ended = None  # type: ignore[assignment]

    ray.get(leased.group.__ray_call__.remote(break_it))
    ray.get(pool.release.remote(leased.name, usable=False))
    until(lambda: not status(pool).closing, "the group still counts as closing")
