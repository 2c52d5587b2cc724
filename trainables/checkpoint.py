"""Checkpoints and selected weights: safetensors files, written atomically and found by pointers."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from trainables.files import read_object, syncing, write_atomically, written_atomically
from trainables.manifest import Adapters, TrainableManifest
from trainables.model import ModelError, model_fingerprint
from trainables.pointer import Pointer
from trainables.weights.merging import merge_adapters, shapes_of
from trainables.weights.peft_files import write_peft_files
from trainables.weights.safetensors_stream import Checkpoint, Joined, nothing, write_safetensors
from trainables.weights.slices import live_tensors

PARAMETER = "parameter/"
DELTA_FILE = "delta.safetensors"
MANIFEST_FILE = "manifest.json"
OPTIMIZER_SUFFIX: Final = ".optimizer.safetensors"
_CHUNK: Final = 16 << 20  # bytes


class CheckpointError(ValueError):
    """A checkpoint or a set of selected weights is missing, damaged or of another model."""


def optimizer_file(path: Path) -> Path:
    """Return where the rest of a checkpoint lies, whose trained parameters lie at `path`."""
    return path.with_suffix(OPTIMIZER_SUFFIX)


def save_checkpoint(
    path: Path | None, state: Mapping[str, Tensor], step: int, beat: Callable[[], None] = nothing
) -> Pointer | None:
    """Write the tensors of a run, one after another, and return the pointer to them.

    Args:
        path: The file of what was trained; the rest goes to a file beside it, if there is any. None takes
            part in gathering sharded tensors, which needs every process, and writes nothing.
        state: The tensors, whole or sharded; the same names in every process.
        step: Optimiser steps done.
        beat: Called after each tensor, and each time that a part of a file has come to the disk.

    Returns:
        The pointer, or None without a path.
    """
    trained = {name: tensor for name, tensor in state.items() if name.startswith(PARAMETER)}
    rest = {name: tensor for name, tensor in state.items() if name not in trained}
    if path is None:
        write_safetensors(None, trained)
        write_safetensors(None, rest)
        return None
    with written_atomically(path) as stream:
        sha256 = write_safetensors(stream, trained, syncing(stream, beat))
    beat()
    if not rest:
        return Pointer(str(path), sha256, step)
    with written_atomically(optimizer_file(path)) as stream:
        rest_sha256 = write_safetensors(stream, rest, syncing(stream, beat))
    beat()
    return Pointer(str(path), sha256, step, str(optimizer_file(path)), rest_sha256)


def load_checkpoint(pointer: Pointer, beat: Callable[[], None] = nothing) -> Mapping[str, Tensor]:
    """Open the tensors that a pointer names; each is read when it is asked for.

    Args:
        pointer: The pointer.
        beat: Called while the files are read.

    Raises:
        CheckpointError: A file is missing, damaged or can't be read, or no run can go on from it.
    """
    if pointer.optimizer is None or pointer.optimizer_sha256 is None:
        raise CheckpointError(f"checkpoint {pointer.path} has no optimiser's state")
    return Joined(
        open_checkpoint(Path(pointer.path), pointer.sha256, beat=beat),
        open_checkpoint(Path(pointer.optimizer), pointer.optimizer_sha256, beat=beat),
    )


def open_checkpoint(
    path: Path, sha256: str | None, prefix: str = "", beat: Callable[[], None] = nothing
) -> Checkpoint:
    """Open a file of tensors, each of which is read when it is asked for.

    Args:
        path: The file.
        sha256: Its checksum; None where it is not known, in studies of earlier versions.
        prefix: See `Checkpoint`.
        beat: Called while the file is read.

    Raises:
        CheckpointError: The file is missing, damaged or can't be read.
    """
    if not path.exists():
        raise CheckpointError(f"checkpoint {path} is missing")
    if sha256 is not None:
        _check(path, sha256, beat)
    try:
        return Checkpoint(path, prefix)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged: {error}") from None


def _check(path: Path, sha256: str, beat: Callable[[], None]) -> None:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                beat()
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint {path} is missing") from None
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} can't be read: {error}") from None
    if (found := digest.hexdigest()) != sha256:
        raise CheckpointError(f"checkpoint {path} is damaged: its checksum is {found}, not {sha256}")


def parameter_bytes(state: Mapping[str, Tensor]) -> int:
    """Return the size of a run's trained parameters, which is what stays on storage when it has ended.

    Args:
        state: The tensors of a run, whole or sharded.
    """
    return sum(
        tensor.numel() * tensor.element_size() for name, tensor in state.items() if name.startswith(PARAMETER)
    )


def copy_parameters(source: Path, target: Path, sha256: str | None = None) -> str:
    """Write a checkpoint's trained parameters alone to a file; return the checksum of that.

    Args:
        source: The checkpoint's file of what was trained.
        target: The file.
        sha256: Checksum of the source; None where it is not known, in studies of earlier versions.

    Raises:
        CheckpointError: The source is missing, damaged or can't be read.
    """
    parameters = _parameters(source, sha256)
    with written_atomically(target) as stream:
        return write_safetensors(stream, {PARAMETER + name: tensor for name, tensor in parameters.items()})


def _parameters(path: Path, sha256: str | None) -> dict[str, Tensor]:
    """Return a checkpoint's trained parameters by their keys: see `TrainableManifest.tensors`."""
    checkpoint = open_checkpoint(path, sha256)
    return {
        name.removeprefix(PARAMETER): checkpoint[name] for name in checkpoint if name.startswith(PARAMETER)
    }


