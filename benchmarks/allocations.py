"""What a piece of work takes of memory and sends to other processes, as torch itself saw it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode


def local_bytes(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of the distinct storages behind tensors, of this process's shards of sharded ones.

    A view counts with the whole of what it is a view of, since that is what it keeps alive.
    """
    local = [t.to_local() if isinstance(t, DTensor) else t for t in tensors]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in local}
    return sum(storages.values())


class ReducedBytes(TorchDispatchMode):
    """Adds up what is handed to the collective operations that sum over processes.

    Attributes:
        operations: Bytes of each operation's input, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[int] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        namespace, _, name = func.name().partition("::")
        if namespace == "c10d" and "reduce" in name:
            # reduce_scatter writes its first argument and reads its second; all_reduce has one for both.
            taken = args[1] if "scatter" in name else args[0]
            self.operations.append(local_bytes([taken] if isinstance(taken, Tensor) else taken))
        return func(*args, **(kwargs or {}))


def peak_during(profile: torch.profiler.profile, mark: str) -> int:
    """Return the largest number of bytes that were allocated at one time between a mark's start and end.

    Args:
        profile: A CPU profile with `profile_memory`, begun before what counts was allocated.
        mark: Name of a `torch.profiler.record_function`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    (marked,) = [e for e in events if e.get("name") == mark and e.get("cat") == "user_annotation"]
    begin, end = marked["ts"], marked["ts"] + marked["dur"]
    # By address: of what is freed, some may have been allocated before the profile began.
    blocks: dict[int, int] = {}
    live = peak = 0
    for event in sorted((e for e in events if e.get("name") == "[memory]"), key=lambda e: e["ts"]):
        address, size, before = event["args"]["Addr"], event["args"]["Bytes"], live
        if size > 0:
            blocks[address] = size
            live += size
        else:
            live -= blocks.pop(address, 0)
        if begin <= event["ts"] <= end:
            peak = max(peak, before, live)
    return peak
