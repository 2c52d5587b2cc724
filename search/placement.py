"""How many trials run at a time: as many worker groups as the cluster holds, and never more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DRIVER_RESOURCE = "train_driver"
_DRIVER_CPU = 0.01


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What the study takes from the cluster.

    Attributes:
        concurrency: Trials at a time, at least 1.
        trial_resources: What a Tune trial's own process reserves: next to nothing, because its worker
            group reserves its own.
        pool_cpus: CPU cores for all worker groups.
        pool_gpus: GPUs for all worker groups.
    """

    concurrency: int
    trial_resources: Mapping[str, float]
    pool_cpus: float
    pool_gpus: float


def place(
    cluster: Mapping[str, float],
    *,
    workers: int,
    cpus: float,
    gpus: float,
    trials: int,
    limit: int | None,
    nodes: Sequence[Mapping[str, float]] = (),
) -> Placement:
    """Compute the concurrency from a cluster's resources.

    Were a trial's process to reserve a whole core, trials could hold all cores while their worker groups
    wait for one: a live-lock. So it takes a `train_driver` where the cluster declares that resource, else a
    hundredth of a core that is set aside first.

    Args:
        cluster: The cluster's total resources, as Ray reports them.
        workers: Workers per trial.
        cpus: CPU cores per worker.
        gpus: GPUs per worker.
        trials: Trials of the study.
        limit: Bound on trials at a time, or None.
        nodes: Resources of each node, since a worker must fit on one; none takes the cluster as one node.

    Raises:
        ValueError: Not even one trial fits.
    """
    drivers, cluster_cpus = cluster.get(DRIVER_RESOURCE, 0), cluster.get("CPU", 0)
    driver_cpu = 0.0 if drivers >= 1 else _DRIVER_CPU
    bounds = [min(trials, limit or trials), math.floor(cluster_cpus / (workers * cpus + driver_cpu) + 1e-9)]
    if drivers >= 1:
        bounds.append(int(drivers))
    if gpus:
        bounds.append(math.floor(cluster.get("GPU", 0) / (workers * gpus) + 1e-9))
    if nodes:
        bounds.append(sum(_workers_on(node, cpus + driver_cpu, gpus) for node in nodes) // workers)
    concurrency = min(bounds)
    if concurrency < 1:
        driver = f" and {driver_cpu:g} CPU for its driver" if driver_cpu else ""
        raise ValueError(
            f"resources: a trial needs {workers} worker(s) x ({cpus:g} CPU, {gpus:g} GPU){driver}, "
            f"and there are {cluster_cpus:g} CPU and {cluster.get('GPU', 0):g} GPU"
            + (f" on {len(nodes)} nodes" if len(nodes) > 1 else "")
        )
    return Placement(
        concurrency=concurrency,
        trial_resources={"CPU": driver_cpu} if driver_cpu else {DRIVER_RESOURCE: 1.0},
        pool_cpus=cluster_cpus - driver_cpu * concurrency,
        pool_gpus=cluster.get("GPU", 0),
    )


def _workers_on(node: Mapping[str, float], cpus: float, gpus: float) -> int:
    """Return how many workers fit on one node."""
    by_cpu = math.floor(node.get("CPU", 0) / cpus + 1e-9)
    return min(by_cpu, math.floor(node.get("GPU", 0) / gpus + 1e-9)) if gpus else by_cpu
