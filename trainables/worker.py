"""The Ray Train worker loop: load the base once, then serve jobs until the group closes."""

from __future__ import annotations

import datetime
from contextlib import closing
from dataclasses import replace
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
import transformers

from trainables.loop import TrialFailed
from trainables.training.parallel import Share
from trainables.workers.execution import GroupShape
from trainables.workers.jobs import Job, Report, WorkerSetup
from trainables.workers.workbench import Workbench

# Workers of an idle group wait in a broadcast for the next job, for as long as the study has none.
_IDLE_LIMIT = datetime.timedelta(days=30)


class Mailbox:
    """The group actor as one rank sees it: rank 0 talks to the actor and broadcasts to the others."""

    def __init__(self, group: Any, share: Share, node: str) -> None:
        self._group = group
        self._share = share
        self._control = dist.new_group(backend="gloo", timeout=_IDLE_LIMIT) if share.size > 1 else None
        everyones = [node] * share.size
        if self._control is not None:
            dist.all_gather_object(everyones, node, group=self._control)
        self._nodes = tuple(sorted(set(everyones)))

    def next_job(self) -> tuple[int, Job] | None:
        """Wait for the next job and its sequence number; None when the group closes."""
        return self._shared(lambda: ray.get(self._group.next_job.remote()))

    def report(self, sequence: int, report: Report) -> bool:
        """Hand over a report; return whether to go on with this job."""
        report = replace(report, nodes=self._nodes)
        return bool(self._shared(lambda: ray.get(self._group.report.remote(sequence, report))))

    def explain(self, cause: str) -> None:
        """Tell why this rank is about to die; any rank may."""
        ray.get(self._group.explain.remote(cause))

    def _shared(self, ask: Any) -> Any:
        answer = [ask() if self._share.rank == 0 else None]
        if self._control is not None:
            dist.broadcast_object_list(answer, src=0, group=self._control)
        return answer[0]


def worker_loop(config: dict[str, Any]) -> None:
    """Serve the jobs of the group actor `config["group"]`, whose shape is `config["shape"]`."""
    group = config["group"]
    setup: WorkerSetup | None = ray.get(group.worker_setup.remote())
    if setup is None:
        return
    torch.set_num_threads(setup.threads)
    transformers.utils.logging.disable_progress_bar()
    context = ray.train.get_context()
    shape: GroupShape = config["shape"]
    share = Share(context.get_world_rank(), context.get_world_size(), shape.sharded)
    try:
        workbench = Workbench(setup, ray.train.torch.get_device(), share, shape.workers * shape.gpus)
    except Exception as error:
        # What can't be loaded once can't be loaded after a restart either, so the group gives up at once.
        ray.get(group.give_up.remote(_one_line(error)))
        return
    mailbox = Mailbox(group, share, ray.util.get_node_ip_address())
    while (assignment := mailbox.next_job()) is not None:
        _serve(workbench, mailbox, share, *assignment)


def _serve(workbench: Workbench, mailbox: Mailbox, share: Share, sequence: int, job: Job) -> None:
    error: str
    try:
        with closing(workbench.run(job)) as reports:  # type: ignore[type-var]
            for report in reports:
                if not mailbox.report(sequence, report):
                    return
            return
    except TrialFailed as failure:
        error = str(failure)
    except Exception as failure:
        # The trial's boundary. Alone, a worker has left nothing behind and can serve the next job. But among
        # several, the others wait in a collective, and after a device's own error (not its memory's end) its
        # context is lost: then only a restart of the group helps.
        if share.size > 1 or isinstance(failure, torch.AcceleratorError):
            mailbox.explain(_one_line(failure))
            raise
        error = _one_line(failure)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    mailbox.report(sequence, Report(step=0, done=True, error=error))


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
