"""The pool on a cluster of two nodes, one of which is lost and replaced."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.placement_group import placement_group_table
from tiny_models import setup

from trainables.pool import ON_HEAD, WorkerPool
from trainables.workers.execution import GroupShape
from trainables.workers.jobs import EvaluateJob

ONE, PAIR = GroupShape(), GroupShape(workers=2)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head of one core and a node of two."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=2)
    ray.init(address=made.address, log_to_driver=False, logging_level=logging.ERROR)
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()


def used_nodes() -> list[set[str]]:
    """Return the nodes of each placement group."""
    return [set(g["bundles_to_node_id"].values()) for g in placement_group_table().values() if alive(g)]


def alive(group: dict[str, Any]) -> bool:
    return bool(group["state"] == "CREATED")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_leased_group_goes_on_when_its_node_is_lost(cluster: Cluster, base: Path, tmp_path: Path) -> None:
    head, worker = cluster.head_node.node_id, next(iter(cluster.worker_nodes)).node_id
    pool = ray.remote(num_cpus=0, max_concurrency=100, resources=ON_HEAD)(WorkerPool).remote(
        setup(base), [{"CPU": 1}, {"CPU": 2}], str(tmp_path), 2
    )
    # Ray by itself puts a single worker on the emptiest node, where no place for two would be left.
    leases = [ray.get(pool.lease.remote(shape), timeout=180) for shape in (ONE, PAIR)]
    assert sorted(map(sorted, used_nodes())) == sorted([[head], [worker]])
    pair = leases[1].group
    assert ray.get(pair.next_report.remote(ray.get(pair.submit.remote(EvaluateJob()))), timeout=120).done

    cluster.remove_node(next(iter(cluster.worker_nodes)))
    sequence = ray.get(pair.submit.remote(EvaluateJob()))
    pending = pair.next_report.remote(sequence)
    time.sleep(10)
    new = cluster.add_node(num_cpus=2)
    report = ray.get(pending, timeout=300)
    assert (report.error, len(report.evaluations)) == (None, 2)
    assert {head} in used_nodes()
    assert {new.node_id} in used_nodes()
    ray.get(pool.close.remote(), timeout=120)
