"""Jobs that fail by themselves in a warm group: the reason is told, and the next job meets a fresh one."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import torch
from faults import processes
from PIL import Image
from tiny_models import measured, samples, setup, task, train_job

from trainables.data.encoded_set import SetIndex
from trainables.data.encoded_writer import encode_part
from trainables.group import WorkerGroup
from trainables.workers.execution import GroupShape
from trainables.workers.jobs import Job, Report, TrainJob, WorkerSetup
from trainables.workers.workbench import Workbench

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray", "_one_thread")]

# A step of the whole batch takes about 850 MiB, more than the room that is left to the worker; and so much of
# it keeps Ray's own threads going.
BATCH, ROOM = 4096, 256 << 20


@pytest.fixture(scope="module")
def prepared(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[WorkerSetup, Path]:
    """What a worker loads, whose training images are read when they are needed; and one of these images."""
    folder = tmp_path_factory.mktemp("data")
    given = []
    for number, sample in enumerate(samples("easy", 8, answers=("yes",))):
        path = folder / f"{number}.png"
        Image.fromarray(sample.images[0]).save(path)
        given.append(replace(sample, images=(path,)))
    part, bad = encode_part(str(base), given, folder / "part.arrow", torch.float32, streamed=True)
    assert not bad
    SetIndex((part,), streamed=True).write(folder)
    tasks = (task("easy", "target", answers=("yes",), train=given), task("kept", "held_out", n=5))
    return replace(setup(base, tasks), encoded={"easy/train": str(folder)}), folder / "3.png"


@pytest.fixture(scope="module")
def group(
    local_ray: None, prepared: tuple[WorkerSetup, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    actor = ray.remote(num_cpus=0, max_concurrency=100)(WorkerGroup)
    made = actor.remote("failing", prepared[0], GroupShape(), str(tmp_path_factory.mktemp("storage")), 3)
    yield made
    ray.get(made.close.remote())
    ray.get(made.wait_closed.remote(), timeout=60)


def served(group: Any, job: Job) -> list[Report]:
    sequence = ray.get(group.submit.remote(job))
    reports: list[Report] = []
    while not reports or not reports[-1].done:
        reports.append(ray.get(group.next_report.remote(sequence), timeout=120))
    return reports


def assert_as_fresh(group: Any, setup: WorkerSetup, folder: Path) -> None:
    """Check that the group's next job equals one of a model that was just loaded, and took nothing over."""
    after = served(group, train_job(folder / "next", "full"))
    assert measured(after) == measured(Workbench(setup).run(train_job(folder / "fresh", "full")))


def test_a_sample_that_can_not_be_read_fails_the_job_with_its_name(
    group: Any, prepared: tuple[WorkerSetup, Path], tmp_path: Path
) -> None:
    what, image = prepared
    served(group, train_job(tmp_path / "first"))
    before = [process.pid for process in processes("worker")]
    image.rename(image.with_suffix(".gone"))
    (report,) = served(group, train_job(tmp_path / "broken"))
    assert image.name in str(report.error)
    image.with_suffix(".gone").rename(image)
    assert_as_fresh(group, what, tmp_path)
    assert [process.pid for process in processes("worker")] == before


@pytest.mark.parametrize("learning_rate", [1e38, 1e3])
def test_a_loss_that_is_not_finite_or_explodes_fails_the_job(
    group: Any, prepared: tuple[WorkerSetup, Path], tmp_path: Path, learning_rate: float
) -> None:
    job = train_job(tmp_path / "job", rungs=(50,), learning_rate=learning_rate, max_grad_norm=0.0)
    (report,) = served(group, job)
    assert report.error is not None, report.metrics
    assert report.error.startswith("loss is ")
    assert_as_fresh(group, prepared[0], tmp_path)


def limited(job: TrainJob, group: Any, room: int) -> list[Report]:
    """Run a job of two rungs, whose worker may take so much more memory than it has until the first."""
    (worker,) = processes("worker")
    limit = psutil.Process(worker.pid).memory_info().vms + room
    unlimited = resource.prlimit(worker.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    sequence = ray.get(group.submit.remote(job))
    try:
        first = ray.get(group.next_report.remote(sequence), timeout=120)
    finally:
        if worker.is_running():
            resource.prlimit(worker.pid, resource.RLIMIT_AS, unlimited)
    assert first.error is None
    return [first, ray.get(group.next_report.remote(sequence), timeout=120)]


def test_out_of_memory_halves_the_passes_and_not_the_batch(
    group: Any, prepared: tuple[WorkerSetup, Path], tmp_path: Path
) -> None:
    what, _ = prepared
    served(group, train_job(tmp_path / "first"))
    job = train_job(tmp_path / "large", rungs=(1, 2), batch_size=BATCH)
    before = [process.pid for process in processes("worker")]
    reports = limited(job, group, ROOM)
    assert [report.error for report in reports] == [None, None]
    assert [process.pid for process in processes("worker")] == before
    (size,) = {report.metrics["cost/micro_batch_size"] for report in reports}
    assert 1 <= size < BATCH
    assert {BATCH // 2**n for n in range(12)} >= {size}
    same = replace(train_job(tmp_path / "same", rungs=(1, 2), batch_size=BATCH), micro_batch_size=int(size))
    assert measured(reports) == measured(Workbench(what).run(same))
    assert_as_fresh(group, what, tmp_path)


def test_an_error_on_every_worker_of_a_group_is_tried_at_most_twice(
    prepared: tuple[WorkerSetup, Path], tmp_path: Path
) -> None:
    """The others might wait for one that failed, so the group is started anew; not max_failures times."""
    what, image = prepared
    actor = ray.remote(num_cpus=0, max_concurrency=100)(WorkerGroup)
    pair = actor.remote("pair", what, GroupShape(workers=2, cpus=0.5), str(tmp_path / "storage"), 9)
    served(pair, train_job(tmp_path / "first"))
    image.rename(image.with_suffix(".gone"))
    (report,) = served(pair, train_job(tmp_path / "broken"))
    image.with_suffix(".gone").rename(image)
    assert image.name in str(report.error)
    assert str(report.error).endswith(("(on every worker)", "(twice)"))
    # Nothing of it is left in the group that serves on.
    assert [each.error for each in served(pair, train_job(tmp_path / "next"))] == [None, None]
    ray.get(pair.close.remote())
    ray.get(pair.wait_closed.remote(), timeout=60)
