"""A real MLflow server on loopback, for the tests that need one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from search.tracking import prepare_store


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def mlflow_server(
    folder: Path, database: Path | None = None, port: int | None = None
) -> Iterator[tuple[str, Path]]:
    """Run an MLflow server on a loopback port; yield its address and its log. It ends by SIGKILL.

    Args:
        folder: Takes the log, the artifacts and, unless `database` names another, the database.
        database: An existing SQLite store to serve.
        port: The port; None takes a free one.
    """
    port, log = port or free_port(), folder / "server.log"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", "1", "--backend-store-uri", f"sqlite:///{database or folder / 'server.db'}"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    with log.open("w") as stream:
        # A group of its own: the server starts two more processes, which end with it.
        server = subprocess.Popen(
            command, cwd=folder, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 200
        while True:
            try:
                prepare_store(f"http://127.0.0.1:{port}")
                break
            except ValueError:
                assert server.poll() is None, log.read_text()[-2000:]
                assert time.monotonic() < deadline, log.read_text()[-2000:]
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}", log
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(20)


def sqlite_address(file: Path) -> str:
    """Return the address of a database file, whose path may hold any character."""
    return f"sqlite:///{quote(str(file))}"
