from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fitting import Sums

from search.clusters.devices import Node
from search.planning.fitting import Wish, capacity
from search.planning.placement import Placement, place, smallest_gpu
from trainables.cost.memory import GIB, Load, MemoryEstimate
from trainables.workers.execution import GroupShape


class BySubset:
    """Estimates whose manifests are the sums themselves."""

    def estimate(self, manifest: Any, load: Load) -> MemoryEstimate:
        return manifest.estimate(manifest, load)

    def least(self, manifest: Any, load: Load) -> int:
        return manifest.least(manifest, load)


def outline(**subsets: Sums) -> Any:
    return SimpleNamespace(
        manifests=subsets or {"qkv": Sums(1, 1)}, estimators={"cuda": BySubset(), "cpu": BySubset()}
    )


def placed(
    nodes: Sequence[Node], *, trials: int = 99, limit: int | None = None, subsets: Any = None, **wish: Any
) -> Placement:
    wished = Wish(**{"batch_size": 16, "eval_batch": 4, **wish})
    return place(subsets or outline(), wished, nodes, trials=trials, limit=limit)


def test_as_many_groups_as_the_cpus_hold() -> None:
    found = placed([Node(cpus=8, drivers=1000)], workers=2, cpus=1.5, trials=16)
    # 8 / (2 x 1.5) = 2.67
    assert found.concurrency == 2
    assert found.trial_resources == {"train_driver": 1.0}
    assert (found.pool_cpus, found.pool_gpus) == (8, 0)


def test_the_scarcer_resource_decides() -> None:
    nodes = [Node(cpus=64, gpus=4, drivers=1000, gpu_memory=10_000)]
    assert placed(nodes, cpus=4, gpus=1).concurrency == 4
    assert placed(nodes, cpus=32, gpus=1).concurrency == 2
    assert placed(nodes, cpus=1, gpus=0.5).concurrency == 8
    assert placed(nodes, workers=4, gpus=1).concurrency == 1


def test_never_more_than_the_trials_the_limit_or_the_drivers() -> None:
    nodes = [Node(cpus=64, drivers=1000)]
    assert placed(nodes, trials=3).concurrency == 3
    assert placed(nodes, trials=30, limit=5).concurrency == 5
    assert placed([Node(cpus=64, drivers=2)], trials=9).concurrency == 2


def test_a_group_is_counted_where_the_pool_can_place_it() -> None:
    """On 3 x 3 GPUs a group of two stays on a node; shares of 0.6 can't spread, so 3 x 1 hold none."""
    big = [Node(cpus=64, gpus=3, drivers=1000)] * 3
    assert placed(big, workers=2, gpus=1).concurrency == 3
    with pytest.raises(ValueError, match=r"a trial needs 3 worker\(s\) x \(1 CPU, 0.6 GPU\)"):
        placed([Node(cpus=64, gpus=1, drivers=1000)] * 3, workers=3, gpus=0.6)


@pytest.mark.parametrize(
    ("cpus", "expected"),
    [
        # Two groups of one core and two drivers of 0.01 need 2.02 cores.
        (2, 1),
        (2.01, 1),
        (2.02, 2),
        (64, 63),
    ],
)
def test_without_a_driver_resource_drivers_take_a_share_of_a_core(cpus: float, expected: int) -> None:
    """However many trials a study has: only those that run at a time need a driver."""
    found = placed([Node(cpus=cpus)], trials=100_000)
    assert found.concurrency == expected
    assert found.trial_resources == {"CPU": 0.01}
    assert found.pool_cpus == pytest.approx(cpus - 0.01 * expected)


