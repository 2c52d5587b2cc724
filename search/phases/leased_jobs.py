"""Jobs that the driver itself has done by leased worker groups, several at a time."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, TypeVar

import ray

from trainables.pool import Lease
from trainables.workers.causes import cause_of
from trainables.workers.execution import GroupShape
from trainables.workers.jobs import Job, Report

Key = TypeVar("Key", bound=Hashable)


def run_jobs(
    pool: Any, jobs: Mapping[Key, tuple[GroupShape, Job]], *, at_a_time: int
) -> Iterator[tuple[Key, Report]]:
    """Have jobs done; yield their reports as they come, a job's own in their order.

    Args:
        pool: Handle of the `WorkerPool` actor.
        jobs: Key -> the shape of the group that does the job, and the job.
        at_a_time: Bound on jobs at a time; the pool's room is another.

    Yields:
        A job's key and a report of it, the last of which is done; a group that failed is a report with an
        error.
    """
    waiting = list(jobs)
    leases: dict[ray.ObjectRef[Lease], Key] = {}
    reports: dict[ray.ObjectRef[Report], tuple[Key, Lease, int]] = {}
    while waiting or leases or reports:
        while waiting and len(leases) + len(reports) < at_a_time:
            key = waiting.pop(0)
            leases[pool.lease.remote(jobs[key][0], f"job-{key}")] = key
        (done,), _ = ray.wait([*leases, *reports], num_returns=1)
        if done in leases:
            key = leases.pop(done)
            try:
                lease: Lease = ray.get(done)
                sequence = ray.get(lease.group.submit.remote(jobs[key][1]))
            except ray.exceptions.RayError as error:
                pool.reclaim.remote(f"job-{key}")
                yield key, _failed(error)
                continue
            reports[lease.group.next_report.remote(sequence)] = key, lease, sequence
            continue
        key, lease, sequence = reports.pop(done)
        try:
            report: Report = ray.get(done)
        except ray.exceptions.RayError as error:
            report = _failed(error)
            ray.get(pool.release.remote(lease.name, usable=False))
        else:
            if report.done:
                ray.get(pool.release.remote(lease.name))
            else:
                reports[lease.group.next_report.remote(sequence)] = key, lease, sequence
        yield key, report


def _failed(error: ray.exceptions.RayError) -> Report:
    return Report(step=0, done=True, error=cause_of(error))
