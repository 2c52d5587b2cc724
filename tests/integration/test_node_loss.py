"""A node that is lost under a trial: the trial goes on elsewhere, with the result of an undisturbed one."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from faulty_trials import assert_same, make, undisturbed_reports, worker_setup
from ray.cluster_utils import Cluster

from trainables.pool import ON_HEAD, WorkerPool, write_setup
from trainables.workers.execution import Execution, GroupShape

pytestmark = pytest.mark.usefixtures("_one_thread")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head without cores for workers, and a node of one."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False, logging_level=logging.ERROR)
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("moment", ["training", "evaluation"])
def test_a_trial_survives_its_node(cluster: Cluster, base: Path, tmp_path: Path, moment: str) -> None:
    actor = ray.remote(
        num_cpus=0, max_concurrency=100, resources=ON_HEAD, max_restarts=-1, max_task_retries=-1
    )(WorkerPool)
    setup = write_setup(worker_setup(base), tmp_path / "storage")
    pool = actor.remote(setup, [{"CPU": 1}], str(tmp_path / "storage"), 2)
    trial = make(pool, tmp_path / "trials")
    results = [trial.step()]
    with ThreadPoolExecutor(1) as thread:
        for hit in (moment == "training", moment == "evaluation"):
            pending = thread.submit(trial.step)
            if hit:
                time.sleep(0.3)
                assert not pending.done(), "the rung was done before anything could happen"
                cluster.remove_node(next(iter(cluster.worker_nodes)))
                cluster.add_node(num_cpus=1)
                lost = time.monotonic()
            results.append(pending.result(timeout=300))
            if hit:
                print(f"{moment}: the rung came {time.monotonic() - lost:.1f} s after another node did")
    assert_same(results, undisturbed_reports(base, tmp_path / "twin"))
    ray.get(pool.close.remote(), timeout=120)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_trial_of_two_workers_goes_on_with_one(cluster: Cluster, base: Path, tmp_path: Path) -> None:
    """Nobody replaces the node. Sums are then formed in another order: the rungs agree but for rounding."""
    cluster.add_node(num_cpus=1)
    actor = ray.remote(
        num_cpus=0, max_concurrency=100, resources=ON_HEAD, max_restarts=-1, max_task_retries=-1
    )(WorkerPool)
    setup = write_setup(worker_setup(base), tmp_path / "storage")
    pool = actor.remote(setup, [{"CPU": 1}] * 2, str(tmp_path / "storage"), 2, min_workers=1)
    shape = GroupShape(workers=2)
    trial = make(pool, tmp_path / "trials", Execution(shape=shape, micro_batch_size=2))
    results = [trial.step()]
    with ThreadPoolExecutor(1) as thread:
        pending = thread.submit(trial.step)
        time.sleep(0.3)
        assert not pending.done(), "the rung was done before anything could happen"
        cluster.remove_node(next(iter(cluster.worker_nodes)))
        lost = time.monotonic()
        results.append(pending.result(timeout=300))
        print(f"the rung came {time.monotonic() - lost:.1f} s after a node was lost")
    assert ray.get(pool.status.remote()).leased == {replace(shape, workers=1): 1}
    results.append(trial.step())
    for result, report in zip(results, undisturbed_reports(base, tmp_path / "twin"), strict=True):
        assert result["step"] == report.step
        assert result["metrics"]["train/loss"] == pytest.approx(report.metrics["train/loss"], rel=1e-3)
        # Passes stay as large as they were planned.
        assert result["metrics"]["cost/micro_batch_size"] == 2
    ray.get(pool.close.remote(), timeout=120)
