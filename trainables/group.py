"""WorkerGroup: an actor that owns one warm Ray Train run and is the mailbox of its workers.

The run is started once and serves one job after another, so that only a group's first job pays for
processes, imports, rendezvous and model loading. Between reports the workers wait until the next one is asked
for (lock step): a scheduler's stop then costs nothing.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import ray
from ray.train.torch import TorchTrainer
from ray.util.placement_group import PlacementGroup

from trainables.notice import give_notice
from trainables.pointer import Pointer
from trainables.train_run import trainer_of
from trainables.workers.attempts import Attempts, GivenUp
from trainables.workers.causes import GroupFailed, GroupHopeless
from trainables.workers.execution import GroupShape
from trainables.workers.jobs import Job, Report, TrainJob, WorkerSetup

_WATCH: Final = 5.0  # seconds between looks at whether workers go on, at most


class WorkerGroup:
    """The actor; make it with `ray.remote(num_cpus=0)(WorkerGroup)`.

    One job is open at a time. Its sequence number tells its reports from those of an earlier, abandoned job.

    Args:
        name: Name of the Ray Train run.
        setup: What each worker loads.
        shape: Workers and their resources.
        storage_path: Folder of Ray Train's own state, shared by all nodes.
        max_failures: Restarts after dead workers, without a rung in between, before a job, or the group's
            start, fails.
        hang_seconds: Workers that give no sign of progress for so long are ended, and started anew.
        pool: Handle of the `WorkerPool` that says where the workers go and hears where they are; None lets
            Ray choose.
    """

    def __init__(
        self,
        name: str,
        setup: WorkerSetup,
        shape: GroupShape,
        storage_path: str,
        max_failures: int,
        pool: Any = None,
        hang_seconds: float = 300.0,
    ) -> None:
        self._name = name
        self._pool = pool
        self._ready = False
        self._setup = setup
        self._workers = shape.workers
        self._max_failures = max_failures
        self._changed = asyncio.Condition()
        self._ended = asyncio.Event()
        self._over = asyncio.Event()
        self._closed = False
        self._failed: GroupFailed | None = None
        self._starts_in_vain = 0
        self._sequence = 0
        self._job: Job | None = None
        self._attempts: Attempts | None = None  # at the open job, or at the last one
        self._reports: list[Report] = []
        self._asked = 0  # reports asked for, of the open job
        self._handles: Sequence[Any] = ()  # of Ray Train's workers
        # Rises with each start of workers. Calls of earlier ones may wait here, and still arrive from a node
        # that was cut off and came back: a rung would be told twice, or the job given to nobody.
        self._life = 0
        self._hang_seconds = hang_seconds
        self._busy = False  # whether workers are at work; they may also wait to be asked
        self._sign = 0.0  # when they gave a sign of progress
        self._turn_round: dict[str, float] = {}  # of the open job, as a metric
        self._trains = False  # whether the job that was opened last is a train job
        self._consumed_at: float | None = None  # when a train job's report was last taken
        self._loop = asyncio.get_running_loop()
        trainer = trainer_of(
            ray.get_runtime_context().current_actor,
            name,
            shape,
            storage_path,
            hang_seconds=hang_seconds,
            beat_seconds=min(hang_seconds / 10, _WATCH),
        )
        self._thread = threading.Thread(target=self._fit, args=(trainer,), daemon=True, name="ray-train-fit")
        self._thread.start()
        self._watching = asyncio.create_task(self._watch())

    def _fit(self, trainer: TorchTrainer) -> None:
        """Run the trainer to its end; whatever ends it reaches those who wait for a report."""
        try:
            trainer.fit()
            error = "the worker group ended"
        except Exception as failure:
            error = f"{type(failure).__name__}: {' '.join(str(failure).split())}"
        asyncio.run_coroutine_threadsafe(self._end(error), self._loop)

    async def _end(self, error: str) -> None:
        async with self._changed:
            self._fail(GroupFailed(error))
        self._ended.set()

    async def _watch(self) -> None:
        """End workers that give no sign of progress, so that Ray Train starts new ones."""
        while not self._ended.is_set():
            await asyncio.sleep(min(self._hang_seconds / 4, _WATCH))
            if self._busy and time.monotonic() - self._sign > self._hang_seconds:
                self._busy = False
                if self._attempts is not None:
                    self._attempts.lost(f"no sign of progress for {self._hang_seconds:g} seconds")
                # All of them: the others wait for the one that hangs. Ray ends stopped processes, too.
                for worker in self._handles:
                    ray.kill(worker)

    def _work(self, busy: bool) -> None:
        self._busy, self._sign = busy, time.monotonic()

    # ---- for those who want work done

    async def submit(self, job: Job) -> int:
        """Open a job, abandoning one that is still open; return its sequence number."""
        async with self._changed:
            self._open(job)
            self._trains = isinstance(job, TrainJob)
            self._changed.notify_all()
            return self._sequence

    async def next_report(self, sequence: int) -> Report:
        """Let the job go on to its next report and wait for it.

        Raises:
            GroupFailed: The group can serve no more jobs, or the job was abandoned.
            GroupHopeless: No other group could serve them either.
        """
        async with self._changed:
            if sequence != self._sequence:
                raise GroupFailed("the job was abandoned")
            self._asked += 1
            wanted = self._asked
            self._changed.notify_all()
            await self._changed.wait_for(
                lambda: self._failed or sequence != self._sequence or len(self._reports) >= wanted
            )
            if sequence != self._sequence:
                raise GroupFailed("the job was abandoned")
            if len(self._reports) < wanted:
                assert self._failed is not None
                raise self._failed
            if self._trains:
                self._consumed_at = time.time()
            return self._reports[wanted - 1]

    async def abandon(self, sequence: int) -> None:
        """Stop a job where it stands; it waits for nobody, and its late reports are refused."""
        async with self._changed:
            if sequence == self._sequence:
                self._open(None)
                self._changed.notify_all()

    async def close(self) -> bool:
        """End the workers after their current step; return False where they may not be able to end.

        A run that is under way leaves a checkpoint.
        """
        async with self._changed:
            self._closed = True
            if self._busy:
                for worker in self._handles:
                    worker.execute.remote(give_notice)
            self._open(None)
            self._changed.notify_all()
            return not self._over.is_set()

    async def wait_over(self) -> None:
        """Wait until the group can serve no more jobs, though Ray Train may not have ended its workers."""
        await self._over.wait()

    async def wait_closed(self) -> None:
        """Wait until Ray Train has ended the workers, or asks for none any more."""
        await self._ended.wait()

    def _open(self, job: Job | None) -> None:
        self._sequence += 1
        self._job = job
        if job is not None:
            self._attempts = Attempts(job, self._workers, self._max_failures)
        self._reports = []
        self._asked = 0
        self._turn_round = {}

    # ---- for Ray Train's controller

    async def starts(self) -> tuple[str, ...] | None:
        """Return the nodes to ask Ray for, now that workers are to be started; None if they are not to be."""
        self._busy = False
        if self._closed:
            self._ended.set()
            return None
        if self._pool is None:
            return ()
        nodes: tuple[str, ...] = await self._pool.starts.remote(self._name)
        return nodes

    async def placed(self, nodes: Sequence[str], place: PlacementGroup, workers: Sequence[Any]) -> None:
        """Note the workers, on which nodes they are, one name a worker, and what Ray reserved for them."""
        async with self._changed:
            self._handles = workers
            self._life += 1
            self._changed.notify_all()
        if self._pool is not None:
            await self._pool.placed.remote(self._name, nodes, place)

    async def out_of_memory(self, error: str) -> None:
        """Note that workers were ended because the machine had no more memory."""
        if self._attempts is not None and self._busy:
            self._attempts.too_large(error)

    # ---- for rank 0 of the workers

    async def worker_setup(self) -> tuple[WorkerSetup, int] | None:
        """Return what to load, and which life of the workers this is.

        None when workers were started too often that died before they could serve.
        """
        async with self._changed:
            self._starts_in_vain += 1
            if self._starts_in_vain > (self._max_failures + 1) * self._workers:
                self._fail(self._hopeless("the workers died before they could serve, every time"))
                return None
            return self._setup, self._life

    async def next_job(self, life: int) -> tuple[int, Job] | None:
        """Wait for a job that is open and return it with its sequence number; None when closing.

        Workers ask anew after they finished a job; and after a restart, or if they could not go on: then the
        open job is theirs again, from its last checkpoint, if `Attempts` says so.

        Args:
            life: Which life of the workers asks.
        """
        if life != self._life:
            return None
        self._work(False)
        self._starts_in_vain = 0
        if self._pool is not None and not self._ready:
            self._ready = True
            await self._pool.ready.remote(self._name)
        async with self._changed:
            while True:
                self._changed.notify_all()
                await self._changed.wait_for(
                    lambda: (
                        self._closed
                        or life != self._life
                        or (self._job is not None and self._asked > len(self._reports))
                    )
                )
                if self._closed or life != self._life or self._job is None or self._attempts is None:
                    return None
                saved = [each.checkpoint for each in reversed(self._reports) if each.checkpoint is not None]
                try:
                    job = self._attempts.next(saved)
                except GivenUp as reason:
                    self._reports.append(Report(step=0, done=True, error=str(reason), lost=reason.lost))
                    self._job = None
                    if reason.lost and self._pool is not None:
                        self._pool.shun.remote(self._name)
                    continue
                self._work(True)
                return self._sequence, job

    async def report(self, life: int, sequence: int, report: Report) -> bool:
        """Take a report; wait until the next one is asked for; return whether to go on.

        Args:
            life: Which life of the workers reports.
            sequence: The job's number.
            report: What they have to say.
        """
        if life != self._life:
            return False
        self._work(False)
        async with self._changed:
            if sequence != self._sequence or self._job is None or self._attempts is None:
                return False
            self._attempts.progressed()
            if not self._reports and report.started_at is not None and self._consumed_at is not None:
                self._turn_round = {"cost/turn_round_seconds": report.started_at - self._consumed_at}
            report = replace(report, metrics={**report.metrics, **self._turn_round})
            self._reports.append(report)
            if report.done:
                self._job = None
            self._changed.notify_all()
            if report.done:
                return False
            produced = len(self._reports)
            await self._changed.wait_for(
                lambda: life != self._life or sequence != self._sequence or self._asked > produced
            )
            if life != self._life:
                return False
            self._work(sequence == self._sequence)
            return sequence == self._sequence

    # ---- for any rank

    async def beat(self) -> None:
        """Take a sign of progress."""
        self._sign = time.monotonic()

    async def failed(self, life: int, sequence: int, rank: int, error: str) -> None:
        """Note that a worker can't go on with the open job, by a fault of the job's own."""
        if (attempts := self._attempts_of(life, sequence)) is not None:
            attempts.failed(rank, error)

    async def stopped(self, life: int, sequence: int, pointer: Pointer) -> None:
        """Note that the workers had to stop between two rungs."""
        if (attempts := self._attempts_of(life, sequence)) is not None:
            attempts.stopped(pointer)

    async def lost(self, life: int, sequence: int, cause: str) -> None:
        """Note why workers are lost, or are about to be."""
        if (attempts := self._attempts_of(life, sequence)) is not None:
            attempts.lost(cause)

    async def too_large(self, life: int, sequence: int, error: str) -> None:
        """Note that a step of the open job took more memory than there is."""
        if (attempts := self._attempts_of(life, sequence)) is not None:
            attempts.too_large(error)

    def _attempts_of(self, life: int, sequence: int) -> Attempts | None:
        """Return the attempts at the job that a worker speaks of; None for an earlier job's, or life's."""
        return self._attempts if (life, sequence) == (self._life, self._sequence) else None

    async def give_up(self, error: str, *, elsewhere: bool) -> None:
        """Mark this group as unable to serve jobs, and tell whoever waits.

        Args:
            error: Why.
            elsewhere: Whether another group may be able to.
        """
        async with self._changed:
            self._fail(GroupFailed(error) if elsewhere else self._hopeless(error))

    def _hopeless(self, error: str) -> GroupFailed:
        """Return what to say where no group can serve; what served before had only a bad place this time."""
        return GroupFailed(error) if self._ready else GroupHopeless(error)

    def _fail(self, error: GroupFailed) -> None:
        # The others may wait for the worker that failed, and Ray Train for them: only being killed ends both.
        self._failed = self._failed or error
        self._closed = True
        self._over.set()
        self._changed.notify_all()
