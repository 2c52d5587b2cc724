"""safetensors files, one tensor at a time.

The library's own `save` holds all tensors in memory twice. A sharded run's state, gathered whole, may be
larger than one machine's memory, so it is gathered and written tensor by tensor. The format:
https://huggingface.co/docs/safetensors#format
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import safe_open
from torch import Tensor

from trainables.training.parallel import full_tensor

_TYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.int64: "I64"}


class Checkpoint(Mapping[str, Tensor]):
    """A safetensors file as a mapping; a tensor is read, to the CPU, each time that it is asked for.

    Args:
        path: The file.
        prefix: What is seen are the tensors whose names in the file begin with it, under the rest of their
            names.
    """

    def __init__(self, path: Path, prefix: str = "") -> None:
        self._file = safe_open(path, framework="pt")
        self._prefix = prefix
        names = list(self._file.keys())
        self._names = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        tensor: Tensor = self._file.get_tensor(self._prefix + name)
        return tensor

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape without reading its elements."""
        return tuple(self._file.get_slice(self._prefix + name).get_shape())

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Joined(Mapping[str, Tensor]):
    """Two mappings as one, in which each tensor is still read when it is asked for.

    Args:
        first: The one that is looked into first.
        second: The other.
    """

    def __init__(self, first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
        self._first = first
        self._second = second

    def __getitem__(self, name: str) -> Tensor:
        return self._first[name] if name in self._first else self._second[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**dict.fromkeys(self._first), **dict.fromkeys(self._second)})

    def __len__(self) -> int:
        return len(set(self._first) | set(self._second))


def nothing() -> None:
    """Do nothing, for want of anybody who asks whether the work goes on."""


def write_safetensors(
    stream: BinaryIO | None, tensors: Mapping[str, Tensor], beat: Callable[[], None] = nothing
) -> str:
    """Write tensors in the safetensors format and return the SHA-256 of what was written.

    Args:
        stream: Where to write; None takes part in gathering sharded tensors, which needs every process.
        tensors: The tensors, on any device, whole or sharded; the same names in every process.
        beat: Called after each tensor.
    """
    # Larger elements first, so that each lies at a multiple of its size.
    ordered = dict(sorted(tensors.items(), key=lambda item: -item[1].element_size()))
    digest = hashlib.sha256()

    def write(content: bytes | memoryview) -> None:
        if stream is not None:
            digest.update(content)
            stream.write(content)

    header = _header(ordered)
    write(len(header).to_bytes(8, "little"))
    write(header)
    for tensor in ordered.values():
        whole = full_tensor(tensor).detach()
        if stream is not None:
            write(memoryview(whole.cpu().reshape(-1).view(torch.uint8).numpy()))
        beat()
    return digest.hexdigest()


def _header(tensors: Mapping[str, Tensor]) -> bytes:
    described, offset = {}, 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        described[name] = {
            "dtype": _TYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    header = json.dumps(described, separators=(",", ":")).encode()
    return header + b" " * (-len(header) % 8)
