"""The checkpoints of a trial's rungs: which are written, and which are left."""

from __future__ import annotations

from pathlib import Path

from trainables.checkpoint import Pointer, keep_parameters_only, save_checkpoint
from trainables.loop import Progress
from trainables.workers.jobs import TrainJob


class RungFiles:
    """Writes a checkpoint at each rung, and drops what no run goes on from.

    Args:
        job: The trial's job.
        writes: Whether this process is the one that writes; the others take part in gathering tensors.
    """

    def __init__(self, job: TrainJob, *, writes: bool) -> None:
        self._job = job
        self._writes = writes
        self._previous: Pointer | None = None
        self._last: Pointer | None = None

    def save(self, progress: Progress) -> Pointer | None:
        """Write a rung's tensors; return the pointer to them in the process that writes."""
        path = Path(self._job.folder) / f"step_{progress.step:06d}.safetensors"
        saved = save_checkpoint(path if self._writes else None, progress.state, progress.step)
        self._previous, self._last = self._last or self._job.resume, saved
        return saved

    def reported(self) -> None:
        """Retire the rung before the last, which has now been reported."""
        self._retire()
        self._previous = None

    def settle(self) -> None:
        """Keep a trial's parameters alone: no run goes on from its earlier rung or optimiser."""
        self._retire()
        if self._last is not None:
            keep_parameters_only(Path(self._last.path))

    def _retire(self) -> None:
        if self._previous is None or not self._writes:
            return
        if self._job.keep_rungs:
            keep_parameters_only(Path(self._previous.path))
        else:
            Path(self._previous.path).unlink(missing_ok=True)
