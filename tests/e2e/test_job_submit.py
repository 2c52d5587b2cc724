"""`ray job submit` as docs/cluster/README.md has it, on a real Ray head with a token and a dashboard."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_files import ROOT
from mlflow.tracking import MlflowClient
from mlflow_server import free_port, mlflow_server

from search.submit import SERVER, SHARED

RAY = [sys.executable, "-m", "ray.scripts.scripts"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A head as the cluster files start it; yields the environment in which a user submits to it."""
    folder = tmp_path_factory.mktemp("head")
    sockets = tempfile.mkdtemp(prefix="job")  # a short path: a socket's name has at most 107 bytes
    port, dashboard = free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t" * 64, "OMP_NUM_THREADS": "1"}
    environment |= {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}"}
    # The commands that a job runs are those of this environment.
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with mlflow_server(folder) as (server, _), (folder / "head.log").open("w") as log:
        nodes = environment | {SERVER: server, SHARED: str(folder / "shared")}
        process = subprocess.Popen(
            [
                *RAY, "start", "--head", "--block", f"--port={port}", f"--dashboard-port={dashboard}",
                f"--ray-client-server-port={free_port()}", f"--temp-dir={sockets}", "--num-cpus=2",
                '--resources={"train_driver": 64}',
            ],
            env=nodes, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            await_jobs(environment, folder / "head.log")
            yield nodes
        finally:
            process.terminate()
            process.wait(timeout=120)
            shutil.rmtree(sockets, ignore_errors=True)


def await_jobs(environment: dict[str, str], log: Path) -> None:
    deadline = time.monotonic() + 180
    while subprocess.run([*RAY, "job", "list"], env=environment, capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
        time.sleep(2)


def submit(head: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RAY, "job", "submit", "--working-dir", ".", "--", "python", "-m", "search.submit", *words],
        env=head, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=500, check=False,
    )  # fmt: skip


def test_a_study_runs_as_a_job(head: dict[str, str]) -> None:
    small = [
        "search.trials=2",
        "training.steps=30",
        "evaluation.samples=10",
        "space.subsets=[llm, mlp]",
        "finalists=null",
    ]
    done = submit(head, "examples/quickstart.yaml", "name=job", *small)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "recipe-search: exit status 0, done" in done.stdout
    assert (Path(head[SHARED]) / "runs" / "job" / "recipe.yaml").is_file()
    client = MlflowClient(head[SERVER])
    experiment = client.get_experiment_by_name("recipe-search")
    kinds = [run.data.tags["kind"] for run in client.search_runs([experiment.experiment_id])]
    assert sorted(kind for kind in kinds if kind != "point") == ["base", "study", "trial", "trial"]


def test_a_wrong_input_fails_the_job_with_its_status(head: dict[str, str]) -> None:
    done = submit(head, "examples/quickstart.yaml", "name=two words")
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "got 'two words'" in said
    assert "recipe-search: exit status 2, the input is wrong" in said
    assert "Job entrypoint command failed with exit code 2" in said
