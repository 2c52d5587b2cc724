"""Multimodal models in two shards train and answer as in one piece: images of any layout, and text alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_multimodal
import torch
import torch.distributed as dist
from tiny_models import measured, setup, train_job
from worlds import in_world

from trainables.metrics import EXACT_MATCH, MetricSpec
from trainables.training.parallel import Share
from trainables.workers.jobs import TaskData
from trainables.workers.workbench import Workbench

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_one_thread")]

SUBSETS = ("sa_proj", "vision", "projector")


def tasks() -> list[TaskData]:
    """Return tasks of odd sizes, scored by teacher forcing, by what is generated and by likelihood."""
    mixed, held = (tuple(tiny_multimodal.samples(name, 7, text_only=2)) for name in ("mixed", "held"))
    choices = ("7", "red cat", "no")
    return [
        TaskData(name="learnt", role="target", metric=EXACT_MATCH, train=mixed, search=held[:5]),
        TaskData(
            name="kept",
            role="held_out",
            metric=MetricSpec("normalized_exact_match"),
            train=(),
            search=held[2:],
        ),
        TaskData(
            name="weighed",
            role="held_out",
            metric=MetricSpec("multiple_choice"),
            train=(),
            search=tuple(replace(sample, choices=choices) for sample in held[2:]),
        ),
    ]


def serve(rank: int, model: Path, folder: Path) -> dict[str, Any]:
    size = dist.get_world_size() if dist.is_initialized() else 1
    bench = Workbench(setup(model, tasks()), share=Share(rank, size, sharded=size > 1))
    jobs = {s: train_job(folder / s, s, rungs=(2, 4), learning_rate=1e-3) for s in SUBSETS}
    return {subset: measured(bench.run(job)) for subset, job in jobs.items()}


@pytest.mark.parametrize("name", ["qwen2_5_vl", "llava_next", "llava_onevision"])
def test_two_shards_train_and_answer_like_one_process(name: str, tmp_path: Path) -> None:
    model = tiny_multimodal.save(name, tmp_path / "model")
    alone = serve(0, model, tmp_path / "alone")
    two, _ = in_world(2, serve, model, tmp_path / "two")
    for subset in SUBSETS:
        for one, other in zip(alone[subset], two[subset], strict=True):
            assert one[:2] == other[:2]
            assert one[2] == other[2], "the answers"
            assert other[3] == pytest.approx(one[3], rel=1e-3, abs=1e-6)
    assert not torch.distributed.is_initialized()
