"""`RAY_ADDRESS=ray://head:10001 recipe-search run` from a machine that shares nothing with the cluster."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from subprocess import CompletedProcess

import pytest
import yaml
from machines import HOME, Machines, machines
from packages import ENVIRONMENT, install_packages

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

START = """
export RAY_AUTH_MODE=token PATH=~/.recipe-search/venv/bin:$PATH
mkdir -p ~/.ray && echo {token} > ~/.ray/auth_token
ray start --head --num-cpus=1 --resources='{{"train_driver": 8}}' \\
    --object-store-memory=100000000 --include-dashboard=false
"""
TOKEN = "0123456789abcdef0123456789abcdef"
REDUCED = (
    "name=outside",
    "tracking.experiment=two words",
    "search.trials=1",
    "finalists=null",
    "space.subsets=[gate_up]",
    "training.steps=2",
    "training.batch_size=4",
    "training.samples=8",
    "evaluation.samples=4",
    "search.pruning=null",
    "held_out=[digits]",
)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with machines(tmp_path_factory.mktemp("client"), ("head",), ENVIRONMENT) as there:
        install_packages(there)
        there.on_node("head", START.format(token=TOKEN), timeout=120)
        yield there


def run(
    head: Machines, *words: str, token: str = TOKEN, under: tuple[str, ...] = ()
) -> CompletedProcess[str]:
    address = f"RAY_ADDRESS=ray://{head.addresses['head']}:10001"
    command = (*under, sys.executable, "-m", "search.cli", "run", "examples/quickstart.yaml")
    return head.on_laptop("env", address, f"RAY_AUTH_TOKEN={token}", *command, *words, timeout=400)


def test_the_study_runs_on_the_head_with_the_checkout_that_was_sent(head: Machines) -> None:
    done = run(head, *REDUCED)
    assert done.returncode == 0, done.stdout[-4000:]
    assert done.stdout.splitlines()[-1] == "recipe-search: exit status 0, done"
    results = f"{HOME}/recipe-search-results"
    study = yaml.safe_load(head.on_node("head", f"cat '{results}/runs/outside/study.yaml'"))
    assert study["tracking"]["experiment"] == "two words"
    assert "mlflow.db" in head.on_node("head", f"ls {results}")
    assert "recipe-search-results" not in head.on_laptop("ls", HOME, timeout=60).stdout


def test_a_wrong_setting_is_refused_here(head: Machines) -> None:
    done = run(head, "search.trails=1")
    assert done.returncode == 2
    assert "did you mean 'trials'?" in done.stdout
    assert "running on the head" not in done.stdout


def test_a_study_that_the_head_refuses_has_its_exit_status(head: Machines) -> None:
    done = run(head, *REDUCED, "resources.gpus_per_worker=1", "name=large")
    assert done.returncode == 2
    assert "error: " in done.stdout


def test_another_token_is_refused_in_a_line(head: Machines) -> None:
    done = run(head, *REDUCED, token="f" * 32)
    assert done.returncode == 2
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert "token" in line


# Sends a signal to a command once its study trains.
SIGNALLED = """
import pathlib, signal, subprocess, sys, time
said = pathlib.Path("/tmp/said")
process = subprocess.Popen(sys.argv[2:], stdout=said.open("w"), stderr=subprocess.STDOUT)
while "trial 0" not in said.read_text() and process.poll() is None:
    time.sleep(1)
process.send_signal(signal.Signals[sys.argv[1]])
status = process.wait()
print(said.read_text(), "status", status)
"""


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 1), ("SIGKILL", -9)])
def test_the_study_ends_with_the_command(head: Machines, name: str, status: int) -> None:
    words = (*REDUCED, "training.steps=100000", f"name=endless-{name}")
    done = run(head, *words, under=(sys.executable, "-c", SIGNALLED, name))
    assert done.stdout.splitlines()[-1].endswith(f"status {status}"), done.stdout[-3000:]
    deadline = time.monotonic() + 200
    while any("search.submit" in line for line in head.processes("head")):
        assert time.monotonic() < deadline, "the study goes on"
        time.sleep(2)
