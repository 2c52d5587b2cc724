from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from search.clusters.autoscaler import autoscaling_config, nodes_of_config

HEAD = {"CPU": 8.0, "train_driver": 64.0, "node:__internal_head__": 1.0}
GPU = {"CPU": 48.0, "GPU": 4.0, "accelerator_type:L40S": 1.0}
CPU = {"CPU": 16.0}


def config(max_workers: int | None = 4, **most: int) -> dict[str, Any]:
    kinds = {"gpu": GPU, "spot": GPU, "cpu": CPU, "bare": {}}
    made: dict[str, Any] = {
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": {"CPU": 8}, "max_workers": 0},
            **{name: {"resources": kinds[name], "max_workers": count} for name, count in most.items()},
        },
    }
    return made if max_workers is None else made | {"max_workers": max_workers}


@pytest.mark.parametrize(
    ("made", "alive", "expected"),
    [
        # All four GPU nodes may come; of two that are there, two more.
        (config(gpu=4), [HEAD], [(48, 4)] * 4),
        (config(gpu=4), [HEAD, GPU, GPU], [(48, 4)] * 2),
        # Two kinds of the same size, of which three are there: one of the second and none of the first.
        (config(max_workers=8, gpu=2, spot=2), [HEAD, GPU, GPU, GPU], [(48, 4)]),
        # The bound over all kinds; GPUs come first.
        (config(max_workers=3, cpu=5, gpu=2), [HEAD], [(48, 4), (48, 4), (16, 0)]),
        (config(max_workers=3, cpu=5, gpu=2), [HEAD, CPU, CPU, CPU], []),
        # Ray's default bound is 2.
        (config(max_workers=None, gpu=9), [HEAD], [(48, 4)] * 2),
        # A kind that tells nothing, as a machine of one's own, counts when it is there.
        (config(bare=2), [HEAD], []),
        ({}, [HEAD], []),
    ],
)
def test_what_may_still_come(
    made: dict[str, Any], alive: list[dict[str, float]], expected: list[tuple[int, int]]
) -> None:
    found = nodes_of_config(made, alive)
    assert [(node.cpus, node.gpus) for node in found] == expected
    assert not any(node.here for node in found)
    assert {node.gpu_memory for node in found if node.gpus} <= {48 * 10**9}


def test_the_file_is_the_one_that_the_cluster_s_autoscaler_was_started_with(tmp_path: Path) -> None:
    """A process whose command line is an autoscaler's stands for it."""
    made = config(gpu=1)
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump({**made, "provider": {"type": "x"}}))
    (tmp_path / "monitor.py").write_text("import sys; print('up', flush=True); sys.stdin.read()")
    command = [sys.executable, str(tmp_path / "monitor.py"), "--gcs-address=10.0.0.1:6379"]
    with subprocess.Popen(
        [*command, f"--autoscaling-config={tmp_path / 'cluster.yaml'}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert autoscaling_config("10.0.0.1:6379") == made
        assert autoscaling_config("10.0.0.2:6379") is None
        assert process.stdin is not None
        process.stdin.close()


def test_a_cluster_without_an_autoscaler_has_no_file() -> None:
    assert autoscaling_config("203.0.113.1:1") is None
