"""Several processes on this machine that train one tiny model together, over gloo."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def in_world(size: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Call `work(rank, *arguments)` in each of `size` processes; return what each returned.

    Args:
        size: Number of processes.
        work: An importable function; what it returns must be picklable.
        arguments: Passed on.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(
            _process, (size, port, folder, work, arguments), nprocs=size, start_method="forkserver"
        )
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(size)]


def _process(rank: int, size: int, port: int, folder: str, work: Callable[..., Any], arguments: Any) -> None:
    torch.set_num_threads(1)
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = "127.0.0.1", str(port)
    dist.init_process_group("gloo", rank=rank, world_size=size)
    try:
        torch.save(work(rank, *arguments), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
