"""A real worker group: Ray Train workers that serve one job after another."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from faults import spoil_disk
from tiny_models import measured, setup, train_job

from trainables.group import WorkerGroup
from trainables.pointer import Pointer
from trainables.workers.causes import GroupFailed, GroupHopeless
from trainables.workers.execution import GroupShape
from trainables.workers.jobs import EvaluateJob, Job, Report, TrainJob, WorkerSetup
from trainables.workers.workbench import Workbench

pytestmark = pytest.mark.usefixtures("local_ray", "_one_thread")


def start(name: str, what: WorkerSetup, storage: Path, *, max_failures: int = 1) -> Any:
    actor = ray.remote(num_cpus=0, max_concurrency=100)(WorkerGroup)
    return actor.remote(name, what, GroupShape(), str(storage), max_failures)


@pytest.fixture(scope="module")
def group(local_ray: None, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    made = start("warm", setup(base), tmp_path_factory.mktemp("storage"))
    yield made
    ray.get(made.close.remote())
    ray.get(made.wait_closed.remote(), timeout=60)


def served(group: Any, job: Job) -> list[Report]:
    """Run a job to its end."""
    sequence = ray.get(group.submit.remote(job))
    reports: list[Report] = []
    while not reports or not reports[-1].done:
        reports.append(ray.get(group.next_report.remote(sequence), timeout=120))
    return reports


def fresh(base: Path, job: Job) -> list[Report]:
    """Run a job on a model that was just loaded, in this process and without Ray."""
    return list(Workbench(setup(base)).run(job))


def checkpoints(job: TrainJob) -> list[str]:
    return sorted(path.name for path in Path(job.folder).iterdir())


def workers() -> list[psutil.Process]:
    """Return the Ray Train workers below this process that are alive."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[0].startswith("ray::") and "TrainWorker" in process.cmdline()[0]:
                found.append(process)
    return found


def worker() -> psutil.Process:
    """Return the one worker of the warm group."""
    (found,) = workers()
    return found


def test_serves_one_job_after_another_in_one_process(group: Any, base: Path, tmp_path: Path) -> None:
    (evaluated,) = served(group, EvaluateJob())
    assert measured([evaluated]) == measured(fresh(base, EvaluateJob()))
    first = worker().pid
    for subset in ("full", "sa_proj", "vision"):
        job = train_job(tmp_path / subset, subset)
        assert measured(served(group, job)) == measured(
            fresh(base, train_job(tmp_path / f"{subset}2", subset))
        )
    assert worker().pid == first


def test_a_later_job_starts_at_once(group: Any, tmp_path: Path) -> None:
    served(group, train_job(tmp_path / "first", "down"))
    later = [served(group, train_job(tmp_path / f"later{n}", "down"))[0] for n in range(3)]
    # A start from nothing takes some ten seconds; the bound leaves room for a busy machine.
    assert sorted(report.metrics["cost/turn_round_seconds"] for report in later)[1] < 1.0


def test_workers_wait_for_the_next_report_to_be_asked_for(group: Any, tmp_path: Path) -> None:
    job = train_job(tmp_path / "waits", rungs=(1, 2, 3))
    sequence = ray.get(group.submit.remote(job))
    time.sleep(0.5)
    assert not Path(job.folder).exists(), "the job began before its first report was asked for"
    ray.get(group.next_report.remote(sequence))
    time.sleep(0.5)
    assert checkpoints(job) == ["step_000001.optimizer.safetensors", "step_000001.safetensors"]
    ray.get(group.abandon.remote(sequence))


def test_an_abandoned_job_leaves_no_trace_on_the_next(group: Any, base: Path, tmp_path: Path) -> None:
    first = ray.get(group.submit.remote(train_job(tmp_path / "stopped", "llm", rungs=(3, 1000))))
    stopped = ray.get(group.next_report.remote(first))
    assert (stopped.step, stopped.done) == (3, False)
    ray.get(group.abandon.remote(first))
    after = served(group, train_job(tmp_path / "next", "full"))
    assert measured(after) == measured(fresh(base, train_job(tmp_path / "fresh", "full")))


