"""The hand-over of a selected model to tools that load one by its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from tiny_models import adapters, recipe, samples, save_llava
from torch import Tensor, nn

from examples.merge_selected import merge_selected
from trainables.checkpoint import PARAMETER, apply_delta, export_delta, save_checkpoint
from trainables.collate import Encoder
from trainables.model import load_model, model_fingerprint
from trainables.restore import borrowed
from trainables.slices import live_tensors
from trainables.trained import trained_manifest


def study(folder: Path, base: Path, **method: Any) -> Path:
    """Write what a study leaves of a selected recipe whose trained weights were moved by chance."""
    model = load_model(str(base), dtype=torch.float32)
    manifest = trained_manifest(model, recipe("mlp", **method))
    with borrowed(model, manifest, seed=0):
        live = live_tensors(model, manifest.tensors)
        state = {
            PARAMETER + key: each.value + 0.1 * torch.randn_like(each.value) for key, each in live.items()
        }
        save_checkpoint(folder / "trial.safetensors", state, 1)
    export_delta(folder / "trial.safetensors", manifest.to_dict(), "", folder / "selected")
    document = {
        "recipe": {},
        "model": {"path": str(base), "dtype": "float32", "fingerprint": model_fingerprint(str(base))},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return folder


def logits(model: nn.Module, inputs: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(**inputs).logits
    return found


@pytest.mark.parametrize("method", [{}, adapters()], ids=["selective", "lora"])
def test_transformers_loads_the_merged_folder_alone(tmp_path: Path, method: dict[str, Any]) -> None:
    base = save_llava(tmp_path / "base")
    (base / "chat_template.jinja").write_text("{{ bos_token }}another template", encoding="utf-8")
    done = study(tmp_path, base, **method)
    merge_selected(done, tmp_path / "merged")

    expected = load_model(str(base), dtype=torch.float32)
    sample = Encoder.load("tiny-llava").encode(samples("asked", 1)[0])
    inputs = {name: tensor[None] for name, tensor in sample.tokens.items()} | sample.extras
    untouched = logits(expected, inputs)
    apply_delta(expected, done / "selected")
    base.rename(tmp_path / "gone")
    merged = transformers.AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")
    assert torch.equal(logits(merged, inputs), logits(expected, inputs))
    assert not torch.allclose(logits(merged, inputs), untouched, atol=1e-3)
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "merged")
    assert processor.chat_template == "{{ bos_token }}another template"


def test_what_can_not_be_merged_is_told(tmp_path: Path) -> None:
    done = study(tmp_path, save_llava(tmp_path / "base"))
    with pytest.raises(ValueError, match="selected is there already"):
        merge_selected(done, done / "selected")
    (tmp_path / "base" / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="is no longer the model"):
        merge_selected(done, tmp_path / "merged")
    (tmp_path / "recipe.yaml").write_text("recipe: null\n", encoding="utf-8")
    with pytest.raises(ValueError, match="keeps the base: there is nothing to merge"):
        merge_selected(done, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
