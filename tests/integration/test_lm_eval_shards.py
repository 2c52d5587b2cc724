"""lm-eval's tasks on several processes, each with the whole model or with a shard of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from lm_eval_world import LEARNT, UNSEEN, WEIGHED, WRITTEN, save_half_taught, write_task
from tiny_models import measured, setup, task, train_job
from worlds import in_world

from trainables.scoring.lm_eval_task import LmEvalTask
from trainables.training.parallel import Share
from trainables.workers.jobs import EvaluateJob, TaskData
from trainables.workers.workbench import Workbench

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_one_thread")]


def tasks(folder: Path) -> list[TaskData]:
    """Return a target of our own, and held-outs that lm-eval scores: by what is written, and by choices."""
    held_out = []
    for name in ("written", "weighed"):
        harness = LmEvalTask.find(name, name, folder, num_fewshot=1)
        held_out.append(
            TaskData(
                name=name,
                role="held_out",
                metric=harness.metric,
                train=(),
                # An odd number, so that processes have shares of different sizes.
                search=tuple(harness.load("search", LEARNT + UNSEEN - 1)),
                harness=harness,
            )
        )
    return [task("learnt", "target", answers=("yes",), images=False), *held_out]


def serve(rank: int, model: Path, folder: Path, home: Path, sharded: bool) -> list[Any]:
    size = dist.get_world_size() if dist.is_initialized() else 1
    worker = replace(setup(model, tasks(folder)), rung_samples=4)
    bench = Workbench(worker, share=Share(rank, size, sharded))
    job = train_job(home / "trial", "mlp", rungs=(2, 4), learning_rate=1e-2)
    return [measured(bench.run(each)) for each in (EvaluateJob(predictions=True), job)]


def test_two_processes_score_like_one(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    write_task(folder, "written", WRITTEN)
    write_task(folder, "weighed", WEIGHED)
    model = save_half_taught(tmp_path / "model")
    alone = serve(0, model, folder, tmp_path / "alone", sharded=False)
    ((_, _, base, _),) = alone[0]
    for name in ("written", "weighed"):
        assert base[name].n == LEARNT + UNSEEN - 1
        assert set(base[name].scores) == {0.0, 100.0}
        assert len(set(base[name].predictions)) > 1
    (_, _, early, _), (_, _, last, _) = alone[1]
    assert {name: each.n for name, each in early.items()} == dict.fromkeys(early, 4)
    assert last["weighed"].n == base["weighed"].n
    assert last["weighed"].scores != base["weighed"].scores
    for sharded in (False, True):
        home = tmp_path / f"two-{sharded}"
        for found in in_world(2, serve, model, folder, home, sharded):
            for reports, expected in zip(found, alone, strict=True):
                for one, other in zip(reports, expected, strict=True):
                    assert one[:3] == other[:3]
                    assert one[3] == pytest.approx(other[3], rel=1e-3, abs=1e-6)
