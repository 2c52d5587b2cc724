"""What Ray passes on to a cloud unread: the nodes' own keys, and the storage that is made for them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_files import FOLDER, ROOT, documents

# The parameters of EC2's RunInstances in botocore 1.43.11 that a node may set; Ray sets the others itself.
RUN_INSTANCES = set(
    "BlockDeviceMappings CapacityReservationSpecification CpuOptions CreditSpecification EbsOptimized "
    "IamInstanceProfile ImageId InstanceMarketOptions InstanceType KeyName LaunchTemplate MetadataOptions "
    "Monitoring NetworkInterfaces Placement SecurityGroupIds TagSpecifications UserData".split()
)
BLOCK_DEVICE = {"DeviceName", "Ebs", "NoDevice", "VirtualName"}
EBS = {"DeleteOnTermination", "Encrypted", "Iops", "KmsKeyId", "SnapshotId", "Throughput"}
EBS |= {"VolumeSize", "VolumeType"}
MARKET = {"MarketType", "SpotOptions"}

# Of Compute Engine's instances.insert, from its REST reference: what these files use.
INSERT = {
    "machineType",
    "disks",
    "metadata",
    "scheduling",
    "guestAccelerators",
    "networkInterfaces",
    "labels",
}
DISK = {"boot", "autoDelete", "type", "deviceName", "source", "initializeParams"}
SCHEDULING = {"provisioningModel", "instanceTerminationAction", "onHostMaintenance", "automaticRestart"}


def nodes(path: Path) -> dict[str, dict[str, Any]]:
    return {name: node["node_config"] for name, node in documents(path)[0]["available_node_types"].items()}


@pytest.mark.parametrize("name", ["head", "gpu_spot", "gpu_on_demand"])
def test_aws_knows_every_key_of_a_node(name: str) -> None:
    node = nodes(ROOT / "cluster.yaml")[name]
    assert set(node) <= RUN_INSTANCES
    (disk,) = node["BlockDeviceMappings"]
    assert set(disk) <= BLOCK_DEVICE
    assert set(disk["Ebs"]) <= EBS
    market = node.get("InstanceMarketOptions", {})
    assert set(market) <= MARKET
    assert market == ({"MarketType": "spot"} if name == "gpu_spot" else {})


@pytest.mark.parametrize("name", ["head", "gpu_spot", "gpu_on_demand"])
def test_google_knows_every_key_of_a_node(name: str) -> None:
    node = nodes(FOLDER / "gcp.yaml")[name]
    assert set(node) <= INSERT
    assert all(set(disk) <= DISK for disk in node["disks"])
    assert [disk["boot"] for disk in node["disks"]].count(True) == 1
    scheduling = node.get("scheduling", {})
    assert set(scheduling) <= SCHEDULING
    assert (scheduling.get("provisioningModel") == "SPOT") is (name == "gpu_spot")


def test_the_disks_of_mlflow_outlive_the_head() -> None:
    (own,) = [disk for disk in nodes(FOLDER / "gcp.yaml")["head"]["disks"] if not disk["boot"]]
    assert own["autoDelete"] is False
    storage = documents(FOLDER / "aws-storage.yaml")[0]
    kept = {name for name, each in storage["Resources"].items() if each.get("DeletionPolicy") == "Retain"}
    assert kept == {"SharedFiles", "Database", "Artifacts"}


def test_the_command_of_the_storage_fills_in_everything(tmp_path: Path) -> None:
    storage = documents(FOLDER / "aws-storage.yaml")[0]
    names = {"SharedFiles": "fs-1", "Database": "vol-2", "Artifacts": "stack-artifacts-3", "Image": "ami-4"}
    assert names.keys() <= storage["Resources"].keys() | storage["Parameters"].keys()
    command = re.sub(r"\$\{(\w+)\}", lambda name: names[name[1]], storage["Outputs"]["FillIn"]["Value"])
    (tmp_path / "cluster.yaml").write_bytes((ROOT / "cluster.yaml").read_bytes())
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    text = (tmp_path / "cluster.yaml").read_text(encoding="utf-8")
    assert not re.search(r"\w+-FILL_IN", text)
    cluster = yaml.safe_load(text)
    assert {node["ImageId"] for node in nodes(tmp_path / "cluster.yaml").values()} == {"ami-4"}
    (server,) = [command for command in cluster["head_start_ray_commands"] if "mlflow server" in command]
    assert "--artifacts-destination s3://stack-artifacts-3/mlflow" in server
