"""The doctor against a real Ray cluster of another process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from search.doctor import check_cluster

# A cluster that lives until its standard input is closed.
CLUSTER = """
import sys, ray
context = ray.init(address="local", num_cpus=3, include_dashboard=False, logging_level="error")
print("address", context.address_info["gcs_address"], flush=True)
sys.stdin.read()
ray.shutdown()
"""
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-for-this-test-only-0123456789"}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        env={**os.environ, **TOKEN},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    found = next((line.split()[1] for line in process.stdout if line.startswith("address ")), None)
    assert found, "the cluster did not start"
    yield found
    process.communicate(timeout=60)


def test_a_cluster_is_joined_with_its_token(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TOKEN.items():
        monkeypatch.setenv(name, value)
    check = check_cluster(address, 60)
    assert check.ok, check.detail
    assert check.detail == f"{address}: 3 CPU, 0 GPU now"


@pytest.mark.slow  # Ray itself tries again for 20 s
def test_another_token_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another-token-0123456789-0123456789")
    check = check_cluster(address, 60)
    assert not check.ok
    assert "RAY_AUTH_MODE" in check.fix
