"""What a study takes from its cluster: how each subset's trials are carried out, how many at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from search.clusters.devices import DRIVER_RESOURCE, Node
from search.planning.fitting import Fit, Misfit, Wish, capacity, fit_gpus, fit_unplanned
from search.planning.outline import Outline
from search.wording import human_bytes
from trainables.workers.execution import Execution, GroupShape, largest_shape

if TYPE_CHECKING:
    from trainables.cost.memory import MemoryEstimate

_DRIVER_CPU = 0.01


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What the study takes from the cluster.

    Attributes:
        executions: `Recipe.variant` -> how its trials are carried out.
        estimates: `Recipe.variant` -> what one of its workers needs.
        eval_batch: Samples per forward pass of an evaluation, which every subset's workers have room for.
        concurrency: Trials at a time, at least 1: as many as would run if all took the smallest shape.
        trial_resources: What a Tune trial's own process reserves: next to nothing, because its worker
            group reserves its own.
        nodes: CPU and GPU of each node that worker groups may take, what drivers take being set aside.
        warnings: What may go wrong, one line each.
    """

    executions: Mapping[str, Execution]
    estimates: Mapping[str, MemoryEstimate]
    eval_batch: int
    concurrency: int
    trial_resources: Mapping[str, float]
    nodes: Sequence[Mapping[str, float]]
    warnings: Sequence[str] = ()

    @property
    def smallest_shape(self) -> GroupShape:
        """The shape that takes the least of the cluster; it holds the model, so it can evaluate it."""
        return min((execution.shape for execution in self.executions.values()), key=_size)

    def shape_for(self, variants: Iterable[str]) -> GroupShape:
        """Return the largest of the shapes that carry out recipes of these variants."""
        return largest_shape(self.executions[variant].shape for variant in variants)

    @property
    def pool_cpus(self) -> float:
        """CPU cores for all worker groups."""
        return sum(node["CPU"] for node in self.nodes)

    @property
    def pool_gpus(self) -> float:
        """GPUs for all worker groups."""
        return sum(node["GPU"] for node in self.nodes)


def place(
    outline: Outline, wish: Wish, nodes: Sequence[Node], *, trials: int, limit: int | None
) -> Placement:
    """Decide how a study's trials are carried out.

    Args:
        outline: What is known of the study's model.
        wish: What the user fixed.
        nodes: The cluster's nodes, those included that an autoscaler may start.
        trials: Trials of the study.
        limit: Bound on trials at a time, or None.

    Raises:
        ValueError: Not even one trial fits, or a subset's trials don't.
    """
    fits = fit_subsets(outline, wish, nodes, trials=trials, limit=limit)
    chosen = {subset: fit for subset, fit in fits.items() if isinstance(fit, Fit)}
    if len(chosen) < len(fits):
        raise ValueError(_do_not_fit(fits, nodes))
    shapes = {fit.execution.shape for fit in chosen.values()}
    most = _trials_at_a_time(nodes, trials, limit)
    driver_cpu = 0.0 if _drivers(nodes) >= 1 else _DRIVER_CPU
    groups = {shape: _groups_at_a_time(shape, nodes, most, driver_cpu) for shape in shapes}
    for shape, count in groups.items():
        if not count:
            raise ValueError(_too_small(shape, nodes, driver_cpu))
    concurrency = max(groups.values())
    return Placement(
        executions={subset: fit.execution for subset, fit in chosen.items()},
        estimates={subset: fit.estimate for subset, fit in chosen.items()},
        eval_batch=min(fit.eval_batch for fit in chosen.values()),
        concurrency=concurrency,
        trial_resources={"CPU": driver_cpu} if driver_cpu else {DRIVER_RESOURCE: 1.0},
        nodes=[
            {"CPU": node.cpus, "GPU": node.gpus} for node in _without_drivers(nodes, driver_cpu * concurrency)
        ],
        warnings=tuple(_warnings(chosen, wish, nodes)),
    )


def fit_subsets(
    outline: Outline, wish: Wish, nodes: Sequence[Node], *, trials: int, limit: int | None
) -> dict[str, Fit | Misfit]:
    """Return how each variant's trials are carried out, or what they lack; see `place`."""
    wish = replace(wish, at_a_time=_trials_at_a_time(nodes, trials, limit))
    gpus = _gpus_per_worker(wish, nodes)
    memory = smallest_gpu(nodes)
    estimates = outline.estimators["cuda" if gpus else "cpu"]
    fits: dict[str, Fit | Misfit] = {}
    for subset, manifest in outline.manifests.items():
        if gpus and memory is not None:
            fits[subset] = fit_gpus(manifest, estimates, wish, nodes, memory)
        else:
            fits[subset] = fit_unplanned(manifest, estimates, wish, gpus)
    return fits


