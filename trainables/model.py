"""Loading base models, from a hub id, a local folder or the embedded one."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.utils.logging import is_progress_bar_enabled

from spaces.role_map import RoleMap
from trainables import tiny
from trainables.manifest import OWN_ROLES

EMBEDDED = {"tiny-llava": tiny.MODEL_DIR}

_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
# What `from_pretrained` may read: configuration, tokenizer and weights, and code of the model's own.
_MODEL_FILES = {".py", ".json", ".jinja", ".model", ".txt", ".safetensors", ".bin", ".pt", ".pth", ".gguf"}
_LAYER = re.compile(r"\.\d+\.")
# Any of them makes a tokenizer.
_TOKENIZER_FILES = ("tokenizer*", "vocab*", "*.model", "tekken*")


class ModelError(ValueError):
    """A model can't be loaded; the message is one line that says which and why."""


def model_source(path: str) -> str:
    """Return what `from_pretrained` takes for a study file's `model.path`."""
    return str(EMBEDDED.get(path, path))


def load_config(path: str, *, trust: bool = False) -> Any:
    """Load a model's configuration.

    Args:
        path: Hub id, folder or embedded name.
        trust: Whether code that the model brings may run; `model.trust_remote_code` of a study file.

    Raises:
        ModelError: There is no such model, its configuration is not readable, or it needs code of its own
            that may not run.
    """
    try:
        # Never None: transformers would ask on the terminal.
        return transformers.AutoConfig.from_pretrained(model_source(path), trust_remote_code=trust)
    # A configuration may say anything, and its class raises anything of it.
    except Exception as error:
        if _asks_for_trust(error):
            raise _untrusted(path) from None
        where = "" if Path(model_source(path)).is_dir() else "it is not a local folder, and on the hub: "
        raise ModelError(f"model {path!r} can't be loaded: {where}{_first_line(error)}") from None


def load_model(
    path: str,
    *,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    roles: RoleMap | None = None,
    trust: bool = False,
) -> nn.Module:
    """Load a base model in evaluation mode, every parameter frozen.

    Evaluation mode stays on in training too: dropout would make ranks and repetitions differ.

    Args:
        path: Hub id, folder or embedded name.
        dtype: Type of the weights.
        device: Where they go.
        roles: The user's role map, which manifests of the model then follow.
        trust: Whether code that the model brings may run.

    Raises:
        ModelError: There is no such model, or its weights are missing, damaged, of other shapes, or pickled.
    """
    model = _from_pretrained(path, trust=trust, dtype=dtype, low_cpu_mem_usage=True)
    setattr(model, OWN_ROLES, roles)
    return model.to(device).eval().requires_grad_(False)


def check_weights(path: str, *, trust: bool = False) -> None:
    """Check that a local model's weights are those that its configuration asks for, without reading them.

    A hub model's are checked once a worker has loaded them.

    Raises:
        ModelError: As for `load_model`.
    """
    if Path(model_source(path)).is_dir():
        _from_pretrained(path, trust=trust, device_map="meta")


def load_skeleton(
    path: str, *, dtype: torch.dtype, roles: RoleMap | None = None, trust: bool = False
) -> nn.Module:
    """Build a model from its configuration alone: names and shapes on the meta device; see `load_model`.

    Raises:
        ModelError: There is no such model, or its architecture generates no text.
    """
    config = load_config(path, trust=trust)
    try:
        with torch.device("meta"):
            model: nn.Module = _auto_class(config).from_config(config, dtype=dtype, trust_remote_code=trust)
    except Exception as error:
        if _asks_for_trust(error):
            raise _untrusted(path) from None
        raise ModelError(f"model {path!r} can't be built: {_first_line(error)}") from None
    setattr(model, OWN_ROLES, roles)
    return model


def load_processor(path: str, *, trust: bool = False) -> Any:
    """Load a model's processor; for a text model this is its tokenizer.

    Raises:
        ModelError: The model ships neither, or its processor needs a package that is not installed.
    """
    try:
        folder = Path(model_source(path))
        # Of a configuration alone transformers makes a tokenizer without any word.
        if folder.is_dir() and not any(file for name in _TOKENIZER_FILES for file in folder.glob(name)):
            raise ValueError("there is no tokenizer")
        config = load_config(path, trust=trust)
        kind = PROCESSOR_MAPPING.get(type(config), transformers.AutoProcessor)
        if kind is not transformers.AutoProcessor:
            kind = images_only(kind)
        return kind.from_pretrained(model_source(path), trust_remote_code=trust)
    except ModelError:
        raise
    # What a damaged tokenizer's file raises is no more than an Exception.
    except Exception as error:
        if _asks_for_trust(error) or (not trust and _brings_code(path)):
            raise _untrusted(path) from None
        raise ModelError(f"processor of model {path!r} can't be loaded: {_first_line(error)}") from None


