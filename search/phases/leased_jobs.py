"""Jobs that the driver itself has done by leased worker groups, several at a time."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import ray

from search.phases.study_failed import WorkersLost
from trainables.pointer import CHECKPOINTS
from trainables.pool import Lease
from trainables.weights.rung_files import settle, taken_up
from trainables.workers.causes import GroupFailed, GroupHopeless, cause_of
from trainables.workers.execution import GroupShape
from trainables.workers.jobs import Job, Report, TrainJob

Key = TypeVar("Key", bound=Hashable)


@dataclass
class _Open(Generic[Key]):
    """A job that waits for a group or has one.

    Attributes:
        key: The job's name.
        shape: The group that it needs.
        job: What is to be done from here on.
        lease: The group that it has.
        sequence: Its number there.
        lost: Groups that died since its last report.
    """

    key: Key
    shape: GroupShape
    job: Job
    lease: Lease | None = None
    sequence: int = -1
    lost: int = 0

    def asks(self, pool: Any) -> ray.ObjectRef[Any]:
        """Ask for a group."""
        ref: ray.ObjectRef[Any] = pool.lease.remote(self.shape, f"job-{self.key}")
        return ref

    def goes_on(self) -> ray.ObjectRef[Any]:
        """Ask for the next report."""
        assert self.lease is not None
        ref: ray.ObjectRef[Any] = self.lease.group.next_report.remote(self.sequence)
        return ref

    def gives_back(self, pool: Any, *, usable: bool) -> None:
        """Give back the group, or the request for one."""
        if self.lease is None:
            pool.reclaim.remote(f"job-{self.key}")
            return
        lease, self.lease = self.lease, None
        ray.get(pool.release.remote(lease.name, usable=usable))

    def reported(self, report: Report) -> None:
        """Note a report: what dies from now on goes on from there."""
        self.lost = 0
        if isinstance(self.job, TrainJob) and report.checkpoint is not None:
            resume = (report.checkpoint, *self.job.resume)[:CHECKPOINTS]
            size = report.checkpoint.micro_batch_size or self.job.micro_batch_size
            self.job = replace(self.job, resume=resume, micro_batch_size=size)


def run_jobs(
    pool: Any, jobs: Mapping[Key, tuple[GroupShape, Job]], *, at_a_time: int
) -> Iterator[tuple[Key, Report]]:
    """Have jobs done; yield their reports as they come, a job's own in their order.

    A group that dies is replaced, and its job goes on from the last report.

    Args:
        pool: Handle of the `WorkerPool` actor.
        jobs: Key -> the shape of the group that does the job, and the job.
        at_a_time: Bound on jobs at a time; the pool's room is another.

    Yields:
        A job's key and a report of it, the last of which is done; where too many groups died it has an error,
        and is lost.
    """
    waiting = [_Open(key, shape, job) for key, (shape, job) in jobs.items()]
    pending: dict[ray.ObjectRef[Any], _Open[Key]] = {}
    while waiting or pending:
        while waiting and len(pending) < at_a_time:
            opened = waiting.pop(0)
            pending[opened.asks(pool)] = opened
        (done,), _ = ray.wait(list(pending), num_returns=1)
        opened = pending.pop(done)
        bound = 0
        try:
            if opened.lease is None:
                opened.lease = ray.get(done)
                bound = opened.lease.max_failures
                job = taken_up(opened.job) if isinstance(opened.job, TrainJob) else opened.job
                opened.sequence = ray.get(opened.lease.group.submit.remote(job))
                pending[opened.goes_on()] = opened
                continue
            bound = opened.lease.max_failures
            report: Report = ray.get(done)
            if report.lost:
                raise GroupFailed(report.error)
        except (GroupHopeless, ValueError) as error:
            opened.gives_back(pool, usable=False)
            report = _failed(error)
        except (ray.exceptions.RayError, GroupFailed) as error:
            opened.gives_back(pool, usable=False)
            opened.lost += 1
            if opened.lost <= bound:
                pending[opened.asks(pool)] = opened
                continue
            report = _failed(error, lost=True)
        else:
            opened.reported(report)
            if report.done:
                opened.gives_back(pool, usable=True)
            else:
                pending[opened.goes_on()] = opened
        yield opened.key, report
        # Whoever asked for the job has now noted how it ended; what was lost has not.
        if report.done and not report.lost and isinstance(opened.job, TrainJob):
            settle(Path(opened.job.folder), keep_rungs=opened.job.keep_rungs)


def none_lost(reports: Iterable[tuple[Key, Report]]) -> Iterator[tuple[Key, Report]]:
    """Yield reports of what a study measures; a job that was lost with its machines says nothing of a recipe.

    Raises:
        WorkersLost: One was.
    """
    for key, report in reports:
        if report.lost:
            raise WorkersLost(f"worker groups were lost, one after another, the last time: {report.error}")
        yield key, report


def _failed(error: Exception, *, lost: bool = False) -> Report:
    return Report(step=0, done=True, error=cause_of(error), lost=lost)
