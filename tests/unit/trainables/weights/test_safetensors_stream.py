from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainables.weights.safetensors_stream import Checkpoint, write_safetensors

# Three bfloat16 elements take six bytes, after which a float32 would not lie at a multiple of four.
TENSORS = {
    "odd": torch.tensor([1.0, 2.0, 3.0], dtype=torch.bfloat16),
    "wide": torch.rand(3, 5) / 3,
    "turned": torch.rand(4, 2).t(),
    "scalar": torch.tensor(7),
    "empty": torch.zeros(0, 3),
    "half": torch.tensor([[0.1]], dtype=torch.float16),
}


def equal(found: Tensor, expected: Tensor) -> bool:
    return found.dtype == expected.dtype and torch.equal(found, expected)


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    with path.open("wb") as stream:
        sha256 = write_safetensors(stream, TENSORS)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = load_file(path)
    assert set(loaded) == set(TENSORS)
    assert all(equal(loaded[name], tensor) for name, tensor in TENSORS.items())


def test_reads_what_the_library_writes_tensor_by_tensor(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in TENSORS.items()}, path)
    checkpoint = Checkpoint(path)
    assert set(checkpoint) == set(TENSORS)
    assert len(checkpoint) == 6
    assert all(equal(checkpoint[name], tensor) for name, tensor in TENSORS.items())
    assert "other" not in checkpoint
    with pytest.raises(KeyError, match="other"):
        checkpoint["other"]


def test_a_type_that_no_run_has_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as stream, pytest.raises(KeyError, match="complex64"):
        write_safetensors(stream, {"z": torch.zeros(1, dtype=torch.complex64)})
