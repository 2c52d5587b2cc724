"""Which way to carry out a trial is chosen, of a model whose memory is a sum that can be done by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.clusters.devices import Node
from search.planning.fitting import Fit, Misfit, Wish, capacity, fit_gpus, fit_unplanned
from trainables.cost.memory import Load, MemoryEstimate
from trainables.workers.execution import GroupShape

ANY: Any = None  # the manifest, which these estimates don't look at


@dataclass(frozen=True)
class Sums:
    """States that shards divide, activations by the sample, a tenth of it when recomputed, and a context."""

    states: int
    sample: int
    evaluation: int = 0
    context: int = 0

    def estimate(self, _: Any, load: Load) -> MemoryEstimate:
        passes = self.sample * load.micro_batch
        if load.checkpointing:
            passes = math.ceil(passes / 10)
        return MemoryEstimate(
            weights=self._states(load),
            saved_base=0,
            gradients=0,
            optimizer=0,
            activations=max(passes, self.evaluation * load.eval_batch),
            overhead=self.context,
        )

    def least(self, _: Any, load: Load) -> int:
        return self._states(load) + self.context

    def _states(self, load: Load) -> int:
        return math.ceil(self.states / (load.workers if load.sharded else 1))


def nodes(*gpus: int, cpus: float = 64.0) -> list[Node]:
    return [Node(cpus=cpus, gpus=count) for count in gpus]


def fit(sums: Sums, memory: int, *gpus: int, **wish: Any) -> Fit | Misfit:
    return fit_gpus(ANY, sums, Wish(**{"batch_size": 16, "eval_batch": 4, **wish}), nodes(*gpus), memory)


def test_each_worker_has_a_sample_of_the_smallest_batch() -> None:
    """States of 80 and a sample of 1 need shards on 8 GPUs of 12; a batch of 4 is not for 8 workers."""
    sums = Sums(states=80, sample=1)
    assert isinstance(made := fit(sums, 12, 8), Fit)
    assert made.execution.shape.workers == 8
    assert isinstance(few := fit(sums, 12, 8, smallest_batch=4), Misfit)
    assert few.load.workers == 4


@pytest.mark.parametrize(
    ("memory", "shape", "micro", "recomputed"),
    [
        # 40 + 16 x 10 = 200 fit whole; 40 + 8 x 10 = 120; 40 + 10 = 50.
        (200, GroupShape(gpus=1.0), None, False),
        (199, GroupShape(gpus=1.0), 8, False),
        (119, GroupShape(gpus=1.0), 4, False),
        (50, GroupShape(gpus=1.0), 1, False),
        # Recomputed, a sample is 1: 40 + 8 = 48; 40 + 1 = 41.
        (49, GroupShape(gpus=1.0), 8, True),
        (41, GroupShape(gpus=1.0), 1, True),
        # Two shards of 20: 20 + 2 x 10 = 40 for 2 of 8 samples each; 20 + 1 = 21 recomputed.
        (40, GroupShape(workers=2, gpus=1.0, sharded=True), 2, False),
        (21, GroupShape(workers=2, gpus=1.0, sharded=True), 1, True),
        # Four shards of 10: 10 + 10 = 20.
        (20, GroupShape(workers=4, gpus=1.0, sharded=True), 1, False),
    ],
)
def test_the_cheapest_way_that_fits(
    memory: int, shape: GroupShape, micro: int | None, recomputed: bool
) -> None:
    found = fit(Sums(states=40, sample=10), memory, 8)
    assert isinstance(found, Fit)
    assert found.execution.shape == shape
    assert found.execution.micro_batch_size == micro
    assert found.execution.activation_checkpointing == recomputed
    assert found.estimate.total <= memory


@pytest.mark.parametrize(
    ("at_a_time", "gpus", "share"),
    # One GPU for each of 2 trials; 3 or 4 trials on 2 GPUs share by two, more share by four.
    [(2, 2, 1.0), (3, 2, 0.5), (4, 2, 0.5), (5, 2, 0.25), (50, 2, 0.25), (1, 1, 1.0)],
)
def test_small_trials_share_a_gpu_where_there_are_more_of_them_than_gpus(
    at_a_time: int, gpus: int, share: float
) -> None:
    found = fit(Sums(states=1, sample=1), 1000, gpus, at_a_time=at_a_time)
    assert isinstance(found, Fit)
    assert found.execution.shape == GroupShape(gpus=share)


def test_a_share_holds_the_whole_batch_and_evaluation_or_none_is_taken() -> None:
    """40 + 160 = 200 fit a quarter of 800; evaluations of 4 x 50 samples beside 40 need 240."""
    assert fit(Sums(40, 10), 800, 1, at_a_time=9).execution.shape.gpus == 0.25  # type: ignore[union-attr]
    assert fit(Sums(40, 10), 799, 1, at_a_time=9).execution.shape.gpus == 0.5  # type: ignore[union-attr]
    assert fit(Sums(40, 10, 50), 800, 1, at_a_time=9).execution.shape.gpus == 0.5  # type: ignore[union-attr]
    assert fit(Sums(40, 10), 399, 1, at_a_time=9).execution.shape.gpus == 1.0  # type: ignore[union-attr]


def test_no_more_share_a_gpu_than_there_are_cores_for() -> None:
    wish = Wish(batch_size=16, eval_batch=4, at_a_time=9, cpus=4.0)
    for cpus, share in ((16.0, 0.25), (15.0, 0.5), (8.0, 0.5), (7.0, 1.0)):
        found = fit_gpus(ANY, Sums(1, 1), wish, [Node(cpus=cpus, gpus=1)], 1000)
        assert isinstance(found, Fit)
        assert found.execution.shape.gpus == share


def test_evaluations_take_what_room_there_is() -> None:
    """60 beside 40: one evaluated sample takes 25, so of 64, 32, 16, 8, 4 and 2 the last fits."""
    found = fit(Sums(40, 1, evaluation=25), 100, 1, eval_batch=64)
    assert isinstance(found, Fit)
    assert (found.execution.micro_batch_size, found.eval_batch) == (None, 2)


def test_three_gpus_are_taken_where_two_don_t_do() -> None:
    found = fit(Sums(60, 1), 25, 3)
    assert isinstance(found, Fit)
    assert found.execution.shape == GroupShape(workers=3, gpus=1.0, sharded=True)


def test_what_fits_nowhere_says_what_it_would_need() -> None:
    """100 and a sample of 1 recomputed on 2 GPUs: 51 each; 8 GPUs would hold 13 + 1 each."""
    found = fit(Sums(100, 10), 15, 2)
    assert isinstance(found, Misfit)
    assert (found.estimate.total, found.load.workers, found.load.micro_batch) == (51, 2, 1)
    assert found.gpus_needed == 8
    hopeless = fit(Sums(100, 10, context=20), 15, 2)
    assert isinstance(hopeless, Misfit)
    assert hopeless.gpus_needed is None


@pytest.mark.parametrize(
    ("wish", "shape"),
    [
        # Replicas where they fit, shards where they don't, and what was asked for in any case.
        ({"workers": 2}, GroupShape(workers=2, gpus=1.0)),
        ({"workers": 2, "sharding": "fsdp"}, GroupShape(workers=2, gpus=1.0, sharded=True)),
        ({"sharding": "fsdp"}, GroupShape(workers=2, gpus=1.0, sharded=True)),
        ({"sharding": "ddp", "workers": 4}, GroupShape(workers=4, gpus=1.0)),
        ({"gpus": 0.5}, GroupShape(gpus=0.5)),
        ({"gpus": 2.0, "cpus": 3.0}, GroupShape(gpus=2.0, cpus=3.0)),
    ],
)
def test_the_user_s_settings_are_kept(wish: dict[str, Any], shape: GroupShape) -> None:
    found = fit(Sums(40, 1), 200, 8, **wish)
    assert isinstance(found, Fit)
    assert found.execution.shape == shape


def test_replicas_that_don_t_fit_become_shards_unless_the_user_wants_replicas() -> None:
    assert fit(Sums(40, 1), 30, 8, workers=2).execution.shape.sharded  # type: ignore[union-attr]
    assert isinstance(fit(Sums(40, 1), 30, 8, workers=2, sharding="ddp"), Misfit)
    assert isinstance(fit(Sums(40, 1), 30, 8, sharding="ddp"), Misfit)


def test_without_a_known_memory_nothing_is_planned() -> None:
    wish = Wish(batch_size=16, eval_batch=4, micro_batch=3, checkpointing=True)
    found = fit_unplanned(ANY, Sums(40, 1), wish, 1.0)
    assert (found.execution.shape, found.eval_batch) == (GroupShape(gpus=1.0), 4)
    assert (found.execution.micro_batch_size, found.execution.activation_checkpointing) == (3, True)


@pytest.mark.parametrize(
    ("gpus", "count"),
    # Shares of 0.4 fit a device twice, not 2.5 times, so four devices hold 8 and not 10.
    [(0.0, 64), (0.25, 16), (0.4, 8), (0.5, 8), (1.0, 4), (2.0, 2), (3.0, 1), (5.0, 0)],
)
def test_a_share_lies_on_one_device(gpus: float, count: int) -> None:
    assert capacity(nodes(4)).count(GroupShape(gpus=gpus)) == count


SUMS = st.builds(
    Sums,
    states=st.integers(1, 400),
    sample=st.integers(1, 60),
    evaluation=st.integers(0, 60),
    context=st.integers(0, 10),
)
WISHES = st.builds(
    Wish,
    batch_size=st.integers(4, 40),
    eval_batch=st.integers(1, 64),
    cpus=st.sampled_from([0.5, 1.0, 4.0]),
    workers=st.sampled_from([None, None, 1, 2, 4]),
    gpus=st.sampled_from([None, None, 0.5, 1.0, 2.0]),
    sharding=st.sampled_from(["auto", "ddp", "fsdp"]),
    micro_batch=st.sampled_from([None, None, 1, 3]),
    checkpointing=st.sampled_from([None, None, True, False]),
    at_a_time=st.integers(1, 40),
).filter(lambda wish: not (wish.workers == 1 and wish.sharding == "fsdp"))
CLUSTERS = st.lists(st.integers(1, 8), min_size=1, max_size=4)


@settings(deadline=None)
@given(sums=SUMS, wish=WISHES, gpus=CLUSTERS, memory=st.integers(1, 1500))
def test_a_chosen_way_fits_its_device_and_keeps_what_the_user_fixed(
    sums: Sums, wish: Wish, gpus: list[int], memory: int
) -> None:
    found = fit_gpus(ANY, sums, wish, nodes(*gpus), memory)
    if isinstance(found, Misfit):
        assert found.estimate.total > memory * min(1.0, wish.gpus or 1.0)
        return
    shape, execution = found.execution.shape, found.execution
    assert found.estimate.total <= memory * min(1.0, shape.gpus)
    share = math.ceil(wish.batch_size / shape.workers)
    load = Load(
        workers=shape.workers,
        sharded=shape.sharded,
        micro_batch=execution.micro_batch_size or share,
        checkpointing=execution.activation_checkpointing,
        eval_batch=found.eval_batch,
    )
    assert found.estimate == sums.estimate(ANY, load)
    assert shape.workers <= wish.batch_size
    assert 1 <= found.eval_batch <= wish.eval_batch
    assert execution.micro_batch_size is None or execution.micro_batch_size < share
    assert shape.cpus == wish.cpus
    assert wish.workers in (None, shape.workers)
    assert wish.gpus in (None, shape.gpus)
    assert wish.checkpointing in (None, execution.activation_checkpointing)
    assert wish.micro_batch is None or load.micro_batch == min(wish.micro_batch, share)
    assert not (wish.sharding == "ddp" and shape.sharded)
    assert not (wish.sharding == "fsdp" and shape.workers > 1 and not shape.sharded)
    # Computed groups exist on the cluster; a group that the user asked for may not.
    if wish.workers is None and wish.gpus is None:
        assert capacity(nodes(*gpus)).find(shape) is not None


@settings(deadline=None)
@given(sums=SUMS, wish=WISHES, gpus=CLUSTERS, memory=st.integers(1, 1000), more=st.integers(1, 1000))
def test_more_memory_never_takes_more_gpus(
    sums: Sums, wish: Wish, gpus: list[int], memory: int, more: int
) -> None:
    small, large = (fit_gpus(ANY, sums, wish, nodes(*gpus), size) for size in (memory, memory + more))
    if isinstance(small, Misfit):
        return
    assert isinstance(large, Fit)
    taken, needed = small.execution.shape, large.execution.shape
    assert needed.workers * needed.gpus <= taken.workers * taken.gpus
