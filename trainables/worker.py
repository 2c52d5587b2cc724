"""The Ray Train worker loop: load the base once, then serve jobs until the group closes."""

from __future__ import annotations

import datetime
import gc
import time
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
import transformers

from trainables.loop import StepTooLarge, TrialFailed
from trainables.notice import at_work, noticed
from trainables.pointer import Pointer
from trainables.training.parallel import Share
from trainables.workers.causes import cause_of, is_of_the_machine
from trainables.workers.execution import GroupShape
from trainables.workers.jobs import Job, Report, WorkerSetup
from trainables.workers.workbench import Stopped, Workbench

# Workers of an idle group wait in a broadcast for the next job, for as long as the study has none.
_IDLE_LIMIT = datetime.timedelta(days=30)


class Pulse:
    """Gives the group signs of progress; a call costs little.

    Args:
        group: Handle of the group actor.
        seconds: How long to wait between two signs.
    """

    def __init__(self, group: Any, seconds: float) -> None:
        self._group = group
        self._seconds = seconds
        self._last = 0.0

    def __call__(self) -> None:
        """Note that the work goes on."""
        now = time.monotonic()
        if now - self._last >= self._seconds:
            self._last = now
            self._group.beat.remote()


class Mailbox:
    """The group actor as one rank sees it: rank 0 talks to the actor and broadcasts to the others.

    Args:
        group: Handle of the group actor.
        share: This rank.
        node: Address of its node.
        life: Which life of the group's workers this is.
    """

    def __init__(self, group: Any, share: Share, node: str, life: int) -> None:
        self._group = group
        self._share = share
        self._life = life
        self._control = dist.new_group(backend="gloo", timeout=_IDLE_LIMIT) if share.size > 1 else None
        everyones = [node] * share.size
        if self._control is not None:
            dist.all_gather_object(everyones, node, group=self._control)
        self._nodes = tuple(sorted(set(everyones)))

    def next_job(self) -> tuple[int, Job] | None:
        """Wait for the next job and its sequence number; None when the group closes."""
        return self._shared(lambda: ray.get(self._group.next_job.remote(self._life)))

    def report(self, sequence: int, report: Report) -> bool:
        """Hand over a report; return whether to go on with this job."""
        report = replace(report, nodes=self._nodes)
        return bool(self._shared(lambda: ray.get(self._group.report.remote(self._life, sequence, report))))

    def stopped(self, sequence: int, pointer: Pointer) -> None:
        """Tell where the job can go on that had to stop."""
        ray.get(self._group.stopped.remote(self._life, sequence, pointer))

    def too_large(self, sequence: int, error: str) -> None:
        """Tell that a step of training took more memory than there is; any rank may."""
        ray.get(self._group.too_large.remote(self._life, sequence, error))

    def failed(self, sequence: int, error: str) -> None:
        """Tell that this rank can't go on, by a fault of the job's own; any rank may."""
        ray.get(self._group.failed.remote(self._life, sequence, self._share.rank, error))

    def lost(self, sequence: int, cause: str) -> None:
        """Tell that this rank can't go on, by no fault of the job's; any rank may."""
        ray.get(self._group.lost.remote(self._life, sequence, cause))

    def _shared(self, ask: Any) -> Any:
        answer = [ask() if self._share.rank == 0 else None]
        if self._control is not None:
            dist.broadcast_object_list(answer, src=0, group=self._control)
        return answer[0]


def worker_loop(config: dict[str, Any]) -> None:
    """Serve the jobs of the group actor `config["group"]`, whose shape is `config["shape"]`."""
    group = config["group"]
    given: tuple[WorkerSetup, int] | None = ray.get(group.worker_setup.remote())
    if given is None:
        return
    setup, life = given
    torch.set_num_threads(setup.threads)
    transformers.utils.logging.disable_progress_bar()
    context = ray.train.get_context()
    shape: GroupShape = config["shape"]
    share = Share(context.get_world_rank(), context.get_world_size(), shape.sharded)
    try:
        device = ray.train.torch.get_device()
        pulse = Pulse(group, config["beat_seconds"])
        workbench = Workbench(setup, device, share, shape.workers * shape.gpus, pulse, noticed)
    except Exception as error:
        # What can't be loaded once can't be loaded after a restart either, so the group gives up at once.
        ray.get(group.give_up.remote(_one_line(error), elsewhere=is_of_the_machine(error)))
        return
    mailbox = Mailbox(group, share, ray.util.get_node_ip_address(), life)
    while (assignment := mailbox.next_job()) is not None:
        _serve(workbench, mailbox, share, *assignment)


def _serve(workbench: Workbench, mailbox: Mailbox, share: Share, sequence: int, job: Job) -> None:
    """Do a job and hand over its reports; the next one that is asked for may be this again."""
    try:
        with at_work(), closing(workbench.run(job)) as reports:  # type: ignore[type-var]
            for report in reports:
                if not mailbox.report(sequence, report):
                    return
            return
    except TrialFailed as error:
        failed: str | None = str(error)
    except ray.exceptions.RayError as error:
        # Mostly the group is gone, and its workers with it; else Ray can't go on, as with a full store.
        with suppress(ray.exceptions.RayError):
            mailbox.lost(sequence, cause_of(error))
        raise
    except Stopped as stopped:
        if stopped.pointer is not None:
            mailbox.stopped(sequence, stopped.pointer)
        raise  # Ray Train starts the group anew, elsewhere if need be
    except Exception as error:
        # The trial's boundary.
        failed = _after(error, sequence, mailbox, share)
    gc.collect()  # what the failed step left lies in cycles of frames and tensors
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if failed is not None:
        mailbox.report(sequence, Report(step=0, done=True, error=failed))


def _after(error: Exception, sequence: int, mailbox: Mailbox, share: Share) -> str | None:
    """Return why the job failed; None if it is to be asked for again.

    Alone, a worker has left nothing behind and can serve the next job. But among several, the others wait in
    a collective, and after a device's own error (not its memory's end) its context is lost: then only a
    restart of the group helps, for which the error is raised again. So is what comes from the machine, which
    may have passed by then.
    """
    said = _one_line(error)
    if isinstance(error, StepTooLarge):
        mailbox.too_large(sequence, said)
    elif _is_a_peer_s(error) or is_of_the_machine(error):
        mailbox.lost(sequence, said)
    elif share.size > 1 or isinstance(error, torch.AcceleratorError):
        mailbox.failed(sequence, said)
    else:
        return said
    if share.size > 1 or not isinstance(error, StepTooLarge):
        raise error
    return None


def _is_a_peer_s(error: Exception) -> bool:
    """Return whether an error only tells that another process of a collective is gone."""
    words = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def _one_line(error: BaseException) -> str:
    if isinstance(error, StepTooLarge):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
