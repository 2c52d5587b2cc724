"""Whether a file of selected weights holds what its manifest says, as its header tells."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError

from search.config import ModelConfig
from search.settings.user_input import InputError
from trainables.manifest import TrainableManifest
from trainables.model import load_skeleton
from trainables.weights.merging import shapes_of
from trainables.weights.safetensors_stream import Checkpoint


def check_tensors(file: Path, manifest: TrainableManifest, model: ModelConfig) -> None:
    """Refuse weights that are none of the manifest's; their values are not read.

    Args:
        file: The weights.
        manifest: What they are said to be.
        model: Their base.

    Raises:
        InputError: It is no safetensors file, or its tensors do not fit the manifest or the base.
    """
    try:
        skeleton = load_skeleton(
            model.path,
            dtype=getattr(torch, model.dtype),
            roles=model.role_map,
            trust=model.trust_remote_code,
        )
        shapes = shapes_of(skeleton, manifest)
        stored = Checkpoint(file)
        found = {name: stored.shape(name) for name in stored}
    except SafetensorError as error:
        raise InputError(f"{file}: not a safetensors file: {error}") from None
    except OSError as error:
        raise InputError(f"{file}: can't be read: {error.strerror or error}") from None
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{file}: its manifest does not fit model {model.path!r}: {error}") from None
    if lost := {tensor.key for tensor in manifest.tensors} - shapes.keys():
        raise InputError(f"{file}: tensor {min(lost)!r} of its manifest does not fit model {model.path!r}")
    for name, shape in found.items():
        if name not in shapes:
            raise InputError(f"{file}: tensor {name!r} is none that its manifest tells of")
        if tuple(shapes[name]) != shape:
            raise InputError(
                f"{file}: tensor {name!r} does not fit: it is {list(shape)}, expected {list(shapes[name])}"
            )
    if missing := shapes.keys() - found.keys():
        raise InputError(f"{file}: tensor {min(missing)!r} is missing")
