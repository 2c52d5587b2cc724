"""What `run`, `apply` and `evaluate` share: Ray, what is placed on it, and the pool of warm worker groups."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import ray
from ray.tune import TuneError
from rich.console import Console

from search.clusters.autoscaler import cluster_nodes
from search.clusters.cluster import connected
from search.clusters.devices import Node
from search.data.encoding import encode_once, for_workers
from search.findings.data_findings import data_lines
from search.phases.steps import step
from search.phases.study_failed import StudyFailed
from search.planning.placement import Placement
from search.planning.preparation import Prepared, place_study, with_evaluation_that_fits
from trainables.pool import ON_HEAD, WorkerPool, write_setup

_LOOK: Final = 30.0  # seconds between looks at whether nodes are waited for
_CLOSING: Final = 180.0  # seconds; a pool that closes bounds what it waits for itself


@contextmanager
def started(console: Console) -> Iterator[tuple[Sequence[Node], bool]]:
    """Join the cluster of `RAY_ADDRESS`, or start Ray here for as long as the context is open.

    Args:
        console: Where the progress is shown.

    Yields:
        The cluster's nodes, and whether it grows.

    Raises:
        InputError: The cluster can't be reached.
        StudyFailed: Ray failed.
    """
    with ExitStack() as starting:
        starting.enter_context(step(console, "starting Ray"))
        with connected():
            try:
                found = cluster_nodes()
                starting.close()
                yield found
            except (ray.exceptions.RayError, TuneError) as error:
                raise StudyFailed(str(error).strip().splitlines()[-1]) from error


def placed(prepared: Prepared, nodes: Sequence[Node], console: Console) -> tuple[Prepared, Placement]:
    """Place what was prepared on a cluster's nodes, and encode its samples.

    Raises:
        InputError: The cluster is too small, or a sample can't be encoded.
    """
    placement = place_study(prepared.config, prepared.outline, nodes)
    prepared = encode_once(with_evaluation_that_fits(prepared, placement), console)
    for warning in placement.warnings:
        console.print(f"warning: {warning}")
    for line in data_lines(prepared.leaks, prepared.warnings, prepared.bad):
        console.print(line)
    return prepared, placement


@contextmanager
def open_pool(prepared: Prepared, placement: Placement, storage: Path, *, grows: bool) -> Iterator[Any]:
    """Open a pool of worker groups, and close it on leaving.

    Args:
        prepared: What its workers load.
        placement: What they take from the cluster.
        storage: Folder that all nodes share, for Ray Train's own state.
        grows: Whether the cluster does.

    Yields:
        Handle of the `WorkerPool` actor.
    """
    resources = prepared.config.resources
    actor = ray.remote(
        num_cpus=0, max_concurrency=1000, resources=ON_HEAD, max_restarts=-1, max_task_retries=-1
    )(WorkerPool)
    pool = actor.remote(
        write_setup(for_workers(prepared.setup), storage),
        placement.nodes,
        str(storage),
        resources.max_failures,
        grows=grows,
        max_idle=resources.max_idle_groups,
        hang_seconds=resources.hang_seconds,
        min_workers=resources.min_workers,
    )
    ended = threading.Event()
    threading.Thread(target=_tell_waits, args=(pool, ended), daemon=True, name="waits").start()
    try:
        yield pool
    except KeyboardInterrupt:
        print(
            "interrupted: waiting for the checkpoints of what is being trained; once more ends at once",
            file=sys.stderr,
        )
        raise
    finally:
        ended.set()
        try:
            with suppress(ray.exceptions.GetTimeoutError):
                ray.get(pool.close.remote(), timeout=_CLOSING)
        finally:
            ray.kill(pool)


def _tell_waits(pool: Any, ended: threading.Event) -> None:
    """Say it, once, when work waits long for nodes that are not there."""
    told = False
    while not ended.wait(_LOOK):
        with suppress(ray.exceptions.RayError):
            line = ray.get(pool.short.remote(), timeout=_LOOK)
            if line is not None and not told:
                # A live display takes what is printed here and shows it above itself.
                print(line, file=sys.stderr)
            told = line is not None