def test_a_new_job_takes_an_open_one_s_place(group: Any, base: Path, tmp_path: Path) -> None:
    first = ray.get(group.submit.remote(train_job(tmp_path / "first", "full", rungs=(1, 500))))
    ray.get(group.next_report.remote(first))
    waiting = group.next_report.remote(first)
    after = served(group, train_job(tmp_path / "second", "down"))
    with pytest.raises(GroupFailed, match="the job was abandoned"):
        ray.get(waiting)
    assert measured(after) == measured(fresh(base, train_job(tmp_path / "fresh", "down")))


def test_what_belongs_to_an_earlier_job_is_refused(group: Any, base: Path, tmp_path: Path) -> None:
    old = ray.get(group.submit.remote(train_job(tmp_path / "old", "down")))
    job = train_job(tmp_path / "new", "down")
    sequence = ray.get(group.submit.remote(job))
    assert ray.get(group.report.remote(life_of(group), old, Report(step=2, done=False))) is False
    with pytest.raises(GroupFailed, match="the job was abandoned"):
        ray.get(group.next_report.remote(old))
    ray.get(group.abandon.remote(old))
    time.sleep(0.5)
    assert not Path(job.folder).exists(), "asking for an old job's report let the new job go on"
    first, last = (ray.get(group.next_report.remote(sequence), timeout=60) for _ in range(2))
    assert measured([first, last]) == measured(fresh(base, train_job(tmp_path / "fresh", "down")))


def life_of(group: Any) -> int:
    life: int = ray.get(group.__ray_call__.remote(lambda actor: actor._life))
    return life


def test_what_workers_of_an_earlier_life_still_say_is_refused(group: Any, base: Path, tmp_path: Path) -> None:
    """As from a node that was cut off from the group, given up, and found again."""
    served(group, EvaluateJob())
    before = life_of(group) - 1
    sequence = ray.get(group.submit.remote(train_job(tmp_path / "job", "down")))
    said = group.report.remote(before, sequence, Report(step=6, done=True))
    assert ray.get(said, timeout=10) is False
    pending = group.next_report.remote(sequence)
    assert ray.get(group.next_job.remote(before), timeout=10) is None
    first, last = ray.get(pending, timeout=60), ray.get(group.next_report.remote(sequence), timeout=60)
    assert measured([first, last]) == measured(fresh(base, train_job(tmp_path / "fresh", "down")))


def test_what_is_said_late_does_not_count_against_the_open_job(group: Any, tmp_path: Path) -> None:
    """By workers of an earlier life, or of a job before, whose checkpoint is none of the open one's."""
    old = ray.get(group.submit.remote(train_job(tmp_path / "old", "down")))
    sequence = ray.get(group.submit.remote(train_job(tmp_path / "job", "full", rungs=(2, 1000))))
    ray.get(group.next_report.remote(sequence), timeout=60)
    group.next_report.remote(sequence)  # only a worker at work can find a step too large
    life, pointer = life_of(group), Pointer(str(tmp_path / "old" / "between_000001.safetensors"), "", 1)

    def after(*who: int) -> dict[str, Any]:
        """Return what the group knows of its attempts at the open job, after something was said."""
        said = [
            group.failed.remote(*who, 0, "ValueError: late"),
            group.stopped.remote(*who, pointer),
            group.lost.remote(*who, "late"),
            group.too_large.remote(*who, "late"),
        ]
        ray.get(said, timeout=10)
        return known()

    def known() -> dict[str, Any]:
        found: dict[str, Any] = ray.get(group.__ray_call__.remote(lambda actor: dict(vars(actor._attempts))))
        return found

    before = known()
    assert after(life - 1, sequence) == before
    assert after(life, old) == before
    assert after(life, sequence) != before
    ray.get(group.abandon.remote(sequence))


