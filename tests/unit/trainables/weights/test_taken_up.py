"""Where a run goes on that had to stop between two rungs, though whoever began it is gone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import train_job

from trainables.checkpoint import PARAMETER, load_checkpoint
from trainables.loop import Progress
from trainables.pointer import Pointer
from trainables.weights.rung_files import RungFiles, settle, taken_up
from trainables.workers.jobs import TrainJob

SPENT = {"train_seconds": 2.0}


def stopped_at(job: TrainJob, step: int) -> Pointer:
    """Write what a run leaves that has to stop after so many steps."""
    state = {
        "step": torch.tensor(step),
        f"{PARAMETER}w": torch.full((2,), float(step)),
        "exp_avg/w": torch.ones(2),
    }
    progress = Progress(step=step, losses=(), seconds=1.0, started_at=0.0, state=state, stopped=True)
    saved = RungFiles(job, writes=True).save_between(progress, SPENT, 2)
    assert saved is not None
    return saved


@pytest.fixture
def job(tmp_path: Path) -> TrainJob:
    """A job whose rung at step 4 was reported."""
    found = replace(train_job(tmp_path / "t", rungs=(4, 8, 12)), micro_batch_size=4)
    rung = Pointer(str(Path(found.folder) / "step_000004.safetensors"), "0" * 64, 4)
    return replace(found, resume=(rung,))


def test_it_goes_on_between_two_rungs_wherever_its_folder_lies_now(job: TrainJob, tmp_path: Path) -> None:
    stopped_at(job, 5)
    saved = stopped_at(job, 7)
    assert taken_up(job).resume == (saved, *job.resume)
    assert taken_up(job).micro_batch_size == 2
    moved = replace(job, folder=str(tmp_path / "moved"))
    shutil.move(job.folder, moved.folder)
    pointer = taken_up(moved).resume[0]
    assert (pointer.step, pointer.spent) == (7, SPENT)
    assert load_checkpoint(pointer)[f"{PARAMETER}w"].tolist() == [7, 7]


@pytest.mark.parametrize("step", [3, 4, 8, 9])
def test_what_lies_elsewhere_than_before_the_next_rung_is_no_help(job: TrainJob, step: int) -> None:
    """A rung after the reported one would never be reported."""
    stopped_at(job, step)
    assert taken_up(job) == job


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", json.dumps({"path": "../x.safetensors", "sha256": "", "step": 6}).encode()],
)
def test_a_damaged_pointer_means_the_rung_before(
    job: TrainJob, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = stopped_at(job, 6)
    Path(saved.path).with_suffix(".json").write_bytes(content)
    assert taken_up(job) == job
    assert "between_000006.json: this file of the study is damaged: " in capsys.readouterr().err


def test_nothing_of_it_stays_when_the_job_is_over(job: TrainJob) -> None:
    stopped_at(job, 6)
    settle(Path(job.folder), keep_rungs=True)
    assert list(Path(job.folder).iterdir()) == []
