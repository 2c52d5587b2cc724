"""The worker loop on CUDA: the base comes back bit for bit, and each job's peak memory is its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import ray
import torch
from tiny_models import llava, measured, setup, train_job

from trainables.group import WorkerGroup
from trainables.loop import TrialFailed
from trainables.workers.execution import GroupShape
from trainables.workers.jobs import EvaluateJob, Job, Report, WorkerSetup
from trainables.workers.workbench import Workbench

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def prepared(request: pytest.FixtureRequest, base: Path) -> WorkerSetup:
    return replace(setup(base), dtype=request.param)


@pytest.fixture(scope="module")
def bench(prepared: WorkerSetup) -> Workbench:
    return Workbench(prepared, "cuda", gpus=1.0)


def assert_is_base(bench: Workbench, prepared: WorkerSetup) -> None:
    expected = llava().to(getattr(torch, prepared.dtype)).state_dict()
    for name, tensor in bench.model.state_dict().items():
        assert tensor.is_cuda
        assert torch.equal(tensor.cpu(), expected[name]), name
    assert not any(p.requires_grad or p.grad is not None for p in bench.model.parameters())


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("subset", ["full", "sa_proj", "gate_up"])
def test_the_base_comes_back(
    bench: Workbench, prepared: WorkerSetup, subset: str, checkpointing: bool, tmp_path: Path
) -> None:
    job = replace(train_job(tmp_path, subset), micro_batch_size=2, activation_checkpointing=checkpointing)
    _, last = bench.run(job)
    assert last.metrics["cost/gpu_seconds"] > 0
    assert last.metrics["drift/kl_target"] > 0
    assert_is_base(bench, prepared)


def test_the_base_comes_back_after_a_failure(bench: Workbench, prepared: WorkerSetup, tmp_path: Path) -> None:
    with pytest.raises(TrialFailed):
        list(bench.run(train_job(tmp_path, learning_rate=1e38)))
    assert_is_base(bench, prepared)


def test_a_job_s_peak_is_not_an_earlier_job_s(bench: Workbench, tmp_path: Path) -> None:
    def peak(name: str, subset: str, micro_batch_size: int) -> float:
        job = replace(train_job(tmp_path / name, subset, rungs=(2,)), micro_batch_size=micro_batch_size)
        (report,) = bench.run(job)
        return report.metrics["cost/peak_memory_bytes"]

    # What CUDA's libraries keep for themselves is there after a first job.
    peak("warm", "full", 4)
    # All parameters take a saved copy, gradients and two moments more than two matrices do.
    assert peak("small", "down", 1) < peak("large", "full", 4)
    assert peak("again", "down", 1) < peak("larger", "full", 4)


@pytest.mark.usefixtures("local_ray")
def test_a_worker_group_trains_on_its_gpu(bench: Workbench, prepared: WorkerSetup, tmp_path: Path) -> None:
    actor = ray.remote(num_cpus=0, max_concurrency=100)(WorkerGroup)
    shape = GroupShape(workers=1, cpus=1, gpus=1)
    group = actor.remote("gpu", prepared, shape, str(tmp_path / "storage"), 0)

    def served(job: Job) -> list[Report]:
        sequence = ray.get(group.submit.remote(job))
        reports: list[Report] = []
        while not reports or not reports[-1].done:
            reports.append(ray.get(group.next_report.remote(sequence), timeout=180))
        assert reports[-1].error is None
        return reports

    try:
        before = measured(served(EvaluateJob()))
        (report,) = served(train_job(tmp_path / "trial", "sa_proj", rungs=(4,)))
        assert report.metrics["cost/gpu_seconds"] > 0
        (alone,) = bench.run(train_job(tmp_path / "alone", "sa_proj", rungs=(4,)))
        assert report.metrics["train/loss"] == pytest.approx(alone.metrics["train/loss"], rel=1e-2)
        assert measured(served(EvaluateJob())) == before
    finally:
        ray.get(group.close.remote())
        ray.get(group.wait_closed.remote(), timeout=60)
