from __future__ import annotations

import hashlib
import json
import os
import shutil
from itertools import groupby
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import llava, save_llava
from torch import Tensor, nn

from trainables.checkpoint import (
    CheckpointError,
    apply_delta,
    copy_parameters,
    export_delta,
    load_checkpoint,
    save_checkpoint,
)
from trainables.files import write_atomically
from trainables.manifest import build_manifest
from trainables.model import load_model, model_fingerprint
from trainables.pointer import Pointer

NAME = "model.language_model.layers.0.mlp.down_proj.weight"


@pytest.fixture
def state() -> dict[str, Tensor]:
    """A run's state with a value that no rounding survives, a scalar, and a tensor that is not contiguous."""
    return {
        "step": torch.tensor(7),
        f"parameter/{NAME}": torch.rand(24, 16).t() / 3,
        f"exp_avg/{NAME}": torch.tensor([float("-inf"), 1e-45, 3.0]),
        f"step/{NAME}": torch.tensor(7.0),
    }


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_comes_back_bit_for_bit(tmp_path: Path, state: dict[str, Tensor]) -> None:
    pointer = save_checkpoint(tmp_path / "deep" / "step.safetensors", state, 7)
    assert pointer is not None
    assert pointer.step == 7
    loaded = load_checkpoint(Pointer.from_dict(json.loads(json.dumps(pointer.to_dict()))))
    assert set(loaded) == set(state)
    assert len(loaded) == len(state)
    for name, tensor in state.items():
        assert (loaded[name].dtype, loaded[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(loaded[name], tensor)
    assert files(tmp_path) == ["step.optimizer.safetensors", "step.safetensors"]
    assert set(load_file(pointer.path)) == {f"parameter/{NAME}"}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "is damaged: its checksum is": flip,
    "is damaged": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "is missing": Path.unlink,
    "can't be read": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("which", ["step.safetensors", "step.optimizer.safetensors"])
@pytest.mark.parametrize("message", DAMAGES)
def test_a_damaged_file_is_detected(
    tmp_path: Path, state: dict[str, Tensor], message: str, which: str
) -> None:
    pointer = save_checkpoint(tmp_path / "step.safetensors", state, 7)
    assert pointer is not None
    DAMAGES[message](tmp_path / which)
    with pytest.raises(CheckpointError, match=f"{which} {message}"):
        load_checkpoint(pointer)


def test_weights_alone_are_nothing_to_go_on_from(tmp_path: Path) -> None:
    pointer = save_checkpoint(tmp_path / "point.safetensors", {f"parameter/{NAME}": torch.ones(2)}, 7)
    assert files(tmp_path) == ["point.safetensors"]
    assert pointer is not None
    with pytest.raises(CheckpointError, match="has no optimiser's state"):
        load_checkpoint(pointer)


def test_a_write_that_fails_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("trainables.files.os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert files(tmp_path) == ["file"]


def test_what_takes_long_lies_between_signs_of_progress(
    tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda opened: done.append("sync"))
    save_checkpoint(tmp_path / "step.safetensors", state, 7, lambda: done.append("beat"))
    # A file's content, then its folder; once for what was trained, once for the optimiser.
    assert [list(group) for kind, group in groupby(done) if kind == "sync"] == [["sync", "sync"]] * 2
    assert (done[0], done[-1]) == ("beat", "beat")


def test_writing_leaves_no_temporary_file(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        write_atomically(tmp_path / "new" / "file", content)
    assert (tmp_path / "new" / "file").read_bytes() == b"two"
    assert files(tmp_path) == ["file"]


def exported(
    tmp_path: Path, model: nn.Module, subset: str = "down", *, base: str = "b4se"
) -> tuple[Path, dict[str, Tensor]]:
    """Export random weights of a subset; return the folder and the weights."""
    manifest = build_manifest(model, subset)
    new = {p.name: torch.rand(p.shape) for p in manifest.parameters}
    path = tmp_path / "trial" / "step.safetensors"
    save_checkpoint(path, {"step": torch.tensor(1), **{f"parameter/{n}": t for n, t in new.items()}}, 1)
    export_delta(path, manifest.to_dict(), base, tmp_path / "selected")
    return tmp_path / "selected", new


def test_damaged_values_are_written_nowhere(tmp_path: Path, state: dict[str, Tensor]) -> None:
    pointer = save_checkpoint(tmp_path / "step.safetensors", state, 7)
    assert pointer is not None
    copied = copy_parameters(Path(pointer.path), tmp_path / "copy.safetensors", pointer.sha256)
    assert hashlib.sha256((tmp_path / "copy.safetensors").read_bytes()).hexdigest() == copied
    content = bytearray(Path(pointer.path).read_bytes())
    content[-1] ^= 1
    Path(pointer.path).write_bytes(content)
    before = files(tmp_path)
    with pytest.raises(CheckpointError, match=r"step\.safetensors is damaged: its checksum is"):
        copy_parameters(Path(pointer.path), tmp_path / "again.safetensors", pointer.sha256)
    with pytest.raises(CheckpointError, match=r"step\.safetensors is damaged: its checksum is"):
        export_delta(Path(pointer.path), {}, "", tmp_path / "selected", sha256=pointer.sha256)
    assert files(tmp_path) == before


def test_selected_weights_go_back_onto_the_base_and_nowhere_else(tmp_path: Path) -> None:
    model = llava()
    folder, new = exported(tmp_path, model)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()} | new
    apply_delta(model, folder)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_selected_weights_say_what_they_belong_to(tmp_path: Path) -> None:
    folder, new = exported(tmp_path, llava())
    assert files(folder) == ["delta.safetensors", "manifest.json"]
    description = json.loads((folder / "manifest.json").read_text())
    assert description["base_fingerprint"] == "b4se"
    assert description["subset"] == "down"
    assert [p["name"] for p in description["parameters"]] == list(new)
    assert set(load_file(folder / "delta.safetensors")) == set(new)


def test_exporting_replaces_an_earlier_export(tmp_path: Path) -> None:
    exported(tmp_path, llava())
    (tmp_path / "selected" / "stale").touch()
    folder, _ = exported(tmp_path, llava(), "projector")
    assert files(folder) == ["delta.safetensors", "manifest.json"]


def test_refuses_weights_of_another_model_and_leaves_it_as_it_was(tmp_path: Path) -> None:
    model = llava()
    folder, _ = exported(tmp_path, model, "mlp")
    other = llava(seed=1)
    wider = nn.Parameter(torch.zeros(16, 25))
    other.model.language_model.layers[1].mlp.down_proj.weight = wider
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(
        CheckpointError, match=r"'.*layers\.1\.mlp\.down_proj\.weight' \(16, 24\) does not fit"
    ):
        apply_delta(other, folder)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())
    with pytest.raises(CheckpointError, match="does not fit"):
        apply_delta(nn.Linear(2, 2), folder)


def test_refuses_another_base_of_the_same_shapes_unless_told_otherwise(tmp_path: Path) -> None:
    own, other = (save_llava(tmp_path / name, seed=seed) for name, seed in (("own", 0), ("other", 1)))
    folder, new = exported(tmp_path, llava(), base=model_fingerprint(str(own)))
    model = load_model(str(other), dtype=torch.float32)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        apply_delta(model, folder)
    known, found = (model_fingerprint(str(path))[:12] for path in (own, other))
    assert str(caught.value) == (
        f"{folder} was trained from another base than '{other}': its fingerprint is {found}, not {known}"
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    for base, options in ((own, {}), (other, {"any_base": True})):
        model = load_model(str(base), dtype=torch.float32)
        apply_delta(model, folder, **options)
        assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in new.items())
    shutil.rmtree(own)
    model.name_or_path = str(own)
    with pytest.raises(CheckpointError, match=r"whether the base is theirs can't be told: model '.*own'"):
        apply_delta(model, folder)


def test_refuses_weights_that_lack_a_tensor_of_their_manifest(tmp_path: Path) -> None:
    model = llava()
    folder, new = exported(tmp_path, model)
    del new["model.language_model.layers.1.mlp.down_proj.weight"]
    save_file(new, folder / "delta.safetensors")
    described = json.loads((folder / "manifest.json").read_text())
    described["sha256"] = hashlib.sha256((folder / "delta.safetensors").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match=r"'.*layers\.1\.mlp\.down_proj\.weight' is missing"):
        apply_delta(model, folder)


def test_refuses_selected_weights_that_are_damaged_or_missing(tmp_path: Path) -> None:
    model = llava()
    with pytest.raises(CheckpointError, match="does not hold selected weights"):
        apply_delta(model, tmp_path)
    folder, _ = exported(tmp_path, model)
    (folder / "delta.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(CheckpointError, match="is damaged"):
        apply_delta(model, folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(CheckpointError, match="does not hold selected weights"):
        apply_delta(model, folder)
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(CheckpointError):
        apply_delta(model, folder)