@pytest.mark.parametrize("kind", ["not a number", "exception"])
def test_a_job_that_fails_is_reported_and_the_next_one_is_fine(
    group: Any, base: Path, tmp_path: Path, kind: str
) -> None:
    if kind == "not a number":
        broken, message = train_job(tmp_path / "broken", learning_rate=1e38), "loss is nan at step 2"
    else:
        (tmp_path / "file").touch()
        broken, message = train_job(tmp_path / "file" / "folder", "full"), "NotADirectoryError: "
    before = worker().pid
    (report,) = served(group, broken)
    assert report.done
    assert report.error is not None
    assert report.error.startswith(message)
    assert not report.lost
    assert "\n" not in report.error
    after = served(group, train_job(tmp_path / "next", "full"))
    assert measured(after) == measured(fresh(base, train_job(tmp_path / "fresh", "full")))
    assert worker().pid == before


def kill_during(group: Any, job: TrainJob, sequence: int) -> Any:
    """Ask for the next report, kill the worker while it trains, and return the pending report."""
    dead = worker()
    pending = group.next_report.remote(sequence)
    time.sleep(0.3)
    os.kill(dead.pid, signal.SIGKILL)
    dead.wait(timeout=10)
    assert not ray.wait([pending], timeout=0)[0], "the job was done before its worker could be killed"
    return pending


def test_a_killed_worker_s_job_goes_on_from_its_checkpoint(group: Any, base: Path, tmp_path: Path) -> None:
    """The mean loss since the last rung shows where the second attempt began."""
    rungs = (3, 300, 303)
    job = train_job(tmp_path / "killed", "full", rungs=rungs, learning_rate=1e-3)
    sequence = ray.get(group.submit.remote(job))
    first = ray.get(group.next_report.remote(sequence))
    second = ray.get(kill_during(group, job, sequence), timeout=120)
    third = ray.get(group.next_report.remote(sequence), timeout=60)
    undisturbed = fresh(base, train_job(tmp_path / "fresh", "full", rungs=rungs, learning_rate=1e-3))
    assert measured([first, second, third]) == measured(undisturbed)
    assert checkpoints(job)[-1] == "step_000303.safetensors"


def test_a_job_whose_workers_die_too_often_fails_alone(group: Any, base: Path, tmp_path: Path) -> None:
    job = train_job(tmp_path / "doomed", "full", rungs=(100_000,))
    sequence = ray.get(group.submit.remote(job))
    pending = kill_during(group, job, sequence)
    # Ray Train starts a new worker, which takes the job for the second time.
    deadline = time.monotonic() + 90
    while ray.get(group.__ray_call__.remote(lambda actor: actor._attempts._deaths)) < 1:
        assert time.monotonic() < deadline, "the worker was not started again"
        time.sleep(0.2)
    again = worker()
    os.kill(again.pid, signal.SIGKILL)
    report = ray.get(pending, timeout=120)
    assert (report.error, report.lost) == ("its workers died 2 times", True)
    after = served(group, train_job(tmp_path / "next", "full"))
    assert measured(after) == measured(fresh(base, train_job(tmp_path / "fresh", "full")))


def test_a_write_that_fails_on_the_machine_s_side_is_tried_again(
    group: Any, base: Path, tmp_path: Path
) -> None:
    served(group, EvaluateJob())
    spoil_disk("worker")
    reports = served(group, train_job(tmp_path / "spoilt", "full"))
    assert measured(reports) == measured(fresh(base, train_job(tmp_path / "fresh", "full")))
    assert all(report.checkpoint is not None for report in reports)


def test_a_model_that_can_not_be_loaded_reaches_who_waits(local_ray: None, tmp_path: Path) -> None:
    group = start("broken", setup(tmp_path / "nowhere"), tmp_path / "storage")
    sequence = ray.get(group.submit.remote(EvaluateJob()))
    with pytest.raises(GroupHopeless, match=r"ModelError: model '.*nowhere' can't be loaded"):
        ray.get(group.next_report.remote(sequence), timeout=120)
    ray.get(group.wait_closed.remote(), timeout=60)
