"""Joining a real Ray cluster of another process: what the doctor finds, and what a run refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import yaml
from other_cluster import other_cluster

from search.clusters.checks import Check
from search.clusters.cluster_check import check_cluster
from search.clusters.doctor import run_doctor

# A cluster that lives until its standard input is closed, and says that it is of another version if told to.
CLUSTER = """
import sys, ray
ray.__version__ = (sys.argv[1:] or [ray.__version__])[0]
context = ray.init(address="local", num_cpus=3, include_dashboard=False, logging_level="error")
print("address", context.address_info["gcs_address"], flush=True)
sys.stdin.read()
ray.shutdown()
"""
ROOT = Path(__file__).resolve().parents[2]
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-for-this-test-only-0123456789"}
ANOTHER = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "another-token-0123456789-0123456789"}
STUDY = {
    "name": "needs-gpus",
    "model": {"path": "tiny-llava"},
    "targets": ["counting"],
    "held_out": ["digits"],
    "space": {"subsets": ["gate_up"], "learning_rate": [1e-4, 1e-3]},
    "training": {"steps": 4, "batch_size": 4, "samples": 8},
    "evaluation": {"samples": 4},
    "search": {"trials": 2},
    "resources": {"gpus_per_worker": 1},
}


def cluster(*version: str, **environment: str) -> AbstractContextManager[str]:
    return other_cluster(CLUSTER, *version, environment={**os.environ, **environment})


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with cluster(**TOKEN) as found:
        yield found


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (*TOKEN, "RAY_ADDRESS", "RECIPE_SEARCH_SHARED"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def set_all(environment: pytest.MonkeyPatch, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        environment.setenv(name, value)


def test_a_cluster_is_joined_with_its_token(address: str, environment: pytest.MonkeyPatch) -> None:
    set_all(environment, {**TOKEN, "RAY_ADDRESS": address})
    checks = {check.name: check for check in run_doctor(timeout=60)}
    assert checks["ray cluster"].ok, checks["ray cluster"].detail
    assert checks["ray cluster"].detail == f"{address}: 3 CPU, 0 GPU now"
    assert checks["versions"].ok, checks["versions"].detail


@pytest.mark.parametrize("token", [{}, {"RAY_AUTH_MODE": "token"}, ANOTHER], ids=["off", "none", "another"])
def test_without_its_token_a_cluster_is_not_joined(
    token: Mapping[str, str], address: str, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_all(environment, {"HOME": str(tmp_path), **token})
    assert check_cluster(address, 60) == [
        Check(
            name="ray cluster",
            ok=False,
            detail=f"{address}: the authentication token is missing or not the cluster's",
            fix="set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token as on the cluster's nodes",
        )
    ]


def test_a_cluster_of_another_ray(environment: pytest.MonkeyPatch) -> None:
    set_all(environment, TOKEN)
    with cluster("2.59.0") as found:
        (check,) = check_cluster(found, 60)
    assert not check.ok
    assert check.detail.startswith(f"{found}: Version mismatch: ")
    assert "2.59.0" in check.detail
    assert check.fix == "use the versions of the cluster's nodes here, or those of constraints.txt there"


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "search.cli", *words],
        cwd=folder, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ({}, "error: RAY_ADDRESS: {address}: the authentication token is missing or not the cluster's: set"),
        (TOKEN, "error: resources: a trial needs 1 worker(s) x (1 CPU, 1 GPU)"),
    ],
    ids=["no token", "no gpu"],
)
def test_a_run_that_can_not_be_is_refused_in_a_line_before_anything_is_made(
    token: Mapping[str, str], message: str, address: str, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_all(environment, {"HOME": str(tmp_path), "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT), **token})
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    done = command(tmp_path, "run", "study.yaml")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(message.format(address=address))
    assert not (tmp_path / "runs").exists()


def test_a_study_is_planned_for_the_cluster_that_it_would_run_on(
    address: str, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_all(environment, {"RAY_ADDRESS": address, "PYTHONPATH": str(ROOT), **TOKEN})
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    plan = json.loads(command(tmp_path, "plan", "study.yaml", "--json").stdout)
    assert [(node["cpus"], node["gpus"]) for node in plan["machines"]] == [(3, 0)]
    plan = json.loads(command(tmp_path, "plan", "study.yaml", "--json", "--gpus", "2").stdout)
    assert [node["gpus"] for node in plan["machines"]] == [2]


def test_the_doctor_says_that_the_cluster_has_too_few_gpus_for_a_study(
    address: str, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_all(environment, {"RAY_ADDRESS": address, "PYTHONPATH": str(ROOT), **TOKEN})
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    done = command(tmp_path, "doctor", "study.yaml", "--json")
    (found,) = [check for check in json.loads(done.stdout)["checks"] if check["name"] == "study"]
    assert done.returncode == 1
    assert found["detail"].startswith("resources: a trial needs 1 worker(s) x (1 CPU, 1 GPU)")
