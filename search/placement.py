"""How many trials run at a time: as many worker groups as the cluster holds, and never more."""

from __future__ import annotations

import math
from collections.abc import Mapping
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

    Raises:
        ValueError: Not even one trial fits.
    """
    declared = cluster.get(DRIVER_RESOURCE, 0)
    wanted = min(trials, limit or trials)
    if declared:
        trial_resources = {DRIVER_RESOURCE: 1.0}
        reserved, wanted = 0.0, min(wanted, int(declared))
    else:
        trial_resources = {"CPU": _DRIVER_CPU}
        reserved = _DRIVER_CPU * wanted
    pool_cpus = cluster.get("CPU", 0) - reserved
    pool_gpus = cluster.get("GPU", 0)
    fits = [math.floor(pool_cpus / (workers * cpus) + 1e-9)]
    if gpus:
        fits.append(math.floor(pool_gpus / (workers * gpus) + 1e-9))
    concurrency = min(wanted, *fits)
    if concurrency < 1:
        raise ValueError(
            f"resources: a trial needs {workers} worker(s) x ({cpus:g} CPU, {gpus:g} GPU), "
            f"and there are {pool_cpus:g} CPU and {pool_gpus:g} GPU"
        )
    return Placement(
        concurrency=concurrency,
        trial_resources=trial_resources,
        pool_cpus=pool_cpus,
        pool_gpus=pool_gpus,
    )
