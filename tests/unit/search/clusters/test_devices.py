from __future__ import annotations

from pathlib import Path

import pytest

from search.clusters.devices import accelerator_bytes, local_node, smallest_gpu_bytes


def tool(folder: Path, script: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_the_smallest_gpu_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool tells MiB, a line for each device."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    tool(tmp_path, '[ "$1" = --query-gpu=memory.total ] && printf "81559\\n23034\\n"')
    assert smallest_gpu_bytes() == 23034 * 1024**2


@pytest.mark.parametrize("script", ["exit 9", "echo '[N/A]'", "echo"])
def test_a_machine_that_does_not_tell(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    tool(tmp_path, script)
    assert smallest_gpu_bytes() is None


def test_a_machine_without_the_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert smallest_gpu_bytes() is None


@pytest.mark.parametrize(
    ("resources", "labels", "gigabytes"),
    [
        ({"GPU": 8, "accelerator_type:H100": 1.0}, {}, 80),
        # Of two sizes under one name, the smaller one.
        ({"accelerator_type:A100": 1.0}, None, 40),
        ({"accelerator_type:A100-80G": 1.0}, None, 80),
        ({"GPU": 1}, {"ray.io/accelerator-type": "L4"}, 24),
    ],
)
def test_gpus_are_known_by_their_type(
    resources: dict[str, float], labels: dict[str, str] | None, gigabytes: int
) -> None:
    assert accelerator_bytes(resources, labels) == gigabytes * 10**9


def test_an_unknown_type_is_not_guessed() -> None:
    assert accelerator_bytes({"GPU": 1, "accelerator_type:Z9000": 1.0}, {}) is None
    assert accelerator_bytes({"CPU": 1}) is None


def test_this_machine_has_cores_and_memory() -> None:
    node = local_node()
    assert node.cpus >= 1
    assert node.memory is not None
    assert node.memory > 10**8
    assert node.drivers >= 1
