"""How a subset's trials are carried out: the first of several ways, cheapest in time first, that fits.

The ways, and why in this order:

1. A share of a GPU, if there are more trials to run than GPUs: several small trials keep a device busier
   than one after another. Only with the whole batch in one pass, for a trial that would have to save memory
   has no place beside another.
2. A GPU with passes of half as many samples again and again: adding up gradients costs next to nothing while
   a pass still fills the device.
3. Activations computed again: about a third more time.
4. Shards on 2, 4, 8... GPUs: each pass then waits for weights from other devices. More replicas would never
   help, since each needs as much memory as one.

The first fit in this order never takes more GPUs on devices with more memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from search.clusters.devices import Node
from search.config import Sharding
from trainables.workers.capacity import Capacity
from trainables.workers.execution import Execution, GroupShape

if TYPE_CHECKING:
    from trainables.cost.memory import Load, MemoryEstimate
    from trainables.manifest import TrainableManifest

# Each process has a context of its own on the device, so more than these would waste it.
MOST_SHARERS: Final = 4


class Estimates(Protocol):
    """What `trainables.cost.memory.Estimator` offers."""

    def estimate(self, manifest: TrainableManifest, load: Load) -> MemoryEstimate:
        """Return what one worker needs."""

    def least(self, manifest: TrainableManifest, load: Load) -> int:
        """Return a bound below `estimate(...).total`, at no cost."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the user fixed, and what is computed where None.

    Attributes:
        batch_size: Samples per optimiser step, over all workers; the largest batch of the study.
        eval_batch: Samples per forward pass of an evaluation, at most.
        cpus: CPU cores per worker.
        workers: Workers per trial.
        gpus: GPUs per worker.
        sharding: How several workers hold the model.
        micro_batch: Samples per forward pass and worker.
        checkpointing: Whether activations are computed again.
        at_a_time: Trials that may run at a time.
        smallest_batch: Samples of the study's smallest batch, of which each worker takes at least one.
        elastic: Whether groups may come down to fewer workers, whose passes are then to stay as large.
    """

    batch_size: int
    eval_batch: int
    cpus: float = 1.0
    workers: int | None = None
    gpus: float | None = None
    sharding: Sharding = "auto"
    micro_batch: int | None = None
    checkpointing: bool | None = None
    at_a_time: int = 1
    smallest_batch: int | None = None
    elastic: bool = False


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How the trials of a subset are carried out.

    Attributes:
        execution: Workers, passes and recomputation.
        estimate: What one worker needs.
        eval_batch: Samples per forward pass of an evaluation.
    """

    execution: Execution
    estimate: MemoryEstimate
    eval_batch: int


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """A subset that fits in no way.

    Attributes:
        estimate: What one worker needs at the least.
        load: The way that needs it.
        gpus_needed: GPUs of the cluster's kind that would do; None if not even a thousand would.
    """

    estimate: MemoryEstimate
    load: Load
    gpus_needed: int | None


@dataclass(frozen=True, kw_only=True)
class _Way:
    """Workers that hold a model in one manner; how large their passes are is open."""

    workers: int = 1
    share: float = 1.0
    sharded: bool = False
    checkpointing: bool = False
    thrifty: bool = True  # whether passes may be made smaller to fit


def fit_gpus(
    manifest: TrainableManifest, estimates: Estimates, wish: Wish, nodes: Sequence[Node], memory: int
) -> Fit | Misfit:
    """Return the first way to carry out a subset's trials that fits the cluster's GPUs.

    Args:
        manifest: What the subset trains.
        estimates: What one worker needs.
        wish: What the user fixed.
        nodes: The cluster's nodes.
        memory: Bytes of the smallest GPU, for a worker may be placed on any.
    """
    ways = list(_ways(wish, nodes))
    for way in ways:
        if (fit := _fit(manifest, estimates, wish, way, memory)) is not None:
            return fit
    last = _smallest_load(ways[-1], wish)
    return Misfit(
        estimate=estimates.estimate(manifest, last),
        load=last,
        gpus_needed=_gpus_needed(manifest, estimates, wish, memory),
    )


def fit_unplanned(manifest: TrainableManifest, estimates: Estimates, wish: Wish, gpus: float) -> Fit:
    """Return the simplest way, where memory sets no bound or is not known.

    Args:
        manifest: What the subset trains.
        estimates: What one worker needs.
        wish: What the user fixed.
        gpus: GPUs per worker.
    """
    way = _Way(
        workers=wish.workers or 1,
        share=gpus,
        sharded=wish.sharding == "fsdp" and (wish.workers or 1) > 1,
        checkpointing=bool(wish.checkpointing),
    )
    micro = _ladder(wish, way)[0]
    return _made(manifest, estimates, wish, way, micro, wish.eval_batch)


def capacity(nodes: Sequence[Node]) -> Capacity:
    """Return what the nodes have, as the pool counts it."""
    return Capacity({str(i): {"CPU": node.cpus, "GPU": node.gpus} for i, node in enumerate(nodes)})


def _most_workers(nodes: Sequence[Node], wish: Wish, share: float) -> int:
    """Return how many workers the largest group has that fits, up to one a sample."""
    there = capacity(nodes)
    for workers in range(wish.smallest_batch or wish.batch_size, 0, -1):
        if there.find(GroupShape(workers=workers, cpus=wish.cpus, gpus=share)) is not None:
            return workers
    return 0


