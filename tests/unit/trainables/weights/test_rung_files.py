"""Which checkpoints of a trial are written, and which are left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import train_job

from trainables.checkpoint import PARAMETER, save_checkpoint
from trainables.loop import Progress
from trainables.pointer import Pointer
from trainables.weights.rung_files import RungFiles, taken_at_most


def progress(step: int) -> Progress:
    state = {"step": torch.tensor(step), f"{PARAMETER}a": torch.full((4,), float(step))}
    return Progress(step=step, losses=(), seconds=0.0, started_at=0.0, state=state)


def saved(folder: Path, step: int) -> Pointer:
    pointer = save_checkpoint(folder / f"step_{step:06d}.safetensors", progress(step).state, step)
    assert pointer is not None
    return pointer


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def go_on(folder: Path, *resume: Pointer) -> None:
    """Write three rungs after what a job goes on from."""
    job = replace(train_job(folder, rungs=(1, 3, 5, 7)), resume=resume)
    written = RungFiles(job, writes=True)
    for step in (3, 5, 7):
        written.save(progress(step), {}, None)
        written.reported(step)


def whole(*steps: int, kind: str = "step") -> set[str]:
    return {f"{kind}_{step:06d}{part}.safetensors" for step in steps for part in ("", ".optimizer")}


LAST_TWO = whole(5, 7)


def test_what_a_job_goes_on_from_goes_with_the_rungs_after_it(tmp_path: Path) -> None:
    go_on(tmp_path / "job", saved(tmp_path / "job", 1))
    assert files(tmp_path / "job") == LAST_TWO


def test_so_it_does_under_another_name_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    go_on(tmp_path / "link", saved(tmp_path / "real", 1))
    assert files(tmp_path / "real") == LAST_TWO


def test_what_lies_outside_the_job_s_folder_is_not_deleted(tmp_path: Path) -> None:
    elsewhere = saved(tmp_path / "other", 1)
    own = saved(tmp_path / "job", 1)
    before = files(tmp_path / "other")
    go_on(tmp_path / "job", elsewhere)
    assert files(tmp_path / "other") == before
    # Nor the half of a pointer whose other half is the job's own.
    go_on(tmp_path / "job", replace(own, optimizer=elsewhere.optimizer))
    assert files(tmp_path / "other") == before


@pytest.mark.parametrize("keep_rungs", [False, True])
def test_what_lives_that_were_told_to_stop_left_goes_when_it_is_needed_no_more(
    tmp_path: Path, keep_rungs: bool
) -> None:
    """Rungs 2 and 4, three notices before the next rung, each of them in a life of its own."""
    job = replace(train_job(tmp_path, rungs=(2, 4, 8, 10)), keep_rungs=keep_rungs)
    life = RungFiles(job, writes=True)
    rungs: list[Pointer] = []
    for step in (2, 4):
        saved = life.save(progress(step), {}, None)
        assert saved is not None
        rungs = [saved, *rungs]
        life.reported(step)
    for step in (5, 6, 7):
        between = life.save_between(progress(step), {}, None)
        assert between is not None
        assert files(tmp_path) == whole(2, 4) | whole(step, kind="between") | {f"between_{step:06d}.json"}
        life = RungFiles(replace(job, resume=(between, *rungs)), writes=True)
    for step, left in ((8, (4, 8)), (10, (8, 10))):
        life.save(progress(step), {}, None)
        life.reported(step)
        earlier = {"step_000002.safetensors", "step_000004.safetensors"} if keep_rungs else set()
        assert files(tmp_path) == whole(*left) | earlier


def test_a_rung_before_the_last_two_goes_though_who_wrote_the_last_died_at_once(tmp_path: Path) -> None:
    rungs = [saved(tmp_path, step) for step in (2, 4, 6)]
    # What no driver knows of comes again, and is not counted.
    saved(tmp_path, 8)
    (tmp_path / "between_000005.safetensors").touch()
    job = replace(train_job(tmp_path, rungs=(2, 4, 6, 8)), resume=(rungs[2], rungs[1]))
    RungFiles(job, writes=False)
    assert files(tmp_path) == whole(2, 4, 6, 8) | {"between_000005.safetensors"}
    RungFiles(job, writes=True)
    assert files(tmp_path) == whole(4, 6, 8)


@pytest.mark.parametrize("keep_rungs", [False, True])
@pytest.mark.parametrize("rungs", [(9,), (2, 9), (1, 2, 4, 9), (1, 2, 3, 4, 9)])
def test_no_more_lies_there_at_any_time_than_has_room(
    tmp_path: Path, rungs: tuple[int, ...], keep_rungs: bool
) -> None:
    """With two notices before the last rung, the worst there is; looked at whenever something is written."""
    seen: list[int] = []

    def look() -> None:
        seen.append(sum(path.stat().st_size for path in tmp_path.iterdir() if path.suffix != ".json"))

    job = replace(train_job(tmp_path, rungs=rungs), keep_rungs=keep_rungs)
    life = RungFiles(job, writes=True, beat=look)
    resume: tuple[Pointer, ...] = ()
    for step in (*rungs[:-1], 5, 6, rungs[-1]):
        if step in rungs:
            written = life.save(progress(step), {}, None)
            assert written is not None
            look()
            life.reported(step)
            resume = (written, *resume)[:2]
        else:
            between = life.save_between(progress(step), {}, None)
            assert between is not None
            life = RungFiles(replace(job, resume=(between, *resume)), writes=True, beat=look)
    one, other = (Path(str(path)).stat().st_size for path in (written.path, written.optimizer))
    whole, earlier = {1: (2, 0), 2: (3, 0), 4: (4, 1), 5: (4, 2)}[len(rungs)]
    assert max(seen) == whole * (one + other) + earlier * one * keep_rungs
    assert max(seen) == taken_at_most(one, other, len(rungs), keep_rungs=keep_rungs)
