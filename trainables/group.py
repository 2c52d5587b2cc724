"""WorkerGroup: an actor that owns one warm Ray Train run and is the mailbox of its workers.

The run is started once and serves one job after another, so that only a group's first job pays for
processes, imports, rendezvous and model loading. Between reports the workers wait until the next one is asked
for (lock step): a scheduler's stop then costs nothing.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.util.placement_group import PlacementGroup

from trainables.worker import worker_loop
from trainables.workers.execution import GroupShape
from trainables.workers.jobs import Job, Report, TrainJob, WorkerSetup

# How long Ray Train waits for its workers' place before it asks anew, perhaps for other nodes. A controller
# that is killed while it waits leaves its request with Ray for ever: a closed group ends when it asks anew.
_START_TIMEOUT = 10  # seconds


class GroupFailed(RuntimeError):
    """A worker group can serve no more jobs."""


class _Placement(ControllerCallback, WorkerGroupCallback):
    """Asks the group where its workers shall go, and tells it where they are.

    Left to itself, Ray puts each group on the emptiest node, so that soon no node is free for a large group.
    This is Ray's developer API, which a trainer takes; nothing public tells or steers where workers go anew.
    """

    def __init__(self, group: Any) -> None:
        self._group = group

    def on_controller_start_worker_group(
        self, *, scaling_config: ScalingConfig, num_workers: int
    ) -> dict[str, str] | None:
        """Return a selector of nodes, or None to let Ray choose.

        Raises:
            GroupFailed: The group was closed before its workers came up.
        """
        nodes = ray.get(self._group.starts.remote())
        if nodes is None:
            raise GroupFailed("the group was closed")
        return {"ray.io/node-id": f"in({','.join(nodes)})"} if nodes else None

    def after_worker_group_start(self, worker_group: Any) -> None:
        """Tell on which nodes the workers are, and in which of Ray's placement groups."""
        nodes = [worker.metadata.node_id for worker in worker_group.get_workers()]
        place = worker_group.get_worker_group_state().placement_group_handle.placement_group
        ray.get(self._group.placed.remote(nodes, place))