@pytest.mark.parametrize(
    ("node", "wish", "message"),
    [
        (Node(cpus=2, drivers=9), {"workers": 3}, r"needs 3 worker\(s\) x \(1 CPU, 0 GPU\).*2 CPU and 0 GPU"),
        (Node(cpus=2, drivers=9), {"gpus": 1}, r"\(1 CPU, 1 GPU\), and there are 2 CPU and 0 GPU"),
        (Node(cpus=1), {}, r"\(1 CPU, 0 GPU\) and 0.01 CPU for its driver, and there are 1 CPU"),
        (Node(cpus=0), {}, "0 CPU"),
    ],
)
def test_what_can_never_run_is_an_error(node: Node, wish: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        placed([node], **wish)


def test_a_worker_must_fit_on_one_node() -> None:
    # 16 GPUs are five times three, but each node of four holds only one worker of three.
    nodes = [Node(cpus=32, gpus=4, drivers=25, gpu_memory=10_000)] * 4
    assert placed(nodes, gpus=3.0).concurrency == 4
    assert placed(nodes, workers=2, gpus=3.0).concurrency == 2
    with pytest.raises(ValueError, match="on 4 nodes"):
        placed(nodes, workers=5, gpus=3.0)


def test_each_subset_has_its_own_way_and_the_smallest_shape_says_how_many_run() -> None:
    """On 2 GPUs of 100: `small` takes a quarter; `large` both, sharded."""
    found = placed(
        [Node(cpus=64, gpus=2, drivers=50, gpu_memory=100)],
        subsets=outline(large=Sums(150, 1), small=Sums(5, 1)),
    )
    assert {name: execution.shape.gpus for name, execution in found.executions.items()} == {
        "large": 1.0,
        "small": 0.25,
    }
    assert found.executions["large"].shape.workers == 2
    assert found.concurrency == 8
    assert found.smallest_shape == found.executions["small"].shape
    assert found.nodes == [{"CPU": 64, "GPU": 2}]


def test_the_smallest_gpu_decides_and_one_that_is_not_known_leaves_all_unplanned() -> None:
    large, small = Node(cpus=8, gpus=1, gpu_memory=80), Node(cpus=8, gpus=1, gpu_memory=24)
    assert smallest_gpu([large, small, Node(cpus=4)]) == 24
    assert smallest_gpu([large, Node(cpus=8, gpus=1)]) is None
    assert smallest_gpu([Node(cpus=4)]) is None
    found = placed([large, Node(cpus=8, gpus=1)], subsets=outline(qkv=Sums(1000, 1)))
    assert found.executions["qkv"].shape.gpus == 1.0
    assert "set resources.gpu_memory_gib" in found.warnings[0]


def test_evaluations_take_what_every_subset_has_room_for() -> None:
    nodes = [Node(cpus=8, gpus=1, gpu_memory=100)]
    subsets = outline(one=Sums(40, 1, evaluation=25), other=Sums(10, 1, evaluation=25))
    found = placed(nodes, subsets=subsets, trials=1, eval_batch=4)
    assert found.eval_batch == 2
    assert found.warnings == ("evaluation.batch_size: 4 samples don't fit at a time, 2 do",)


def test_fewer_gpus_than_any_recipe_needs() -> None:
    nodes = [Node(cpus=8, gpus=1, gpu_memory=10 * GIB)]
    subsets = outline(full=Sums(100 * GIB, 1), qkv=Sums(30 * GIB, 10))
    with pytest.raises(
        ValueError,
        match=r"^resources: fewer GPUs than any recipe needs: there are 1 GPU\(s\) of 10\.0 GiB, and 'qkv', "
        r"the smallest, needs 30\.0 GiB on each of 1: it takes 4 such GPU\(s\)$",
    ):
        placed(nodes, subsets=subsets)


def test_a_subset_that_does_not_fit_is_not_dropped_silently() -> None:
    nodes = [Node(cpus=8, gpus=1, gpu_memory=10 * GIB)]
    subsets = outline(full=Sums(100 * GIB, 1), qkv=Sums(3 * GIB, 10))
    with pytest.raises(
        ValueError,
        match=r"^space\.subsets: some don't fit 1 GPU\(s\) of 10\.0 GiB: full takes 16 such GPU\(s\); "
        r"keep qkv alone, or give",
    ):
        placed(nodes, subsets=subsets)


def test_main_memory_that_is_clearly_too_small_is_told_and_no_more() -> None:
    found = placed([Node(cpus=8, memory=16 * GIB)], subsets=outline(full=Sums(20 * GIB, 1), qkv=Sums(1, 1)))
    assert found.executions["full"].shape.gpus == 0
    assert found.warnings == (
        "a worker that trains 'full' needs about 20.0 GiB, and the largest node has 16.0 GiB of main memory",
    )


@settings(deadline=None)
@given(
    nodes=st.lists(
        st.builds(
            Node,
            cpus=st.integers(0, 100).map(float),
            gpus=st.integers(0, 8).map(float),
            drivers=st.sampled_from([0.0, 0.0, 3.0, 1000.0]),
            gpu_memory=st.just(10_000),
        ),
        min_size=1,
        max_size=4,
    ),
    workers=st.integers(1, 8),
    cpus=st.sampled_from([0.25, 0.5, 1.0, 1.5, 4.0]),
    gpus=st.sampled_from([0.0, 0.25, 0.4, 0.5, 1.0, 2.0]),
    trials=st.integers(1, 5000),
    limit=st.one_of(st.none(), st.integers(1, 50)),
)
def test_groups_and_drivers_fit_together_and_no_more_would(
    nodes: list[Node], workers: int, cpus: float, gpus: float, trials: int, limit: int | None
) -> None:
    """Were drivers and groups to need more than there is, trials could wait for each other for ever."""
    drivers = sum(node.drivers for node in nodes)
    shape = GroupShape(workers=workers, cpus=cpus, gpus=gpus)

    def fits(count: int) -> bool:
        # Wherever Ray puts the drivers, be it all on one node.
        taken = 0 if drivers else 0.01 * count
        left = [Node(cpus=max(0.0, node.cpus - taken), gpus=node.gpus) for node in nodes]
        return capacity(left).count(shape) >= count and (not drivers or count <= drivers)

    try:
        found = placed(nodes, trials=trials, limit=limit, workers=workers, cpus=cpus, gpus=gpus)
    except ValueError:
        assert not fits(1)
        return
    most = min(trials, limit or trials)
    assert 1 <= found.concurrency <= most
    assert fits(found.concurrency)
    assert found.concurrency == most or not fits(found.concurrency + 1)
    # What the pool may take holds every group.
    driver = found.trial_resources.get("CPU", 0)
    for node, left in zip(nodes, found.nodes, strict=True):
        assert left["CPU"] <= max(0.0, node.cpus - driver * found.concurrency) + 1e-6
    assert found.concurrency * workers * cpus <= found.pool_cpus + 1e-6
    assert found.concurrency * workers * gpus <= found.pool_gpus + 1e-6
    assert math.isfinite(found.pool_cpus)
