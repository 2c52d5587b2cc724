"""Export to transformers: the merged model as a folder of its own, for any tool that loads one by its path.

It holds the base with the selected weights put onto it (adapters are merged), and beside the weights all that
the base came with: tokenizer, processor, chat template, generation settings.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from search.exports.source import Source
from search.exports.written import Export
from search.settings.user_input import InputError
from trainables.checkpoint import CheckpointError, apply_delta
from trainables.files import copy_atomically
from trainables.model import ModelError, load_model, model_source

_WEIGHTS: Final = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf", "*.index.json", "README.md", ".*")
CARD: Final = "README.md"


def export(source: Source, folder: Path) -> Export:
    """Write the selected model, to be loaded with transformers alone.

    Raises:
        InputError: The selected weights are not there, or the base is another one by now.
    """
    merged(source).save_pretrained(folder)
    try:
        shutil.copytree(
            _files_of(source.model.path), folder, ignore=shutil.ignore_patterns(*_WEIGHTS), dirs_exist_ok=True
        )
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise InputError(f"the files of {source.model.path} can't be had: {error}") from None
    assert source.selected is not None
    if (source.selected / CARD).is_file():
        copy_atomically(source.selected / CARD, folder / CARD)
    return Export(
        files=tuple(sorted(path for path in folder.rglob("*") if path.is_file())),
        limits=(),
        use=f"transformers.{type(source.skeleton).__name__}.from_pretrained({str(folder)!r})",
    )


def merged(source: Source) -> Any:
    """Return the base with the selected weights put onto it.

    Raises:
        InputError: The selected weights are not there, or the base is another one by now.
    """
    if source.selected is None:
        raise InputError(
            f"{source.file}: there are no selected weights of this model beside it: give the folder of the "
            "study that has them"
        )
    try:
        model = load_model(source.model.path, dtype=getattr(torch, source.model.dtype))
        apply_delta(model, source.selected)
    except (ModelError, CheckpointError) as error:
        raise InputError(str(error)) from None
    return model


def _files_of(path: str) -> Path:
    """Return the folder of a model's files; the weights may be missing."""
    source = model_source(path)
    if Path(source).is_dir():
        return Path(source)
    return Path(snapshot_download(source, ignore_patterns=list(_WEIGHTS)))