def images_only(processor: Any) -> Any:
    """Return a processor's class without the part that reads videos, if it has one.

    That part wants torchvision, whose builds must match PyTorch's, and no sample has a video.
    """
    parts = [part for part in processor.get_attributes() if part != "video_processor"]
    if len(parts) == len(processor.get_attributes()):
        return processor
    # Under its own name, since that is what a saved processor is found by.
    return type(processor.__name__, (processor,), {"get_attributes": classmethod(lambda _: parts)})


def context_length(config: Any) -> int | None:
    """Return how many tokens a model takes at most; None if its configuration sets no bound."""
    found: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    return found


def model_fingerprint(path: str) -> str:
    """Return a content hash of a model: of its files for a folder, of id and commit for a hub model."""
    folder = Path(model_source(path))
    digest = hashlib.sha256()
    if not folder.is_dir():
        commit = _described(path).get("_commit_hash")
        return hashlib.sha256(f"{path}@{commit}".encode()).hexdigest()
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix in _MODEL_FILES:
            digest.update(os.fsencode(file.relative_to(folder)) + b"\0")
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _described(path: str) -> dict[str, Any]:
    """Return what a model's configuration says, without making anything of it."""
    try:
        described: dict[str, Any] = transformers.PretrainedConfig.get_config_dict(model_source(path))[0]
    except (OSError, ValueError) as error:
        raise ModelError(f"model {path!r} can't be loaded: {_first_line(error)}") from None
    return described


def _asks_for_trust(error: Exception) -> bool:
    return "trust_remote_code" in str(error)


def _brings_code(path: str) -> bool:
    """Tell whether a local model's processor names code, which transformers may pass over in silence."""
    files = Path(model_source(path)).glob("*_config.json")
    return any(b'"auto_map"' in file.read_bytes() for file in files if file.is_file())


def _untrusted(path: str) -> ModelError:
    return ModelError(
        f"model {path!r} brings code of its own, which is run only with model.trust_remote_code: true; "
        "read it first, since it can do whatever you can"
    )


def _from_pretrained(path: str, *, trust: bool, **options: Any) -> nn.Module:
    config = load_config(path, trust=trust)
    try:
        with _quiet():
            # What does not fit is named below; transformers would draw missing weights by chance.
            model, found = _auto_class(config).from_pretrained(
                model_source(path),
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                # Other files are pickled: loading them runs what they say.
                use_safetensors=True,
                trust_remote_code=trust,
                **options,
            )
    except Exception as error:
        if _asks_for_trust(error):
            raise _untrusted(path) from None
        folder = Path(model_source(path))
        if pickled := sorted(file.name for end in _PICKLED for file in folder.glob(f"*{end}")):
            raise ModelError(
                f"model {path!r} can't be loaded: its weights are pickled ({pickled[0]}), and loading "
                "these could run anything: convert them to safetensors, or name a revision that has them"
            ) from None
        raise ModelError(f"model {path!r} can't be loaded: {_first_line(error)}") from None
    missing = sorted(found["missing_keys"])
    there = {_LAYER.sub(".", name) for name, _ in model.named_parameters()}
    # What nothing asks for, such as another task's head, does no harm; layers beyond the last one do.
    beyond = sorted(name for name in found["unexpected_keys"] if _LAYER.sub(".", name) in there)
    wrong = [
        f"{name} is {list(stored)} in the file and {list(wanted)} by the configuration"
        for name, stored, wanted in sorted(found["mismatched_keys"])
    ]
    if problems := [
        *wrong,
        *(f"{name} is missing" for name in missing),
        *(f"{name} is beyond the configuration's layers" for name in beyond),
    ]:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ModelError(
            f"model {path!r} can't be loaded: its weights do not fit: {'; '.join(problems[:3])}{more}"
        )
    loaded: nn.Module = model
    return loaded


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from telling on the terminal what a `ModelError` says."""
    verbosity, bars = transformers.utils.logging.get_verbosity(), is_progress_bar_enabled()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
        if bars:
            transformers.utils.logging.enable_progress_bar()


def _auto_class(config: Any) -> Any:
    multimodal = transformers.AutoModelForImageTextToText
    if multimodal.__name__ in (getattr(config, "auto_map", None) or {}):
        return multimodal
    return multimodal if type(config) in multimodal._model_mapping else transformers.AutoModelForCausalLM


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
