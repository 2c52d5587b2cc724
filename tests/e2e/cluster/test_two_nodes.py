"""The stated command, for real: `ray up`, `ray submit` and `ray down` over ssh, with two nodes.

docs/cluster/local.yaml is followed as written: its capitals are filled in, and each node is told to have one
core. The nodes have the packages of this environment and no index, so that pip installs the project alone.
"""

from __future__ import annotations

import csv
import json
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml
from machines import HOME, ROOT, Machines, machines
from packages import ENVIRONMENT, install_packages

LOCAL = ROOT / "docs" / "cluster" / "local.yaml"
TRIALS = 2
STUDY = {
    "name": "both",
    "model": {"path": "tiny-llava"},
    "targets": ["counting"],
    "held_out": ["digits"],
    "space": {"subsets": ["gate_up", "projector"], "learning_rate": [1e-4, 1e-3]},
    "training": {"steps": 4, "batch_size": 4, "samples": 16},
    "evaluation": {"samples": 8},
    "finalists": None,
    "search": {"trials": TRIALS},
    # More than either node has: each trial's workers train together across the two.
    "resources": {"workers_per_trial": 2},
}
# What MLflow's server on the head has on record.
RECORDED = """
import json
from mlflow.tracking import MlflowClient
client = MlflowClient()
print(json.dumps({e.name: [r.data.tags for r in client.search_runs([e.experiment_id])]
                  for e in client.search_experiments()}))
"""


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a user saw and got from `ray up` to `ray down`.

    Attributes:
        good: `ray submit` of the study.
        wrong: `ray submit` with an output that only the head sees, and other sources on the worker.
        unmade: What lies where the wrong one was to write.
        recorded: Experiment -> the tags of its runs, as MLflow's server told them.
        left: Node -> its processes some seconds after `ray down`.
        study: The study's folder.
        addresses: Node -> its address.
    """

    good: CompletedProcess[str]
    wrong: CompletedProcess[str]
    unmade: str
    recorded: dict[str, list[dict[str, str]]]
    left: dict[str, list[str]]
    study: Path
    addresses: dict[str, str]


def cluster_file(there: Machines) -> str:
    """Return docs/cluster/local.yaml with its capitals filled in, for nodes of one core and without a GPU."""
    written: dict[str, Any] = yaml.safe_load(LOCAL.read_text(encoding="utf-8"))
    head, worker = there.addresses.values()
    written["provider"] |= {"head_ip": head, "worker_ips": [worker]}
    written["auth"] = {"ssh_user": "root", "ssh_private_key": str(there.key)}
    written["min_workers"] = written["max_workers"] = 1
    text = yaml.safe_dump(written, sort_keys=False, width=10**6)
    small = "--num-cpus=1 --object-store-memory=100000000"
    for placeholder, value in (
        ("/SHARED/FOLDER", str(there.shared)),
        ("[tiny,gpu]", "[tiny]"),
        ("ray start --head", f"ray start --head --include-dashboard=false {small}"),
        ("ray start --address", f"ray start {small} --address"),
    ):
        assert text.count(placeholder) == 1, placeholder
        text = text.replace(placeholder, value)
    return text


def wait_until(done: Any, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


def running(processes: list[str]) -> list[str]:
    """Return what is more than the idle helpers that outlive a node's Ray by a minute (Ray 2.60)."""
    return [line for line in processes if not re.search(r"^ray::\w+Agent|/log_monitor\.py", line)]


# Minutes where other work keeps the cores busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    with machines(tmp_path_factory.mktemp("two"), ("head", "worker"), ENVIRONMENT) as there:
        install_packages(there)
        file = there.key.parent / "cluster.yaml"
        file.write_text(cluster_file(there))
        (there.shared / "both.yaml").write_text(yaml.safe_dump(STUDY))
        there.on_laptop("ray", "get-auth-token", "--generate", timeout=60)

        def ray(*command: str, timeout: float) -> CompletedProcess[str]:
            began = time.monotonic()
            done = there.on_laptop("ray", *command, timeout=timeout)
            print(f"{time.monotonic() - began:6.1f} s  ray {command[0]}")
            return done

        up = ray("up", "--yes", str(file), timeout=300)
        assert up.returncode == 0, up.stdout[-4000:]
        # The head's autoscaler starts the workers, and `ray up` does not wait for them.
        wait_until(lambda: running(there.processes("worker")), 200, "no Ray on the worker")
        submit = ("submit", str(file), "search/submit.py", "--")
        good = ray(*submit, "both.yaml", "tracking.experiment=two words", timeout=400)
        there.on_node("worker", "echo >> ~/recipe-search/search/wording.py")
        wrong = ray(*submit, "both.yaml", "name=wrong", f"output={HOME}/runs", timeout=120)
        recorded = json.loads(there.on_node("head", f"python -c '{RECORDED}'").splitlines()[-1])
        unmade = there.on_node("head", f"ls {HOME}")
        down = ray("down", "--yes", str(file), timeout=120)
        assert down.returncode == 0, down.stdout[-4000:]
        # A worker has to notice that its head is gone.
        wait_until(lambda: not running(there.processes("worker")), 200, "Ray stays on the worker")
        return Session(
            good=good,
            wrong=wrong,
            unmade=unmade,
            recorded=recorded,
            left={node: there.processes(node) for node in there.addresses},
            study=there.shared / "runs" / "both",
            addresses=dict(there.addresses),
        )


def test_a_study_trains_on_both_nodes_and_ends_well(session: Session) -> None:
    assert session.good.returncode == 0, session.good.stdout[-4000:]
    assert "recipe-search: exit status 0, done" in session.good.stdout
    with (session.study / "trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["state"] for row in rows] == ["COMPLETE"] * TRIALS
    assert {row["nodes"] for row in rows} == {" ".join(session.addresses.values())}


def test_the_server_on_the_head_has_the_record_under_the_name_with_a_space(session: Session) -> None:
    assert set(session.recorded) == {"Default", "two words"}
    runs = session.recorded["two words"]
    counts = Counter(tags["kind"] for tags in runs)
    assert counts.pop("point") > 0
    assert counts == {"base": 1, "study": 1, "trial": TRIALS}
    nodes = {tags["nodes"] for tags in runs if tags["kind"] == "trial"}
    assert nodes == {" ".join(session.addresses.values())}


def test_unshared_storage_and_other_sources_are_refused_in_a_line(session: Session) -> None:
    assert session.wrong.returncode != 0
    (line,) = [line for line in session.wrong.stdout.splitlines() if line.startswith("error: ")]
    worker = session.addresses["worker"]
    assert f"{worker} has another version of recipe-search" in line
    assert f"{HOME}/runs: not the same folder on {worker}" in line
    assert "recipe-search: exit status 2, the input is wrong" in session.wrong.stdout
    assert "runs" not in session.unmade.split()


def test_after_ray_down_only_mlflow_is_left(session: Session) -> None:
    assert running(session.left["worker"]) == []
    assert session.left["head"], "the record is gone"
    assert [line for line in session.left["head"] if "mlflow" not in line] == []