class WorkerGroup:
    """The actor; make it with `ray.remote(num_cpus=0)(WorkerGroup)`.

    One job is open at a time. Its sequence number tells its reports from those of an earlier, abandoned job.

    Args:
        name: Name of the Ray Train run.
        setup: What each worker loads.
        shape: Workers and their resources.
        storage_path: Folder of Ray Train's own state, shared by all nodes.
        max_failures: Restarts after dead workers before a job, or the group's start, fails.
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
        self._failed: str | None = None
        self._starts_without_report = 0
        self._sequence = 0
        self._job: Job | None = None
        self._handed_out = 0  # times that the open job was handed to workers
        self._reports: list[Report] = []
        self._asked = 0  # reports asked for, of the open job
        self._cause = ""  # what the last worker said before it died
        self._turn_round: dict[str, float] = {}  # of the open job, as a metric
        self._trains = False  # whether the job that was opened last is a train job
        self._consumed_at: float | None = None  # when a train job's report was last taken
        self._loop = asyncio.get_running_loop()
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(_START_TIMEOUT))
        trainer = TorchTrainer(
            worker_loop,
            train_loop_config={"group": ray.get_runtime_context().current_actor, "shape": shape},
            scaling_config=ScalingConfig(
                num_workers=shape.workers,
                use_gpu=shape.gpus > 0,
                resources_per_worker={"CPU": shape.cpus, **({"GPU": shape.gpus} if shape.gpus else {})},
            ),
            torch_config=TorchConfig(backend="nccl" if shape.gpus >= 1 and shape.workers > 1 else "gloo"),
            # Jobs bound their own restarts, so Ray Train may restart the group without end.
            run_config=RunConfig(
                name=name,
                storage_path=storage_path,
                failure_config=FailureConfig(max_failures=-1),
                callbacks=[] if pool is None else [_Placement(ray.get_runtime_context().current_actor)],
            ),
        )
        self._thread = threading.Thread(target=self._fit, args=(trainer,), daemon=True, name="ray-train-fit")
        self._thread.start()

    def _fit(self, trainer: TorchTrainer) -> None:
        """Run the trainer to its end; whatever ends it reaches those who wait for a report."""
        try:
            trainer.fit()
            error = "the worker group ended"
        except Exception as failure:
            error = f"{type(failure).__name__}: {' '.join(str(failure).split())}"
        asyncio.run_coroutine_threadsafe(self._end(error), self._loop)

    async def _end(self, error: str) -> None:
        await self.give_up(error)
        self._ended.set()

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
                raise GroupFailed(self._failed)
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
        """End the workers after their current step; return False where they may not be able to end."""
        async with self._changed:
            self._closed = True
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
        self._handed_out = 0
        self._reports = []
        self._asked = 0
        self._turn_round = {}
        self._cause = ""

    # ---- for Ray Train's controller

    async def starts(self) -> tuple[str, ...] | None:
        """Return the nodes to ask Ray for, now that workers are to be started; None if they are not to be."""
        if self._closed:
            self._ended.set()
            return None
        nodes: tuple[str, ...] = await self._pool.starts.remote(self._name)
        return nodes

    async def placed(self, nodes: Sequence[str], place: PlacementGroup) -> None:
        """Note on which nodes the workers are, one name a worker, and what Ray reserved for them."""
        await self._pool.placed.remote(self._name, nodes, place)

    # ---- for rank 0 of the workers

    async def worker_setup(self) -> WorkerSetup | None:
        """Return what to load; None when starting was tried too often without a single report."""
        async with self._changed:
            self._starts_without_report += 1
            if self._starts_without_report > (self._max_failures + 1) * self._workers:
                self._fail("the workers died before their first report, every time")
                return None
            return self._setup

    async def next_job(self) -> tuple[int, Job] | None:
        """Wait for a job that is open and return it with its sequence number; None when closing.

        Workers ask anew only after they finished a job, or after a restart: then the open job is theirs
        again, from its last checkpoint, up to `max_failures` times.
        """
        if self._pool is not None and not self._ready:
            self._ready = True
            await self._pool.ready.remote(self._name)
        async with self._changed:
            if self._job is not None and self._handed_out > self._max_failures:
                self._end_job(f"its workers died {self._handed_out} times{self._cause}")
            self._changed.notify_all()
            await self._changed.wait_for(
                lambda: self._closed or (self._job is not None and self._asked > len(self._reports))
            )
            if self._closed or self._job is None:
                return None
            self._handed_out += 1
            job = self._job
            if isinstance(job, TrainJob) and self._reports:
                job = replace(job, resume=self._reports[-1].checkpoint)
            return self._sequence, job

    async def report(self, sequence: int, report: Report) -> bool:
        """Take a report; wait until the next one is asked for; return whether to go on."""
        async with self._changed:
            if sequence != self._sequence or self._job is None:
                return False
            self._starts_without_report = 0
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
            await self._changed.wait_for(lambda: sequence != self._sequence or self._asked > produced)
            return sequence == self._sequence

    async def explain(self, cause: str) -> None:
        """Note why a worker is about to die, for the message of a job that is given up."""
        self._cause = f": {cause}"

    async def give_up(self, error: str) -> None:
        """Mark the group as unable to serve jobs, and tell whoever waits."""
        async with self._changed:
            self._fail(error)

    def _fail(self, error: str) -> None:
        # The others may wait for the worker that failed, and Ray Train for them: only being killed ends both.
        self._failed = self._failed or error
        self._closed = True
        self._over.set()
        self._changed.notify_all()

    def _end_job(self, error: str) -> None:
        self._starts_without_report = 0
        self._reports.append(Report(step=0, done=True, error=error))
        self._job = None
