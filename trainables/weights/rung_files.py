"""The checkpoints of a trial's rungs: which are written, and which are left."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trainables.checkpoint import OPTIMIZER_SUFFIX, optimizer_file, save_checkpoint
from trainables.files import DamagedFile, naming, read_object, sync_folder, write_atomically
from trainables.pointer import CHECKPOINTS, Pointer, pointer_from_dict, pointer_to_dict
from trainables.weights.safetensors_stream import nothing
from trainables.workers.jobs import TrainJob

if TYPE_CHECKING:
    from trainables.loop import Progress

_RUNG: Final = "step_"
_BETWEEN: Final = "between_"
_PARAMETERS: Final = ".safetensors"
_AGAIN: Final = ".again"  # a folder, while a lost rung is written again
_POINTER: Final = ".json"  # beside the tensors of a run that had to stop


class RungFiles:
    """Writes a checkpoint at each rung, and drops what no run goes on from.

    What lies in the job's folder is told from the names there: earlier lives of the job, whose workers were
    told to stop or died, have left checkpoints that this one knows nothing of.

    Args:
        job: The trial's job, whose folder nobody else writes to. What it goes on from has been reported.
        writes: Whether this process is the one that writes; the others take part in gathering tensors.
        beat: Called while files are written.
    """

    def __init__(self, job: TrainJob, *, writes: bool, beat: Callable[[], None] = nothing) -> None:
        self._folder = Path(job.folder)
        self._keep_rungs = job.keep_rungs
        self._writes = writes
        self._beat = beat
        if writes:
            _drop_temporaries(self._folder)
            if job.resume:
                self.reported(job.resume[0].step)

    def save(
        self, progress: Progress, spent: Mapping[str, float], micro_batch_size: int | None
    ) -> Pointer | None:
        """Write a rung's tensors; return the pointer to them in the process that writes."""
        return self._save(parameters_file(progress.step), progress, spent, micro_batch_size)

    def restore(self, progress: Progress, lost: Pointer) -> None:
        """Write a rung's tensors again that were lost, if they come out as they were.

        Whoever makes something of them knows them by the checksums that were reported. GPUs sum in no fixed
        order, and another number of workers in another: then what lies there stays, which may be whole for
        others.

        Args:
            progress: The run at that rung.
            lost: What was reported of it.
        """
        home = self._folder / _AGAIN
        path = home / parameters_file(progress.step) if self._writes else None
        again = save_checkpoint(path, progress.state, progress.step, beat=self._beat)
        if again is None:
            return
        if (again.sha256, again.optimizer_sha256) == (lost.sha256, lost.optimizer_sha256):
            for file in home.iterdir():
                file.replace(self._folder / file.name)
            sync_folder(self._folder)
        shutil.rmtree(home)

    def save_between(
        self, progress: Progress, spent: Mapping[str, float], micro_batch_size: int | None
    ) -> Pointer | None:
        """Write the tensors of a run that has to stop between two rungs; return the pointer likewise."""
        name = f"{_BETWEEN}{progress.step:06d}{_PARAMETERS}"
        saved = self._save(name, progress, spent, micro_batch_size)
        if saved is None:
            return None
        # Whoever began the run may be gone when it goes on.
        content = json.dumps(pointer_to_dict(saved.to_dict())).encode()
        write_atomically(Path(saved.path).with_suffix(_POINTER), content)
        self._drop_between(progress.step)
        return saved

    def reported(self, step: int) -> None:
        """Drop what the rungs that were reported need no more, by whichever life of the job it was written.

        Args:
            step: The last rung that was reported, or where the run stopped after it.
        """
        if not self._writes:
            return
        self._drop_between(step)
        steps = sorted({_step_of(path) for path in self._folder.glob(f"{_RUNG}*{_PARAMETERS}")})
        # A rung beyond was written by a process that died before it could report it, and comes again.
        for passed in [each for each in steps if each <= step][:-CHECKPOINTS]:
            path = self._folder / parameters_file(passed)
            optimizer_file(path).unlink(missing_ok=True)
            if not self._keep_rungs:
                path.unlink(missing_ok=True)

    def _save(
        self, name: str, progress: Progress, spent: Mapping[str, float], micro_batch_size: int | None
    ) -> Pointer | None:
        path = self._folder / name if self._writes else None
        saved = save_checkpoint(path, progress.state, progress.step, beat=self._beat)
        if saved is None:
            return None
        return replace(saved, spent=spent, micro_batch_size=micro_batch_size)

    def _drop_between(self, step: int) -> None:
        """Drop what was written between rungs before a step."""
        for path in self._folder.glob(f"{_BETWEEN}*"):
            if _step_of(path) < step:
                path.unlink(missing_ok=True)