def _ways(wish: Wish, nodes: Sequence[Node]) -> Iterator[_Way]:
    """Yield the ways in the order in which they are tried."""
    recompute = (False, True) if wish.checkpointing is None else (wish.checkpointing,)
    if wish.gpus is not None:
        share = wish.gpus
    else:
        share = 1.0
        if (wish.workers or 1) == 1 and wish.sharding != "fsdp":
            for sharers in _sharers(wish, nodes):
                yield _Way(share=1 / sharers, checkpointing=bool(wish.checkpointing), thrifty=False)
    for workers, sharded in _groups(wish, _most_workers(nodes, wish, share)):
        for checkpointing in recompute:
            yield _Way(workers=workers, share=share, sharded=sharded, checkpointing=checkpointing)


def _sharers(wish: Wish, nodes: Sequence[Node]) -> list[int]:
    """Return how many trials may share a GPU, most first: as many as there are trials or cores for."""
    gpus = capacity(nodes).count(GroupShape(cpus=wish.cpus, gpus=1.0))
    wanted = wish.at_a_time / max(1, gpus)
    return [
        sharers
        for sharers in (MOST_SHARERS, MOST_SHARERS // 2)
        if wanted > sharers // 2
        and capacity(nodes).count(GroupShape(cpus=wish.cpus, gpus=1 / sharers)) >= sharers * gpus
    ]


def _groups(wish: Wish, most: int) -> Iterator[tuple[int, bool]]:
    """Yield (workers, sharded): the user's number, or one, and then shards on more and more."""
    if wish.workers is not None:
        if wish.workers == 1 or wish.sharding != "fsdp":
            yield wish.workers, False
        if wish.workers > 1 and wish.sharding != "ddp":
            yield wish.workers, True
        return
    if wish.sharding != "fsdp" or most < 2:
        yield 1, False
    if wish.sharding == "ddp":
        return
    workers = 2
    while workers < most:
        yield workers, True
        workers *= 2
    if most >= 2:
        yield most, True


def _fit(manifest: TrainableManifest, estimates: Estimates, wish: Wish, way: _Way, memory: int) -> Fit | None:
    """Return a way with the largest passes that fit, or None."""
    room = math.floor(memory * min(way.share, 1.0))

    def fits(micro: int, evaluated: int) -> bool:
        return estimates.estimate(manifest, _load(way, micro, evaluated)).total <= room

    if estimates.least(manifest, _load(way, 1, 1)) > room:
        return None
    if not way.thrifty:
        micro = _ladder(wish, way)[0]
        return (
            _made(manifest, estimates, wish, way, micro, wish.eval_batch)
            if fits(micro, wish.eval_batch)
            else None
        )
    chosen = _first(_ladder(wish, way), lambda micro: fits(micro, 1))
    if chosen is None:
        return None
    evaluated = _first(_halves(wish.eval_batch), lambda batch: fits(chosen, batch))
    assert evaluated is not None, "one sample at a time was found to fit"
    return _made(manifest, estimates, wish, way, chosen, evaluated)


def _made(
    manifest: TrainableManifest, estimates: Estimates, wish: Wish, way: _Way, micro: int, evaluated: int
) -> Fit:
    shape = GroupShape(workers=way.workers, cpus=wish.cpus, gpus=way.share, sharded=way.sharded)
    whole = micro >= math.ceil(wish.batch_size / way.workers)
    return Fit(
        execution=Execution(
            shape=shape,
            micro_batch_size=None if whole and not wish.elastic else micro,
            activation_checkpointing=way.checkpointing,
        ),
        estimate=estimates.estimate(manifest, _load(way, micro, evaluated)),
        eval_batch=evaluated,
    )


def _gpus_needed(manifest: TrainableManifest, estimates: Estimates, wish: Wish, memory: int) -> int | None:
    """Return how many GPUs of this size would hold a subset's trial, whatever the user fixed and there is."""
    for workers in (2**power for power in range(11)):
        way = _Way(workers=workers, sharded=workers > 1, checkpointing=True)
        if estimates.estimate(manifest, _load(way, 1, 1)).total <= memory:
            return workers
    return None


def _smallest_load(way: _Way, wish: Wish) -> Load:
    return _load(way, _ladder(wish, way)[-1], 1)


def _load(way: _Way, micro: int, evaluated: int) -> Load:
    from trainables.cost.memory import Load

    return Load(
        workers=way.workers,
        sharded=way.sharded,
        micro_batch=micro,
        checkpointing=way.checkpointing,
        eval_batch=evaluated,
    )


def _ladder(wish: Wish, way: _Way) -> list[int]:
    """Return the sizes of a pass that may be tried, largest first."""
    share = math.ceil(wish.batch_size / way.workers)
    return _halves(share) if wish.micro_batch is None else [min(wish.micro_batch, share)]


def _halves(count: int) -> list[int]:
    """Return a number, half of it and so on, rounded up, down to 1."""
    found = [count]
    while found[-1] > 1:
        found.append(math.ceil(found[-1] / 2))
    return found


def _first(falling: Sequence[int], fits: Callable[[int], bool]) -> int | None:
    """Return the first number that fits, given that all after it do, too; few are tried."""
    low, high = 0, len(falling)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(falling[middle]) else (middle + 1, high)
    return falling[low] if low < len(falling) else None
