"""Victims and moments: which process of a study is killed or stopped, and what a trial does just then."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil

VICTIMS = {
    "worker": "ray::RayTrainWorker",
    "group": "ray::WorkerGroup",
    "controller": "ray::TrainController",
    "pool": "ray::WorkerPool",
}


def processes(victim: str) -> list[psutil.Process]:
    """Return the processes of a kind that this process's Ray runs, the youngest last."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            title = " ".join(process.cmdline())
            if title.removeprefix("ray::").startswith(VICTIMS[victim].removeprefix("ray::")):
                found.append(process)
    return sorted(found, key=lambda process: process.create_time())


def left_over() -> list[str]:
    """Return the titles of the actors' processes that are there, but for Ray's own."""
    own = ("IDLE", "DashboardAgent", "RuntimeEnvAgent", "_AutoscalingCoordinatorActor")
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            title = " ".join(process.cmdline())
            if title.startswith("ray::") and not title.removeprefix("ray::").startswith(own):
                found.append(title)
    return found


def kill(victim: str) -> None:
    """Kill the one process of a kind, and wait until it is gone."""
    (process,) = processes(victim)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=10)


def take_away(victim: str) -> None:
    """Tell the one process of a kind that it will be taken away, as a spot machine's are."""
    (process,) = processes(victim)
    os.kill(process.pid, signal.SIGTERM)


def stop(victim: str) -> None:
    """Stop the one process of a kind, as a debugger or a machine that thrashes does."""
    (process,) = processes(victim)
    os.kill(process.pid, signal.SIGSTOP)


def spoil_disk(victim: str, largest: int = 20_000) -> None:
    """Let the one process of a kind write no larger files, as a disk that fails; one started anew may."""
    (process,) = processes(victim)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))


def stuck_write(folder: Path, step: int) -> Callable[[], None]:
    """Have the worker wait for ever while it writes a rung's checkpoint; return what waits until it does.

    The trained parameters lie there already; the file for the rest is a pipe that nobody reads.
    """
    (worker,) = processes("worker")
    parameters = folder / f"step_{step:06d}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    for thread in worker.threads():
        writer = f"{socket.gethostname()}.{worker.pid}.{thread.id}"
        os.mkfifo(folder / f".step_{step:06d}.optimizer.safetensors.{writer}.tmp")

    def reached() -> None:
        until(parameters.exists, "the checkpoint was not written", 60)

    return reached


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
