"""Each file of `ray up`, as Ray's own cluster launcher reads it; no cloud is asked."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cluster_files import FOLDER, ROOT, documents, files_of, prepare_and_validate, ray_version

from search.clusters.autoscaler import nodes_of_config
from search.clusters.devices import DRIVER_RESOURCE
from search.submit import SERVER, SHARED

FILES = files_of("launcher")
IN_CONTAINERS = [path for path in FILES if "docker" in documents(path)[0]]
BASH = shutil.which("bash") or "bash"
COMMANDS = (
    "initialization_commands setup_commands head_setup_commands worker_setup_commands "
    "head_start_ray_commands worker_start_ray_commands"
).split()


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def understood(path: Path) -> dict[str, Any]:
    return prepare_and_validate(documents(path)[0])


@pytest.fixture(params=FILES, ids=named)
def written(request: pytest.FixtureRequest) -> dict[str, Any]:
    return documents(request.param)[0]


@pytest.fixture(params=FILES, ids=named)
def cluster(request: pytest.FixtureRequest) -> dict[str, Any]:
    return understood(request.param)


@pytest.fixture(params=IN_CONTAINERS, ids=named)
def in_containers(request: pytest.FixtureRequest) -> dict[str, Any]:
    return understood(request.param)


def all_commands(cluster: dict[str, Any]) -> list[str]:
    lists = [cluster[key] for key in COMMANDS]
    for node in cluster["available_node_types"].values():
        lists += [node.get(key, []) for key in COMMANDS]
    return [command for each in lists for command in each]


def test_the_stated_clouds_are_there() -> None:
    assert {documents(path)[0]["provider"]["type"] for path in FILES} == {"aws", "gcp", "local"}


def test_an_unknown_key_would_be_noticed(written: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        prepare_and_validate({**written, "max_worker": 3})


def test_every_command_is_one_that_a_shell_reads(cluster: dict[str, Any]) -> None:
    commands = all_commands(cluster)
    assert len(commands) >= 8
    for command in commands:
        # As Ray's command runner wraps it.
        done = subprocess.run(
            ["bash", "-n", "-c", f"true && ({command})"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_only_the_head_drives_trials(cluster: dict[str, Any]) -> None:
    (start,) = [command for command in cluster["head_start_ray_commands"] if "ray start" in command]
    head = cluster["available_node_types"][cluster["head_node_type"]]["resources"]
    if options := re.search(r"--resources='(.*?)'", start):
        head = json.loads(options[1])
    assert head[DRIVER_RESOURCE] >= 1
    assert "GPU" not in head
    others = [
        node for name, node in cluster["available_node_types"].items() if name != cluster["head_node_type"]
    ]
    assert all(DRIVER_RESOURCE not in node["resources"] for node in others)
    assert not any("--resources" in command for command in cluster["worker_start_ray_commands"])


def test_every_node_asks_for_the_token(cluster: dict[str, Any]) -> None:
    (mount,) = [remote for remote in cluster["file_mounts"] if remote.endswith("/.ray/auth_token")]
    assert cluster["file_mounts"][mount].endswith("/.ray/auth_token")
    options = cluster.get("docker", {}).get("run_options", [])
    assert any("RAY_AUTH_MODE=token" in text for text in [*options, *cluster["setup_commands"]])


def test_every_node_installs_the_project_with_its_constraints(cluster: dict[str, Any]) -> None:
    (project,) = [remote for remote, local in cluster["file_mounts"].items() if not local.endswith("token")]
    assert any(
        command.startswith(f"cd {project} && pip install")
        and "--constraint constraints.txt --editable" in command
        for command in cluster["setup_commands"]
    )


def test_the_launcher_learns_what_the_nodes_share(cluster: dict[str, Any]) -> None:
    docker = cluster.get("docker", {})
    head = " ".join(
        [*docker.get("run_options", []), *docker.get("head_run_options", []), *cluster["setup_commands"]]
    )
    assert f"{SERVER}=http://127.0.0.1:5000" in head
    assert f"{SHARED}=/" in head


def test_mlflow_listens_on_the_head_alone(cluster: dict[str, Any]) -> None:
    (server,) = [command for command in cluster["head_start_ray_commands"] if "mlflow server" in command]
    assert "--host 127.0.0.1 --port 5000" in server
    assert not any("mlflow server" in command for command in cluster["worker_start_ray_commands"])


def test_what_stays_at_home_is_not_copied(cluster: dict[str, Any]) -> None:
    assert {".git", ".venv", "/runs", "/mlruns"} <= set(cluster["rsync_exclude"])


def test_gpu_nodes_scale_from_zero(in_containers: dict[str, Any]) -> None:
    head = in_containers["head_node_type"]
    workers = {name: node for name, node in in_containers["available_node_types"].items() if name != head}
    assert set(workers) == {"gpu_spot", "gpu_on_demand"}
    for name, node in workers.items():
        assert node["min_workers"] == 0, name
        assert 1 <= node["max_workers"] <= in_containers["max_workers"], name
        assert node["resources"]["GPU"] >= 1, name
    assert 0 < in_containers["idle_timeout_minutes"] <= 30


def test_the_memory_of_gpus_is_known_before_there_is_a_node(in_containers: dict[str, Any]) -> None:
    nodes = nodes_of_config(in_containers, [])
    assert len(nodes) == in_containers["max_workers"]
    sizes = {"aws": 48, "gcp": 80}  # of an L40S and of the larger A100, in 10^9 bytes
    expected = sizes[in_containers["provider"]["type"]] * 10**9
    assert {node.gpu_memory for node in nodes} == {expected}


def test_spot_nodes_come_first(in_containers: dict[str, Any]) -> None:
    from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
    from ray.autoscaler._private.resource_demand_scheduler import (
        _default_utilization_scorer,
        get_nodes_for,
    )

    types = in_containers["available_node_types"]
    wanted = [{"CPU": 1, "GPU": 1}] * 2 * types["gpu_spot"]["resources"]["GPU"]

    def score(resources: Any, demands: Any, name: str) -> Any:
        return _default_utilization_scorer(
            resources, demands, name, node_availability_summary=NodeAvailabilitySummary({})
        )

    nodes, rest = get_nodes_for(types, {"head": 1}, "head", 4, wanted, score)
    assert (dict(nodes), rest) == ({"gpu_spot": 2}, [])


def test_nodes_run_the_ray_of_the_constraints(in_containers: dict[str, Any]) -> None:
    for key in ("head_image", "worker_image"):
        assert in_containers["docker"][key].startswith(f"rayproject/ray:{ray_version()}-py311-")
    assert in_containers["docker"]["worker_image"].endswith("-gpu")


def test_every_node_mounts_the_shared_files_before_its_container_starts(
    in_containers: dict[str, Any],
) -> None:
    (volume,) = [option for option in in_containers["docker"]["run_options"] if option.startswith("--volume")]
    shared = volume.rpartition(":")[2]
    lists = [in_containers["initialization_commands"]]
    lists += [
        node["initialization_commands"]
        for name, node in in_containers["available_node_types"].items()
        if name != in_containers["head_node_type"]
    ]
    for commands in lists:
        assert sum(f"sudo mount {shared}" in command for command in commands) == 1
    assert any(
        f"RECIPE_SEARCH_SHARED={shared}" in option for option in in_containers["docker"]["run_options"]
    )


def test_a_placeholder_left_is_told_before_anything_is_mounted(in_containers: dict[str, Any]) -> None:
    scripts = [text for text in in_containers["initialization_commands"] if "case $" in text]
    assert scripts
    for script in scripts:
        done = subprocess.run(
            [BASH, "-c", script], env={"PATH": ""}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert re.fullmatch(r"error: \w+\.yaml: fill in .*, see docs/cluster/README.md\n", done.stderr)


def test_the_local_workers_check_that_the_folder_is_shared(tmp_path: Path) -> None:
    cluster = documents(FOLDER / "local.yaml")[0]
    (head,) = cluster["head_setup_commands"]
    (worker,) = cluster["worker_setup_commands"]

    def on_node(command: str, folder: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/bin:/bin", SHARED: str(tmp_path / folder)}
        return subprocess.run(
            ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False
        )

    for folder in ("shared", "own"):
        (tmp_path / folder).mkdir()
    assert on_node(head, "shared").returncode == 0
    assert on_node(worker, "shared").returncode == 0
    elsewhere = on_node(worker, "own")
    assert elsewhere.returncode == 1
    assert "is not the folder that the head sees there" in elsewhere.stderr


def test_the_local_setup_sets_the_environment_once(tmp_path: Path) -> None:
    commands = documents(FOLDER / "local.yaml")[0]["setup_commands"][:3]
    for _ in range(2):
        for command in commands:
            subprocess.run(
                ["bash", "-c", command], env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, check=True
            )
    assert (tmp_path / ".bashrc").read_text(encoding="utf-8") == ". ~/.recipe-search/env\n"
    shown = subprocess.run(
        ["bash", "-c", f'. ~/.recipe-search/env; echo "$PATH ${SHARED} ${SERVER} $RAY_AUTH_MODE"'],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert shown == [
        f"{tmp_path}/.recipe-search/venv/bin:/usr/bin:/bin",
        "/SHARED/FOLDER",
        "http://127.0.0.1:5000",
        "token",
    ]