def smallest_gpu(nodes: Sequence[Node]) -> int | None:
    """Return the memory of the smallest GPU in bytes; None if there is none or one's is not known."""
    sizes = [node.gpu_memory for node in nodes if node.gpus >= 1]
    return None if None in sizes else min((size for size in sizes if size is not None), default=None)


def _drivers(nodes: Sequence[Node]) -> int:
    return int(sum(node.drivers for node in nodes))


def _trials_at_a_time(nodes: Sequence[Node], trials: int, limit: int | None) -> int:
    """Return how many trials may run at a time, whatever they take."""
    return min(trials, limit or trials, _drivers(nodes) or trials)


def _gpus_per_worker(wish: Wish, nodes: Sequence[Node]) -> float:
    """Return the user's number, or a whole one where the cluster has any."""
    if wish.gpus is not None:
        return wish.gpus
    return 1.0 if any(node.gpus >= 1 for node in nodes) else 0.0


def _size(shape: GroupShape) -> tuple[float, float]:
    return shape.workers * shape.gpus, shape.workers * shape.cpus


def _without_drivers(nodes: Sequence[Node], cpus: float) -> list[Node]:
    """Return the nodes less the cores that drivers take, all of which may run on the same node."""
    return [replace(node, cpus=max(0.0, node.cpus - cpus)) for node in nodes]


def _groups_at_a_time(shape: GroupShape, nodes: Sequence[Node], most: int, driver_cpu: float) -> int:
    """Return how many groups of one shape fit beside their trials' drivers, up to a number.

    Were a trial's process to reserve a whole core, trials could hold all cores while their worker groups
    wait for one: a live-lock. So it takes a `train_driver` where the cluster declares that resource, else a
    hundredth of a core, which is set aside first.
    """

    def fit(count: int) -> bool:
        left = _without_drivers(nodes, driver_cpu * count)
        return capacity(left).count(shape, count) == count

    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fit(middle) else (low, middle - 1)
    return low


def _too_small(shape: GroupShape, nodes: Sequence[Node], driver_cpu: float) -> str:
    driver = f" and {driver_cpu:g} CPU for its driver" if driver_cpu else ""
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    return (
        f"resources: a trial needs {shape.workers} worker(s) x "
        f"({shape.cpus:g} CPU, {shape.gpus:g} GPU){driver}, and there are {cpus:g} CPU and {gpus:g} GPU"
        + (f" on {len(nodes)} nodes" if len(nodes) > 1 else "")
    )


def _do_not_fit(fits: Mapping[str, Fit | Misfit], nodes: Sequence[Node]) -> str:
    """Return one line that names the subsets that don't fit, what they need and what there is."""
    misfits = {subset: fit for subset, fit in fits.items() if isinstance(fit, Misfit)}
    size = smallest_gpu(nodes)
    assert size is not None, "without a known memory every subset fits"
    there = f"{sum(node.gpus for node in nodes):g} GPU(s) of {human_bytes(size)}"
    if len(misfits) == len(fits):
        subset, least = min(misfits.items(), key=lambda item: item[1].estimate.total)
        return (
            f"resources: fewer GPUs than any recipe needs: there are {there}, and {subset!r}, "
            f"the smallest, needs {human_bytes(least.estimate.total)} on each of {least.load.workers}: "
            f"it takes {_wanted(least)}"
        )
    wanted = ", ".join(f"{subset} takes {_wanted(misfit)}" for subset, misfit in misfits.items())
    rest = ", ".join(subset for subset in fits if subset not in misfits)
    return (
        f"space.subsets: some don't fit {there}: {wanted}; keep {rest} alone, "
        "or give the cluster more or larger GPUs"
    )


def _wanted(misfit: Misfit) -> str:
    return "larger GPUs" if misfit.gpus_needed is None else f"{misfit.gpus_needed} such GPU(s)"


def _warnings(fits: Mapping[str, Fit], wish: Wish, nodes: Sequence[Node]) -> Iterator[str]:
    if _gpus_per_worker(wish, nodes):
        if smallest_gpu(nodes) is None:
            yield (
                "the GPUs' memory is not known, so a trial takes one GPU and all its batch at once: "
                "set resources.gpu_memory_gib"
            )
    else:
        subset, fit = max(fits.items(), key=lambda item: item[1].estimate.total)
        memory = max((node.memory for node in nodes if node.memory is not None), default=None)
        if memory is not None and fit.estimate.total > memory:
            yield (
                f"a worker that trains {subset!r} needs about {human_bytes(fit.estimate.total)}, "
                f"and the largest node has {human_bytes(memory)} of main memory"
            )
    evaluated = min(fit.eval_batch for fit in fits.values())
    if evaluated < wish.eval_batch:
        yield f"evaluation.batch_size: {wish.eval_batch} samples don't fit at a time, {evaluated} do"
    if any(fit.estimate.by_formula for fit in fits.values()):
        yield "activations are estimated by a formula: this architecture can't be measured without values"
