"""Attempts: how often an open job was tried, what became of it, and what is tried next; without Ray."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from trainables.pointer import CHECKPOINTS, Pointer
from trainables.weights.rung_files import is_between
from trainables.workers.jobs import Job, TrainJob


class GivenUp(RuntimeError):
    """A job is not tried again, for the reason that this says.

    Attributes:
        lost: Whether other workers, elsewhere, may be able to do it.
    """

    def __init__(self, reason: str, *, lost: bool = False) -> None:
        super().__init__(reason)
        self.lost = lost


class Attempts:
    """Decides what workers are given who ask for the open job: for the first time, or once more.

    What only bad luck can explain, such as a process that was killed or a disk that fails, is tried again
    from the last checkpoint until it happened too often without a rung in between; elsewhere it may go well.
    What a job brings about itself would happen again: the second time that it fails with the same words it is
    given up, or at once if every worker said why it failed. Too large a batch is taken in passes of half as
    many samples, down to one.

    Args:
        job: The job.
        workers: Workers that do it together.
        max_failures: Deaths without a rung in between after which it is still tried again.
    """

    def __init__(self, job: Job, workers: int, max_failures: int) -> None:
        self._job = job
        self._workers = workers
        self._max_failures = max_failures
        self._tried = False
        self._deaths = 0
        self._said: dict[int, str] = {}  # what the workers said of the attempt before they gave it up
        self._said_before: frozenset[str] = frozenset()  # the same of the attempt before
        self._lost = ""  # why workers were lost by no fault of the job's: what was said first
        self._too_large = ""  # what did not fit the memory
        self._between: Pointer | None = None  # where the run had to stop between two rungs
        self._stopped = False  # whether that ended the last attempt

    def failed(self, rank: int, error: str) -> None:
        """Note that a worker could not go on, by a fault of the job's own."""
        self._said[rank] = error

    def lost(self, cause: str) -> None:
        """Note why workers were lost, or are about to be."""
        self._lost = self._lost or cause

    def too_large(self, error: str) -> None:
        """Note that a step of training took more memory than there is."""
        self._too_large = error

    def stopped(self, pointer: Pointer) -> None:
        """Note that the run had to stop between two rungs, as when its machine is about to be taken away."""
        self._between, self._stopped = pointer, True

    def progressed(self) -> None:
        """Note that a rung was reported."""
        self._between = None
        self._deaths = 0
        self._said_before = frozenset()

    def next(self, saved: Sequence[Pointer]) -> Job:
        """Return what to do now.

        Args:
            saved: The checkpoints that these attempts have reported, the newest first.

        Raises:
            GivenUp: Nothing that could help is left to try.
        """
        if self._tried:
            self._judge()
        self._tried = True
        if isinstance(self._job, TrainJob):
            known = [*saved, *self._job.resume, *([] if self._between is None else [self._between])]
            return replace(self._job, resume=_to_go_on_from(known))
        return self._job

    def _judge(self) -> None:
        """Decide whether the job is tried again, and how."""
        said, lost, too_large = self._said, self._lost, self._too_large
        self._said, self._lost, self._too_large = {}, "", ""
        if self._stopped:
            self._stopped = False
            return
        if too_large:
            self._halve(too_large)
            return
        self._deaths += 1
        errors = frozenset(said.values())
        again = errors & self._said_before
        if again or 1 < self._workers == len(said):
            raise GivenUp(f"{min(again or errors)} ({'twice' if again else 'on every worker'})")
        self._said_before = errors
        if self._deaths > self._max_failures:
            cause = min(errors, default=lost)
            reason = f"its workers died {self._deaths} times{': ' * bool(cause)}{cause}"
            raise GivenUp(reason, lost=not errors)

    def _halve(self, error: str) -> None:
        if not isinstance(self._job, TrainJob):
            raise GivenUp(error)
        size = micro_batch_of(self._job, self._workers)
        if size == 1:
            raise GivenUp(f"out of memory with one sample per pass: {error}")
        self._job = replace(self._job, micro_batch_size=size // 2)


def _to_go_on_from(known: Sequence[Pointer]) -> tuple[Pointer, ...]:
    """Return the checkpoints that a run goes on from, the newest first: where it stopped, and the last rungs.

    Args:
        known: Those that there are, the rungs among them the newest first.
    """
    rungs = [pointer for pointer in known if not is_between(pointer)][:CHECKPOINTS]
    reported = rungs[0].step if rungs else 0
    stopped = [pointer for pointer in known if is_between(pointer) and pointer.step > reported]
    return (*sorted(stopped, key=lambda pointer: pointer.step)[-1:], *rungs)


def micro_batch_of(job: TrainJob, workers: int) -> int:
    """Return how many samples of a step a worker passes through the model at once."""
    own_share = math.ceil(job.recipe.batch_size / workers)
    return min(own_share, job.micro_batch_size or own_share)
