"""Points: the weights that a transform makes of the base and of trained ones, without training.

Values are computed on whole tensors, one after another, in fp32, and rounded once to the model's type: so a
sharded model gets what a whole one does, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from spaces.points import Identity, Interpolation, Pruning, Soup, Transform
from trainables.checkpoint import PARAMETER, CheckpointError, open_checkpoint
from trainables.manifest import TrainableManifest, TrainedParameter, TrainedTensor
from trainables.training.parallel import full_tensor
from trainables.weights.merging import MergedWeights, merged_manifest, shapes_of
from trainables.weights.safetensors_stream import nothing
from trainables.weights.slices import live_tensors, sliced


@dataclass(frozen=True, kw_only=True)
class TrainedWeights:
    """What a trial trained, on storage.

    Attributes:
        path: A safetensors file with `<prefix><key>` for each of the manifest's tensors.
        manifest: What the trial trained.
        prefix: A checkpoint's, or nothing for what was handed over.
        sha256: Checksum of the file; None where it is not known, in studies of earlier versions.
    """

    path: str
    manifest: TrainableManifest
    prefix: str = PARAMETER
    sha256: str | None = None


def interpolated(base: Tensor, tuned: Tensor, alpha: float) -> Tensor:
    """Return (1 - alpha) x base + alpha x tuned; the ends are returned as they are."""
    if alpha in (0, 1):
        return tuned if alpha else base
    return base.float().lerp(tuned.float(), alpha).to(base.dtype)


def pruned(base: Tensor, tuned: Tensor, keep: float) -> Tensor:
    """Return the base with the tuned values of `round(keep x n)` of its n elements.

    The elements with the highest |dW| - mean|W| x |dW| / |W| are kept (FAPM, arXiv 2509.08255, where the mean
    is the matrix's), of equal ones the first in memory. One that did not change scores 0. One whose base is 0
    ranks last, its relative change being infinite; if the tensor's whole base is 0, there is nothing to
    compare with and the larger change wins.
    """
    count = round(keep * base.numel())
    if count == base.numel():
        return tuned
    if count == 0:
        return base
    score = _worth(base.float().flatten(), tuned.float().flatten())
    threshold = score.kthvalue(base.numel() - count + 1).values
    kept = score > threshold
    level = score == threshold
    kept |= level & (level.cumsum(0) <= count - kept.sum())
    return torch.where(kept.view(base.shape), tuned, base)


def _worth(base: Tensor, tuned: Tensor) -> Tensor:
    change, size = (tuned - base).abs(), base.abs()
    mean = size.mean(dtype=torch.float64).float()
    if mean == 0:
        return change
    return torch.where(change > 0, change - mean * change / size, 0.0)


def averaged(tensors: Sequence[Tensor]) -> Tensor:
    """Return the mean of tensors of one shape.

    It is a running mean: its sum can't overflow, and equal tensors give exactly themselves.
    """
    mean = tensors[0].float()
    for count, tensor in enumerate(tensors[1:], start=2):
        mean = mean + (tensor.float() - mean) / count
    return mean.to(tensors[0].dtype)


def transformed(transform: Transform, base: Tensor, tuned: Sequence[Tensor]) -> Tensor:
    """Return what a transform makes of a tensor.

    Args:
        transform: The transform.
        base: The base's values.
        tuned: Each member's values: one, or as many as a soup has members.
    """
    match transform:
        case Identity():
            return tuned[0]
        case Interpolation(alpha):
            return interpolated(base, tuned[0], alpha)
        case Pruning(keep):
            return pruned(base, tuned[0], keep)
        case Soup():
            return averaged(tuned)


def point_manifest(manifests: Sequence[TrainableManifest]) -> TrainableManifest:
    """Return what a point may change: all that any of its members trained.

    Where two members' slices of one parameter differ and may overlap, the whole parameter counts.
    """
    first = manifests[0]
    if all(manifest == first for manifest in manifests):
        return first
    by_name: dict[str, dict[TrainedParameter, None]] = {}
    for manifest in manifests:
        for parameter in manifest.parameters:
            by_name.setdefault(parameter.name, {})[parameter] = None
    return TrainableManifest(
        model_type=first.model_type,
        family=first.family,
        subset=", ".join(dict.fromkeys(manifest.subset for manifest in manifests)),
        layers=", ".join(dict.fromkeys(manifest.layers for manifest in manifests)),
        parameters=tuple(each for same in by_name.values() for each in _without_overlap(list(same))),
        total=first.total,
    )


def _without_overlap(same_name: list[TrainedParameter]) -> list[TrainedParameter]:
    """Return a parameter's trained parts: roles share no element, but slices of one role may."""
    if len({each.role for each in same_name}) == len(same_name):
        return same_name
    whole = same_name[0]
    count = torch.Size(whole.shape).numel()
    return [replace(whole, slice=None, count=count, bytes=whole.bytes // whole.count * count)]


def open_weights(
    model: nn.Module, weights: TrainedWeights, beat: Callable[[], None] = nothing
) -> tuple[TrainableManifest, Mapping[str, Tensor]]:
    """Open a trial's weights; nothing of the model is changed.

    Args:
        model: The base.
        weights: What was trained.
        beat: Called while the file is read.

    Returns:
        What they are of the model's own parameters, and their tensors, each read when it is asked for. For a
        trial that trained adapters these are the weights that they make.

    Raises:
        CheckpointError: The file is missing, damaged or can't be read, or its tensors do not fit the model.
    """
    path, manifest = Path(weights.path), weights.manifest
    checkpoint = open_checkpoint(path, weights.sha256, weights.prefix, beat)
    shapes = shapes_of(model, manifest)
    for tensor in manifest.tensors:
        if tensor.key not in checkpoint:
            raise CheckpointError(f"checkpoint {path} lacks {tensor.key!r}, which its trial trained")
        if tensor.key not in shapes:
            raise CheckpointError(f"checkpoint {path} does not fit: the model has no {tensor.name!r}")
        if (wanted := tuple(shapes[tensor.key])) != (found := checkpoint.shape(tensor.key)):
            raise CheckpointError(
                f"checkpoint {path} does not fit: {tensor.key!r} is {list(found)}, the model's {list(wanted)}"
            )
    if manifest.adapters is None:
        return manifest, checkpoint
    return merged_manifest(model, manifest), MergedWeights(model, manifest, checkpoint)


@torch.no_grad()
def apply_point(
    model: nn.Module,
    transform: Transform,
    members: Sequence[tuple[TrainableManifest, Mapping[str, Tensor]]],
    beat: Callable[[], None] = nothing,
) -> None:
    """Turn the base into a point, in place; every process of a sharded model must do it.

    Args:
        model: The base.
        transform: What to do.
        members: What `open_weights` returned for each of the trials that the point is made of.
        beat: Called after each tensor.
    """
    union = point_manifest([manifest for manifest, _ in members]).tensors
    live = live_tensors(model, union)
    own = [_by_name(manifest.tensors) for manifest, _ in members]
    for tensor in union:
        target = live[tensor.key]
        whole = full_tensor(target.parameter.detach())
        base = sliced(whole, tensor.slice)
        tuned = [
            _values(tensor, whole, tensors.get(tensor.name, ()), checkpoint)
            for tensors, (_, checkpoint) in zip(own, members, strict=True)
        ]
        target.copy_(transformed(transform, base, tuned))
        beat()


def _by_name(tensors: Sequence[TrainedTensor]) -> dict[str, list[TrainedTensor]]:
    found: dict[str, list[TrainedTensor]] = {}
    for tensor in tensors:
        found.setdefault(tensor.name, []).append(tensor)
    return found


def _values(
    wanted: TrainedTensor, whole: Tensor, trained: Sequence[TrainedTensor], checkpoint: Mapping[str, Tensor]
) -> Tensor:
    """Return a member's values of a tensor, the base's where it did not train them.

    Args:
        wanted: The tensor.
        whole: The base's parameter that it belongs to.
        trained: What the member trained of that parameter.
        checkpoint: The member's.
    """
    if not trained:
        return sliced(whole, wanted.slice)
    if list(trained) == [wanted]:
        return checkpoint[wanted.key].to(whole.device)
    mine = whole.clone()
    for part in trained:
        sliced(mine, part.slice).copy_(checkpoint[part.key])
    return sliced(mine, wanted.slice)
