"""The pool of worker groups: leases by shape, within the resources that it was given."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from tiny_models import setup

from trainables.execution import GroupShape
from trainables.group import GroupFailed
from trainables.jobs import EvaluateJob
from trainables.pool import Lease, WorkerPool

pytestmark = pytest.mark.usefixtures("local_ray")

ONE, PAIR = GroupShape(workers=1, cpus=1), GroupShape(workers=2, cpus=1)
HALVES = GroupShape(workers=2, cpus=0.5)


@pytest.fixture
def make_pool(base: Path, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    pools = []

    def make(cpus: float = 2, gpus: float = 0) -> Any:
        actor = ray.remote(num_cpus=0, max_concurrency=100)(WorkerPool)
        pools.append(actor.remote(setup(base), cpus, gpus, str(tmp_path), 0))
        return pools[-1]

    yield make
    for pool in pools:
        ray.get(pool.close.remote(), timeout=120)


def lease(pool: Any, shape: GroupShape = ONE) -> Lease:
    leased: Lease = ray.get(pool.lease.remote(shape), timeout=60)
    return leased


def waits(pending: Any) -> bool:
    return not ray.wait([pending], timeout=0.5)[0]


def evaluated(leased: Lease) -> int:
    sequence = ray.get(leased.group.submit.remote(EvaluateJob()))
    report = ray.get(leased.group.next_report.remote(sequence), timeout=120)
    return len(report.evaluations)


def test_leases_groups_and_frees_what_they_took(make_pool: Callable[..., Any]) -> None:
    """One walk through a pool of one core, so that only two groups have to start."""
    before = ray.available_resources()["CPU"]
    assert before == 2
    pool = make_pool(cpus=1)
    ray.get(pool.warm_up.remote(ONE, 5))
    started = ray.get(pool.__ray_call__.remote(lambda actor: list(actor._members)))
    assert len(started) == 1, "warming up starts as many groups as fit"
    first = lease(pool)
    assert [first.name] == started

    second = pool.lease.remote(ONE)
    assert waits(second), "a second group of one core was leased out of one core"
    ray.get(pool.release.remote(first.name))
    assert ray.get(second, timeout=10).name == first.name, "the idle group is leased again"
    assert evaluated(first) == 2

    # The other shape fits only where the first group is.
    other = pool.lease.remote(HALVES, "trial")
    assert waits(other)
    ray.get(pool.release.remote(first.name))
    leased = ray.get(other, timeout=90)
    assert leased.name != first.name
    assert evaluated(leased) == 2

    ray.get(pool.reclaim.remote("another trial"))
    assert evaluated(leased) == 2, "a lease was taken from a holder that lives"
    ray.get(pool.reclaim.remote("trial"))
    assert ray.get(pool.__ray_call__.remote(lambda actor: list(actor._members))) == []
    ray.get(pool.close.remote(), timeout=120)
    deadline = time.monotonic() + 30
    while (left := ray.available_resources().get("CPU", 0)) != before:
        assert time.monotonic() < deadline, f"{before - left} cores were not given back"
        time.sleep(0.2)
    with pytest.raises((GroupFailed, ray.exceptions.RayActorError)):
        evaluated(leased)


def test_a_shape_that_can_never_fit_is_refused(make_pool: Callable[..., Any]) -> None:
    pool = make_pool(cpus=1)
    with pytest.raises(ValueError, match=r"workers=2, cpus=1.* needs more than the pool's 1 CPUs and 0 GPUs"):
        lease(pool, PAIR)
    with pytest.raises(ValueError, match="needs more than the pool's"):
        lease(pool, GroupShape(gpus=1))
