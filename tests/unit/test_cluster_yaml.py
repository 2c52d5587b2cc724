"""cluster.yaml, as Ray's own cluster launcher reads it; no cloud is asked."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from search.placement import DRIVER_RESOURCE

ROOT = Path(__file__).resolve().parents[2]


def prepare_and_validate(config: dict[str, Any]) -> dict[str, Any]:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cluster(written: dict[str, Any]) -> dict[str, Any]:
    return prepare_and_validate(written)


def test_an_unknown_key_would_be_noticed(written: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        prepare_and_validate({**written, "max_worker": 3})


def test_the_head_drives_trials_and_has_no_gpu(cluster: dict[str, Any]) -> None:
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"][DRIVER_RESOURCE] >= 1
    assert "GPU" not in head["resources"]


def test_gpu_nodes_scale_from_zero(cluster: dict[str, Any]) -> None:
    head = cluster["head_node_type"]
    workers = {name: node for name, node in cluster["available_node_types"].items() if name != head}
    assert workers
    for name, node in workers.items():
        assert node["min_workers"] == 0, name
        assert 1 <= node["max_workers"] <= cluster["max_workers"], name
        assert node["resources"]["GPU"] >= 1, name


def test_every_node_runs_with_token_authentication(cluster: dict[str, Any]) -> None:
    assert "--env RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]
    assert cluster["file_mounts"]["/home/ray/.ray/auth_token"].endswith("/.ray/auth_token")


def test_every_node_installs_the_project_with_its_constraints(cluster: dict[str, Any]) -> None:
    (project,) = [remote for remote, local in cluster["file_mounts"].items() if not local.endswith("token")]
    assert any(
        f"cd {project} && pip install" in command and "--constraint constraints.txt" in command
        for command in cluster["setup_commands"]
    )


def test_nodes_run_the_ray_of_the_constraints(cluster: dict[str, Any]) -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    (ray,) = [pin.removeprefix("ray==") for pin in pins if pin.startswith("ray==")]
    for image in (cluster["docker"]["head_image"], cluster["docker"]["worker_image"]):
        assert f":{ray}-" in image


def test_mlflow_listens_on_the_head_alone(cluster: dict[str, Any]) -> None:
    (server,) = [command for command in cluster["head_start_ray_commands"] if "mlflow server" in command]
    assert "--host 127.0.0.1" in server
    assert not any("mlflow" in command for command in cluster["worker_start_ray_commands"])
