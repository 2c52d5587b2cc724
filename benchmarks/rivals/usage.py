"""What a program takes: wall time, processor time of all its processes, and storage."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

_EVERY: Final = 0.5  # seconds between two looks at the processes
WEIGHTS: Final = (".safetensors", ".pt", ".pth", ".bin")
"""How files end that hold tensors: weights, and what training goes on from."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one run of a program took.

    Attributes:
        start: When it was started, in seconds since 1970.
        seconds: Wall time.
        cpu_seconds: Processor time of all its processes. Of a process that ended between two looks the last
            half second at most is missing.
        bytes: What it left in its folder.
        weight_bytes: Of these what holds tensors.
        load: The machine's load average over a minute, when it was started.
        status: Exit status.
    """

    start: float
    seconds: float
    cpu_seconds: float
    bytes: int
    weight_bytes: int
    load: float
    status: int


class ProcessorTime:
    """Adds up what a process and its descendants take, by looking at them again and again.

    Args:
        pid: The first process.
    """

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._taken: dict[tuple[int, float], float] = {}

    def look(self) -> None:
        """Note what each process has taken so far."""
        try:
            processes = [self._root, *self._root.children(recursive=True)]
        except psutil.Error:
            return
        for process in processes:
            try:
                times = process.cpu_times()
                self._taken[process.pid, process.create_time()] = times.user + times.system
            except psutil.Error:
                continue

    @property
    def seconds(self) -> float:
        """What was noted, all processes together."""
        return sum(self._taken.values())


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Usage:
    """Run a program to its end and measure it; what it prints goes to `log` in its folder.

    Args:
        command: The program with its arguments.
        folder: Where it writes; nothing else is counted as its storage.
        environment: Variables besides those of this process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    with (folder / "log").open("w") as log:
        start = time.time()
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **environment}
        )
        taken = ProcessorTime(process.pid)
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_EVERY):
                taken.look()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            status = process.wait()
        finally:
            ended.set()
            watcher.join()
            if process.poll() is None:
                process.terminate()
    everything, weights = stored(folder)
    return Usage(
        start=start,
        seconds=time.time() - start,
        cpu_seconds=taken.seconds,
        bytes=everything,
        weight_bytes=weights,
        load=load,
        status=status,
    )


def stored(folder: Path) -> tuple[int, int]:
    """Return the bytes of a folder's files, and of those that hold tensors."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    sizes = {path: path.stat().st_size for path in files}
    return sum(sizes.values()), sum(size for path, size in sizes.items() if path.suffix in WEIGHTS)
