"""The manifests for KubeRay: that they fit each other and Ray. The operator's own schema does not ship."""

from __future__ import annotations

import json
from typing import Any

from cluster_files import FOLDER, documents, files_of, ray_version

from search.clusters.devices import DRIVER_RESOURCE
from search.submit import SERVER, SHARED

FILES = files_of("kubernetes")
OBJECTS = {(each["kind"], each["metadata"]["name"]): each for path in FILES for each in documents(path)}
CLUSTER = OBJECTS["RayCluster", "recipe-search"]["spec"]
JOB = OBJECTS["RayJob", "recipe-search-study"]["spec"]


def pods() -> list[dict[str, Any]]:
    groups = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups] + [
        OBJECTS["Deployment", "recipe-search-mlflow"]["spec"]["template"]["spec"]
    ]


def test_every_kind_has_its_interface() -> None:
    versions = {
        "RayCluster": "ray.io/v1",
        "RayJob": "ray.io/v1",
        "Deployment": "apps/v1",
        "Service": "v1",
        "PersistentVolumeClaim": "v1",
        "NetworkPolicy": "networking.k8s.io/v1",
    }
    assert {kind: each["apiVersion"] for (kind, _), each in OBJECTS.items()} == versions


def test_every_image_holds_the_ray_of_the_constraints() -> None:
    assert CLUSTER["rayVersion"] == ray_version()
    images = {container["image"] for pod in pods() for container in pod["containers"]}
    assert images == {f"REGISTRY/recipe-search:{ray_version()}"}
    recipe = (FOLDER / "kuberay" / "Dockerfile").read_text(encoding="utf-8")
    assert f"FROM rayproject/ray:{ray_version()}-py311-gpu\n" in recipe
    assert f"--tag REGISTRY/recipe-search:{ray_version()} ." in recipe
    assert "--constraint constraints.txt" in recipe


def test_only_the_head_drives_trials() -> None:
    resources = CLUSTER["headGroupSpec"]["rayStartParams"]["resources"]
    # The operator puts the text into a shell's line, hence the quotes inside quotes.
    assert json.loads(json.loads(resources)) == {DRIVER_RESOURCE: 32}
    assert all("resources" not in group["rayStartParams"] for group in CLUSTER["workerGroupSpecs"])


def test_one_gpu_pod_tells_the_study_what_more_of_them_would_be() -> None:
    assert CLUSTER["enableInTreeAutoscaling"] is True
    (group,) = CLUSTER["workerGroupSpecs"]
    assert group["replicas"] == group["minReplicas"] == 1 < group["maxReplicas"]
    (worker,) = group["template"]["spec"]["containers"]
    assert int(worker["resources"]["limits"]["nvidia.com/gpu"]) >= 1
    (head,) = CLUSTER["headGroupSpec"]["template"]["spec"]["containers"]
    assert "nvidia.com/gpu" not in head["resources"]["limits"]


def test_every_container_bounds_what_it_takes() -> None:
    for pod in pods():
        for container in pod["containers"]:
            asked, bound = container["resources"]["requests"], container["resources"]["limits"]
            assert {"cpu", "memory"} <= asked.keys() == bound.keys()


def test_the_cluster_asks_for_a_token() -> None:
    assert CLUSTER["authOptions"] == {"mode": "token"}


def test_every_ray_pod_sees_the_shared_files_and_the_server() -> None:
    claims = {name for kind, name in OBJECTS if kind == "PersistentVolumeClaim"}
    service = OBJECTS["Service", "recipe-search-mlflow"]["spec"]["ports"][0]
    for pod in pods()[:-1]:
        (container,) = pod["containers"]
        values = {each["name"]: each["value"] for each in container["env"]}
        assert values[SERVER] == f"http://recipe-search-mlflow:{service['port']}"
        mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"]}
        assert volumes[mounted[values[SHARED]]] in claims
    shared = OBJECTS["PersistentVolumeClaim", "recipe-search-shared"]["spec"]
    assert shared["accessModes"] == ["ReadWriteMany"]


def test_the_mlflow_server_answers_to_the_name_that_it_is_called_by() -> None:
    (server,) = pods()[-1]["containers"]
    (names,) = [each.partition("=")[2] for each in server["args"] if each.startswith("--allowed-hosts=")]
    assert "recipe-search-mlflow:5000" in names.split(",")


def test_only_the_cluster_reaches_the_mlflow_server() -> None:
    policy = OBJECTS["NetworkPolicy", "recipe-search-mlflow"]["spec"]
    (rule,) = policy["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": JOB["clusterSelector"]}}]
    deployed = OBJECTS["Deployment", "recipe-search-mlflow"]["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"] == deployed


def test_the_job_runs_the_launcher_on_that_cluster() -> None:
    assert JOB["clusterSelector"] == {"ray.io/cluster": "recipe-search"}
    assert JOB["entrypoint"].startswith("python -m search.submit examples/quickstart.yaml")
