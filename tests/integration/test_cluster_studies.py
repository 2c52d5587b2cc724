"""Whole studies by the command on clusters of several nodes: side by side, and across nodes."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml
from other_cluster import other_cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ROOT = Path(__file__).resolve().parents[2]
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-for-this-test-only-0123456789"}
# A cluster of so many nodes with so many cores each, which lives until its standard input is closed.
CLUSTER = """
import json, sys
from ray.cluster_utils import Cluster
nodes, cores = map(int, sys.argv[1:])
common = {"num_cpus": cores, "object_store_memory": 100_000_000}
cluster = Cluster(initialize_head=True, head_node_args={**common, "resources": {"train_driver": 8}})
for _ in range(nodes - 1):
    cluster.add_node(**common)
print("address", cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""
STUDY: dict[str, Any] = {
    "name": "one",
    "model": {"path": "tiny-llava"},
    "targets": ["counting"],
    "held_out": ["digits"],
    "space": {"subsets": ["gate_up", "projector"], "learning_rate": [1e-4, 1e-3]},
    "training": {"steps": 4, "batch_size": 4, "samples": 16},
    "evaluation": {"samples": 8},
    "finalists": None,
    "search": {"trials": 4},
}


def cluster(nodes: int, cores: int) -> AbstractContextManager[str]:
    environment = {**os.environ, **TOKEN, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return other_cluster(CLUSTER, str(nodes), str(cores), environment=environment)


def start(folder: Path, address: str, *overrides: str) -> subprocess.Popen[str]:
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    return subprocess.Popen(
        [sys.executable, "-m", "search.cli", "run", "study.yaml", *overrides],
        cwd=folder,
        env={**os.environ, **TOKEN, "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process: subprocess.Popen[str], study: Path) -> list[dict[str, str]]:
    """Wait for a study that must end well, and return its trials."""
    try:
        said, _ = process.communicate(timeout=500)
    finally:
        process.kill()
    assert process.returncode == 0, said[-4000:]
    with (study / "trials.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_two_studies_at_once_share_two_cores_and_both_end(tmp_path: Path) -> None:
    with cluster(1, 2) as address:
        studies = {
            name: start(tmp_path, address, f"name={name}", f"tracking.uri=sqlite:///{name}.db")
            for name in ("one", "other")
        }
        trials = {name: finished(process, tmp_path / "runs" / name) for name, process in studies.items()}
    for name, rows in trials.items():
        assert [row["state"] for row in rows] == ["COMPLETE"] * 4, name
    ids = [row["trial_id"] for rows in trials.values() for row in rows]
    assert len(set(ids)) == len(ids)


def test_trials_of_several_workers_on_four_nodes(tmp_path: Path) -> None:
    with cluster(4, 1) as address:
        process = start(tmp_path, address, "resources.workers_per_trial=2")
        rows = finished(process, tmp_path / "runs" / "one")
    assert [row["state"] for row in rows] == ["COMPLETE"] * 4