def export_delta(
    checkpoint: Path,
    manifest: Mapping[str, Any],
    base_fingerprint: str,
    folder: Path,
    *,
    sha256: str | None = None,
) -> None:
    """Write a trial's trained parameters and what they belong to.

    `delta.safetensors` holds the trained elements' new values (not differences, which would round): a
    parameter's under its name in the model, a slice's under the key that the manifest describes. All other
    elements are the base's. Of adapters it holds these; PEFT's own files are written beside it, unless only
    some rows of a layer's adapter were trained, for which PEFT has no name.

    Args:
        checkpoint: The trial's last checkpoint.
        manifest: The trial's `TrainableManifest.to_dict()`.
        base_fingerprint: `model_fingerprint` of the base.
        folder: Where the files go; replaced if it exists.
        sha256: Checksum of the checkpoint; None where it is not known, in studies of earlier versions.

    Raises:
        CheckpointError: The checkpoint is missing, damaged or can't be read; the folder is as it was.
    """
    delta = _parameters(checkpoint, sha256)
    if folder.exists():
        shutil.rmtree(folder)
    with written_atomically(folder / DELTA_FILE) as stream:
        written = write_safetensors(stream, delta)
    description = {
        "base_fingerprint": base_fingerprint,
        "sha256": written,
        **manifest,
    }
    if manifest["adapters"] is not None and all(tensor["slice"] is None for tensor in manifest["tensors"]):
        write_peft_files(folder, Adapters.from_dict(manifest["adapters"]), delta)
    write_atomically(folder / MANIFEST_FILE, (json.dumps(description, indent=1) + "\n").encode())


def apply_delta(model: nn.Module, folder: Path, *, any_base: bool = False) -> None:
    """Copy selected weights onto their base model, in place; adapters are merged into its weights.

    Args:
        model: The base model.
        folder: A study's `selected/`.
        any_base: Whether the base may be another one than they were trained from. Otherwise the files that
            the model was loaded from are compared with what was; a model of no files is taken as it is.

    Raises:
        CheckpointError: A file is missing or damaged, the base is another one, or the tensors do not fit it.
    """
    description, manifest = read_manifest(folder)
    try:
        delta = load_file(folder / DELTA_FILE)
    except SafetensorError as error:
        raise CheckpointError(f"{folder / DELTA_FILE} is not a safetensors file: {error}") from None
    shapes = shapes_of(model, manifest)
    for key, tensor in delta.items():
        if shapes.get(key) != tensor.shape:
            raise CheckpointError(f"{folder / DELTA_FILE}: tensor {key!r} {tuple(tensor.shape)} does not fit")
    if missing := {tensor.key for tensor in manifest.tensors} - delta.keys():
        raise CheckpointError(f"{folder / DELTA_FILE}: tensor {min(missing)!r} is missing")
    if not any_base:
        check_base(folder, description, getattr(model, "name_or_path", ""))
    if manifest.adapters is not None:
        merge_adapters(model, manifest, delta)
        return
    for key, live in live_tensors(model, manifest.tensors).items():
        live.copy_(delta[key])


def read_manifest(folder: Path) -> tuple[dict[str, Any], TrainableManifest]:
    """Read what selected weights are, and check that they are whole.

    Args:
        folder: A study's `selected/`.

    Returns:
        The description with the base's fingerprint, and the manifest in it.

    Raises:
        CheckpointError: A file is missing or damaged.
    """
    try:
        description = read_object(folder / MANIFEST_FILE)
        checksum, manifest = description["sha256"], TrainableManifest.from_dict(description)
        with (folder / DELTA_FILE).open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} does not hold selected weights: {error}") from None
    if found != checksum:
        raise CheckpointError(f"{folder / DELTA_FILE} is damaged: its checksum differs from the manifest's")
    return description, manifest


def check_base(folder: Path, description: Mapping[str, Any], path: str) -> None:
    """Check that selected weights were trained from a model.

    Args:
        folder: A study's `selected/`, for messages.
        description: What its manifest says.
        path: Hub id or folder of the model; with an empty one nothing is checked.

    Raises:
        CheckpointError: They were not, or the model's files can't be read to tell.
    """
    known = description["base_fingerprint"]
    if not path or not known:
        return
    try:
        found = model_fingerprint(path)
    except ModelError as error:
        raise CheckpointError(f"{folder}: whether the base is theirs can't be told: {error}") from None
    if found != known:
        raise CheckpointError(
            f"{folder} was trained from another base than {path!r}: its fingerprint is {found[:12]}, "
            f"not {known[:12]}"
        )
