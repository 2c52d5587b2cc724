"""Write a study's selected model as a folder of its own, for tools that load a model by its path.

    python -m examples.merge_selected runs/my-study merged/

The folder holds the base with the selected weights put onto it (adapters are merged), and beside the weights
all that the base came with: tokenizer, processor, chat template. `transformers` loads it alone.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

import torch
import yaml
from huggingface_hub import snapshot_download

from trainables.checkpoint import apply_delta
from trainables.model import load_model, model_fingerprint, model_source

WEIGHTS: Final = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf", "*.index.json")


def merge_selected(study: Path, to: Path) -> None:
    """Write the model that a study selected.

    Args:
        study: The study's folder, such as `runs/my-study`.
        to: A folder that is not there yet.

    Raises:
        ValueError: The study keeps its base, its base has changed, or the folder is there.
    """
    document = yaml.safe_load((study / "recipe.yaml").read_text(encoding="utf-8"))
    if document["recipe"] is None:
        raise ValueError(f"{study} keeps the base: there is nothing to merge")
    if to.exists():
        raise ValueError(f"{to} is there already")
    base = document["model"]
    if model_fingerprint(base["path"]) != base["fingerprint"]:
        raise ValueError(f"{base['path']} is no longer the model that {study} started from")
    model = load_model(base["path"], dtype=getattr(torch, base["dtype"]))
    apply_delta(model, study / "selected")
    shutil.copytree(_files_of(base["path"]), to, ignore=shutil.ignore_patterns(*WEIGHTS))
    model.save_pretrained(to)  # type: ignore[operator]


def _files_of(path: str) -> Path:
    """Return the folder of a model's files; the weights may be missing."""
    source = model_source(path)
    if Path(source).is_dir():
        return Path(source)
    return Path(snapshot_download(source, ignore_patterns=list(WEIGHTS)))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m examples.merge_selected STUDY_FOLDER NEW_FOLDER")
    try:
        merge_selected(Path(sys.argv[1]), Path(sys.argv[2]))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
