"""A real autoscaler whose nodes are processes of this machine: what may come is counted, and does come."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

HEAD_ID = "f" * 51 + "00000"
DRIVER = """
import json, sys
import ray
from search.clusters.autoscaler import cluster_nodes
ray.init(address=sys.argv[1], namespace="test", logging_level="ERROR", log_to_driver=False)
seen = lambda: sorted([node.cpus, node.gpus, node.gpu_memory, node.here] for node in cluster_nodes()[0])
before = seen()
came = ray.util.placement_group([{"CPU": 1, "GPU": 1}] * 3).wait(240)
print(json.dumps({"before": before, "came": came, "after": seen(), "grows": cluster_nodes()[1]}))
"""


WATCHER = """
import sys, time
import ray
ray.init(address=sys.argv[1], namespace="test", logging_level="ERROR", log_to_driver=False)
deadline = time.monotonic() + 200
while (alive := sum(node["Alive"] for node in ray.nodes())) > 1 and time.monotonic() < deadline:
    time.sleep(1)
print(len(ray.nodes()), alive)
"""
# No worker fits the head, which has one core.
STUDY = {
    "name": "grown",
    "model": {"path": "tiny-llava"},
    "targets": ["counting"],
    "held_out": ["digits"],
    "space": {"subsets": ["gate_up"], "learning_rate": [1e-4, 1e-3]},
    "training": {"steps": 4, "batch_size": 4, "samples": 16},
    "evaluation": {"samples": 8},
    "finalists": None,
    "search": {"trials": 2},
    "resources": {"cpus_per_worker": 2, "gpus_per_worker": 0},
}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def cluster(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """A head without a GPU, and an autoscaler that may add two nodes of two (declared) GPUs."""
    address = f"127.0.0.1:{free_port()}"
    kinds = {
        "head": {
            "resources": {"CPU": 1, "train_driver": 8},
            "min_workers": 0,
            "max_workers": 0,
            "node_config": {},
        },
        "gpu": {
            "resources": {"CPU": 4, "GPU": 2, "accelerator_type:L4": 1},
            "min_workers": 0,
            "max_workers": 2,
            "node_config": {},
        },
    }
    config = {
        "cluster_name": "fake",
        "max_workers": 3,
        "idle_timeout_minutes": 0.5,
        "upscaling_speed": 1.0,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "use_node_id_as_ip": True,
            "head_node_id": HEAD_ID,
            "gcs_address": address,
        },
        "available_node_types": kinds,
        "head_node_type": "head",
        "auth": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        **{key: [] for key in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
        **{f"{who}setup_commands": [] for who in ("", "head_", "worker_")},
        **{f"{who}_start_ray_commands": [] for who in ("head", "worker")},
        "initialization_commands": [],
    }
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(config))
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "disabled",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
        "RAY_enable_autoscaler_v2": "0",
    }
    ray = Path(sys.executable).parent / "ray"
    host, _, port = address.partition(":")
    # The path of a socket has at most 107 bytes.
    sockets = Path(f"/tmp/ray-autoscaler-{os.getpid()}")
    with (tmp_path / "head.log").open("w") as log:
        head = subprocess.Popen(
            [
                str(ray),
                "start",
                "--head",
                "--block",
                f"--node-ip-address={host}",
                f"--port={port}",
                "--num-cpus=1",
                '--resources={"train_driver": 8}',
                f"--temp-dir={sockets}",
                "--include-dashboard=false",
                f"--ray-client-server-port={free_port()}",
                "--min-worker-port=0",
                "--max-worker-port=0",
                f"--autoscaling-config={tmp_path / 'cluster.yaml'}",
                "--disable-usage-stats",
            ],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        own = psutil.Process(head.pid)
        try:
            deadline = time.monotonic() + 90
            while "Ray runtime started" not in (tmp_path / "head.log").read_text():
                assert head.poll() is None, (tmp_path / "head.log").read_text()[-2000:]
                assert time.monotonic() < deadline
                time.sleep(0.5)
            del environment["RAY_OVERRIDE_NODE_ID_FOR_TESTING"]
            yield address, environment
        finally:
            processes = [*own.children(recursive=True), own]
            for process in processes:
                if process.is_running():
                    process.terminate()
            head.wait(timeout=60)
            _, left = psutil.wait_procs(processes, timeout=20)
            for process in left:
                process.kill()


@pytest.mark.slow
def test_nodes_that_may_come_count_and_come(cluster: tuple[str, dict[str, str]], root: Path) -> None:
    address, environment = cluster
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, address],
        env={**environment, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.strip().splitlines()[-1])
    head, node = [1.0, 0.0, None], [4.0, 2.0, 24 * 10**9]
    assert told["before"] == [[*head, True], [*node, False], [*node, False]]
    assert told["came"]
    assert told["grows"], "the autoscaler is forgotten once all nodes are there"
    # Three groups of a GPU take both nodes, and none is left to come.
    assert told["after"] == [[*head, True], [*node, True], [*node, True]]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_gets_its_nodes_and_they_go_when_it_has_ended(
    cluster: tuple[str, dict[str, str]], root: Path, tmp_path: Path
) -> None:
    address, environment = cluster
    environment = {**environment, "PYTHONPATH": str(root), "RAY_ADDRESS": address}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    done = subprocess.run(
        [sys.executable, "-m", "search.cli", "run", "study.yaml"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    with (tmp_path / "runs" / "grown" / "trials.csv").open() as stream:
        rows = [(row["state"], row["error"]) for row in csv.DictReader(stream)]
    assert rows == [("COMPLETE", "")] * 2
    told = subprocess.run(
        [sys.executable, "-c", WATCHER, address], env=environment, capture_output=True, text=True, timeout=280
    )
    assert told.returncode == 0, told.stderr[-2000:]
    ever, alive = map(int, told.stdout.split())
    assert ever > 1
    assert alive == 1