def taken_up(job: TrainJob) -> TrainJob:
    """Return a job that goes on from where its run had to stop between two rungs, if it had.

    Args:
        job: The job, which goes on from the rungs that were reported.
    """
    reported = job.resume[0].step if job.resume else 0
    found = []
    for file in Path(job.folder).glob(f"{_BETWEEN}*{_POINTER}"):
        try:
            with naming(file):
                found.append(Pointer.from_dict(pointer_from_dict(read_object(file), file.parent)))
        except (DamagedFile, OSError) as error:
            print(f"going on from an earlier checkpoint, or the base: {error}", file=sys.stderr)
    following = next((rung for rung in job.rungs if rung > reported), reported)
    last = max(found, key=lambda pointer: pointer.step, default=None)
    if last is None or not reported < last.step < following:
        return job
    size = last.micro_batch_size or job.micro_batch_size
    return replace(job, resume=(last, *job.resume), micro_batch_size=size)


def taken_at_most(parameters: int, optimizer: int, rungs: int, *, keep_rungs: bool) -> int:
    """Return the bytes that the checkpoints of a job take at most while it runs.

    A rung is written before the older of the two before it is dropped. What a notice had written is still
    there then; or it is, instead of that rung, while the next notice's is written.

    Args:
        parameters: Bytes of a checkpoint's trained parameters.
        optimizer: Bytes of the rest of it.
        rungs: How many rungs the job has.
        keep_rungs: Whether the parameters of all of them stay.
    """
    whole = min(rungs, CHECKPOINTS + 1)
    earlier = rungs - whole if keep_rungs else 0
    return (whole + 1) * (parameters + optimizer) + earlier * parameters


def is_between(pointer: Pointer) -> bool:
    """Return whether a checkpoint was written between two rungs."""
    return Path(pointer.path).name.startswith(_BETWEEN)


def parameters_file(step: int) -> str:
    """Return the name of the file with what a trial had trained after `step` optimiser steps."""
    return f"{_RUNG}{step:06d}{_PARAMETERS}"


def settle(folder: Path, *, keep_rungs: bool) -> None:
    """Keep a trial's trained parameters alone: its job is over, and no run goes on from what it left.

    Args:
        folder: The trial's folder.
        keep_rungs: Whether those of earlier rungs stay, too.
    """
    for pattern in (f"{_RUNG}*{OPTIMIZER_SUFFIX}", f"{_BETWEEN}*"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
    _drop_temporaries(folder)
    if not keep_rungs:
        for path in sorted(folder.glob(f"{_RUNG}*{_PARAMETERS}"))[:-1]:
            path.unlink(missing_ok=True)


def _step_of(path: Path) -> int:
    """Return the optimiser steps that a file's name tells: `step_000040.optimizer.safetensors` is 40."""
    return int(path.name.partition("_")[2].partition(".")[0])


def _drop_temporaries(folder: Path) -> None:
    """Drop what a process that was killed while it wrote has left."""
    for kind in (_RUNG, _BETWEEN):
        for path in folder.glob(f".{kind}*.tmp"):
            path.unlink(missing_ok=True)
    shutil.rmtree(folder / _AGAIN, ignore_errors=True)
