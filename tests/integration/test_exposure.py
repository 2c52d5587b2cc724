"""What a whole study shows of itself: no secret in any file or line, and no port of Ray's but on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest
from mlflow_server import free_port, mlflow_server

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "search.cli"]
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
SECRETS = {
    "address": "pw-7f3a1c9e",
    "HF_TOKEN": "hf_5e1b7d2a9c",
    "MLFLOW_TRACKING_PASSWORD": "mlpw-0b6d4f8e",
    "AWS_SECRET_ACCESS_KEY": "aws-c27e915a3d",
    "RAY_AUTH_TOKEN": "raytoken-" + "9d40e6b81f" * 4,
}
REDUCED = (
    *("search.trials=2", "search.pruning=null", "space.subsets=[gate_up]", "training.steps=2"),
    *("training.samples=20", "evaluation.samples=4", "evaluation.rung_samples=null", "held_out=[digits]"),
    *("finalists=null", "points=null", "search.presets=false"),
)


def listening(process: psutil.Process) -> set[tuple[str, str]]:
    """Return the names of a process and its children that listen on other addresses than loopback's."""
    found = set()
    for each in [process, *process.children(recursive=True)]:
        try:
            for connection in each.net_connections(kind="inet"):
                if connection.status == "LISTEN" and connection.laddr.ip not in LOOPBACK:
                    found.add((each.name(), connection.laddr.ip))
        except psutil.Error:
            continue
    return found


def holding(folder: Path, secret: str) -> list[str]:
    """Return the files that hold a secret, written plainly."""
    return [
        str(file)
        for file in folder.rglob("*")
        if file.is_file() and not file.is_symlink() and secret.encode() in file.read_bytes()
    ]


def known(name: str, file: str) -> bool:
    """Tell whether a file is the one of Ray's own logs that holds this secret: docs/reliability tells of it.

    Tune hands the keys of AWS to the processes of trials, and Ray writes what it hands over into that log.
    """
    return name == "AWS_SECRET_ACCESS_KEY" and file.endswith("/logs/runtime_env_agent.log")


def is_store(name: str, address: str) -> bool:
    """Tell whether this may be where the workers of a group meet: docs/reliability tells of it.

    Torch's TCPStore listens on all interfaces, whatever address it is told.
    """
    return name.startswith("ray::RayTrainWo") and address == "::"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_keeps_its_secrets_and_its_ports_to_itself(tmp_path: Path) -> None:
    work, ray_files = tmp_path / "work", Path(tempfile.mkdtemp(prefix="rs-", dir="/tmp"))
    work.mkdir()
    (tmp_path / "server").mkdir()
    open_ports: set[tuple[str, str]] = set()
    try:
        with mlflow_server(tmp_path / "server") as (address, _):
            uri = address.replace("http://", f"http://me:{SECRETS['address']}@")
            running = subprocess.Popen(
                [
                    *COMMAND,
                    "run",
                    str(ROOT / "examples" / "quickstart.yaml"),
                    *REDUCED,
                    f"tracking.uri={uri}",
                ],
                cwd=work,
                env={
                    **os.environ,
                    **{name: value for name, value in SECRETS.items() if name.isupper()},
                    **{"PYTHONPATH": str(ROOT), "RAY_TMPDIR": str(ray_files), "HF_HUB_OFFLINE": "1"},
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            over = threading.Event()

            def watch() -> None:
                process = psutil.Process(running.pid)
                while not over.wait(1.0):
                    open_ports.update(listening(process))

            watcher = threading.Thread(target=watch)
            watcher.start()
            out, err = running.communicate(timeout=800)
            over.set()
            watcher.join()
        assert running.returncode == 0, err[-3000:]
        assert (work / "runs" / "quickstart" / "report.html").is_file()
        assert list(ray_files.rglob("*.log")) or list(ray_files.rglob("*.out"))
        for name, secret in SECRETS.items():
            assert secret not in out + err, name
            for folder in (work, tmp_path / "server", ray_files):
                found = [file for file in holding(folder, secret) if not known(name, file)]
                assert found == [], name
        assert {each for each in open_ports if not is_store(*each)} == set()
    finally:
        shutil.rmtree(ray_files, ignore_errors=True)


@pytest.mark.slow
def test_the_ui_listens_on_loopback_alone(tmp_path: Path) -> None:
    from search.tracking import prepare_store

    prepare_store(f"sqlite:///{tmp_path / 'mlflow.db'}")
    port = free_port()
    server = subprocess.Popen(
        [*COMMAND, "ui", "--uri", f"sqlite:///{tmp_path / 'mlflow.db'}", "--port", str(port)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    process = psutil.Process(server.pid)
    try:
        deadline = time.monotonic() + 200
        while not any(
            connection.laddr.port == port
            for each in [process, *process.children(recursive=True)]
            for connection in each.net_connections(kind="inet")
        ):
            assert time.monotonic() < deadline
            time.sleep(0.3)
        assert listening(process) == set()
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)
