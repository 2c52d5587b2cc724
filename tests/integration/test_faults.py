"""Whatever dies under a trial, it goes on, and its result is that of an undisturbed one, bit for bit."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
from faults import kill, left_over, stop, stuck_write, take_away, until
from faulty_trials import CONFIG, RUNGS, assert_same, make, trainable, undisturbed_reports, worker_setup
from ray.util.placement_group import placement_group_table

from trainables.pointer import CHECKPOINTS
from trainables.pool import WorkerPool, write_setup
from trainables.workers.jobs import Report

pytestmark = pytest.mark.usefixtures("local_ray", "_one_thread")

HANG_SECONDS = 4.0


@pytest.fixture(scope="module")
def pool(local_ray: None, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    actor = ray.remote(num_cpus=0, max_concurrency=100, max_restarts=-1, max_task_retries=-1)(WorkerPool)
    storage = tmp_path_factory.mktemp("storage")
    made = actor.remote(
        write_setup(worker_setup(base), storage),
        [{"CPU": 1}],
        str(storage),
        2,
        hang_seconds=HANG_SECONDS,
    )
    yield made
    ray.get(made.close.remote(), timeout=120)
    ray.kill(made)
    until(lambda: ray.available_resources().get("CPU") == 2, "cores are still held")
    until(lambda: not left_over(), "processes are left")
    places = {place["state"] for place in placement_group_table().values()}
    assert places <= {"REMOVED"}


@pytest.fixture(scope="module")
def undisturbed(base: Path, _one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> list[Report]:
    return undisturbed_reports(base, tmp_path_factory.mktemp("twin"))


def disturbed(trial: Any, folder: Path, fault: Callable[[], None], moment: str) -> list[Mapping[str, Any]]:
    """Run a trial to its end, with a fault in the middle."""
    results = [trial.step()]
    with ThreadPoolExecutor(1) as thread:
        reached = stuck_write(folder / "t-1", RUNGS[1]) if moment == "checkpointing" else None
        for meant in (("training", "checkpointing"), ("evaluation",)):
            pending = thread.submit(trial.step)
            if moment in meant:
                if reached is not None:
                    reached()
                else:
                    time.sleep(0.3)
                assert not pending.done(), "the rung was done before anything could happen"
                hit = time.monotonic()
                fault()
            results.append(pending.result(timeout=120))
            if moment in meant:
                print(f"{moment}: the rung came {time.monotonic() - hit:.1f} s after the fault")
    return results


def nothing() -> None:
    """Leave the worker as it is: it waits in its main thread, and answers Ray Train."""


@pytest.mark.slow
def test_a_worker_that_is_taken_away_loses_no_step(
    pool: Any, undisturbed: list[Report], tmp_path: Path
) -> None:
    trial = make(pool, tmp_path)
    results = [trial.step()]
    with ThreadPoolExecutor(1) as thread:
        pending = thread.submit(trial.step)
        time.sleep(0.3)
        asked = time.monotonic()
        take_away("worker")
        until(lambda: any((tmp_path / "t-1").glob("between_*.optimizer.safetensors")), "nothing was written")
        print(f"the checkpoint was there {time.monotonic() - asked:.2f} s after the notice")
        (saved,) = {int(path.name[8:14]) for path in (tmp_path / "t-1").glob("between_*")}
        assert RUNGS[0] < saved < RUNGS[1]
        results.append(pending.result(timeout=120))
    assert ray.get(trial._lease.group.__ray_call__.remote(lambda actor: actor._attempts._deaths)) == 0
    results.append(trial.step())
    assert_same(results, undisturbed)
    trial.cleanup()
    assert not list((tmp_path / "t-1").glob("between_*"))


FAULTS = {
    **{f"{victim} killed": partial(kill, victim) for victim in ("worker", "group", "controller", "pool")},
    "worker stopped": partial(stop, "worker"),
    "worker waits": nothing,
}
QUICK = {("pool killed", "training"), ("worker stopped", "evaluation")}
CASES = [
    pytest.param(fault, moment, marks=() if (fault, moment) in QUICK else pytest.mark.slow)
    for fault in FAULTS
    for moment in ("training", "evaluation", "checkpointing")
    if fault != "worker waits" or moment == "checkpointing"
]


@pytest.mark.parametrize(("fault", "moment"), CASES)
def test_a_trial_survives(
    pool: Any, undisturbed: list[Report], tmp_path: Path, fault: str, moment: str
) -> None:
    trial = make(pool, tmp_path)
    results = disturbed(trial, tmp_path, FAULTS[fault], moment)
    assert_same(results, undisturbed)
    trial.cleanup()
    assert ray.get(pool.status.remote(), timeout=30).leased == {}


class InProcesses:
    """A trial in a process of its own, as with Tune; where that dies it is handed out as by the recorder."""

    def __init__(self, pool: Any, folder: Path) -> None:
        self._pool, self._class = pool, ray.remote(num_cpus=0)(trainable(pool, folder))
        self._checkpoints: list[Mapping[str, Any]] = []
        self.lives = 0
        self._begin()

    def step(self) -> Mapping[str, Any]:
        try:
            result = ray.get(self._actor.step.remote())
        except ray.exceptions.RayActorError:
            self._pool.reclaim.remote("t-1")
            self._begin()
            result = ray.get(self._actor.step.remote())
        self._checkpoints = [result["checkpoint"], *self._checkpoints][:CHECKPOINTS]
        return result

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)

    def end(self) -> None:
        ray.get(self._actor.stop.remote())
        ray.kill(self._actor)

    def _begin(self) -> None:
        self.lives += 1
        self._actor = self._class.remote({**CONFIG, "trial_id": "t-1", "checkpoints": self._checkpoints})
        _, self._pid = ray.get(self._actor.get_current_ip_pid.remote())


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["training", "evaluation", "checkpointing"])
def test_a_trial_survives_the_process_that_tune_has_it_in(
    pool: Any, undisturbed: list[Report], tmp_path: Path, moment: str
) -> None:
    trial = InProcesses(pool, tmp_path)
    results = disturbed(trial, tmp_path, trial.kill, moment)
    assert trial.lives == 2
    assert_same(results, undisturbed)
    trial.end()
    assert ray.get(pool.status.remote(), timeout=30).leased == {}
