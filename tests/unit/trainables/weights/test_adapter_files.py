"""What is handed over of adapters: our files, and PEFT's own."""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file
from tiny_families import FAMILIES
from tiny_models import adapters, encoder, llava, recipe, samples, save_llava, setup, train_job

from trainables.checkpoint import CheckpointError, apply_delta, export_delta, save_checkpoint
from trainables.collate import collate
from trainables.loop import fine_tune
from trainables.weights.restore import borrowed
from trainables.weights.trained import trained_manifest
from trainables.workers.workbench import Workbench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    return Workbench(setup(save_llava(tmp_path_factory.mktemp("base") / "llava")))


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
def test_peft_loads_the_selected_adapters(bench: Workbench, variant: str, tmp_path: Path) -> None:
    reports = list(bench.run(train_job(tmp_path / "trial", "sa_gate_up", **adapters(variant))))
    (first, last), folder = reports, tmp_path / "selected"
    assert first.manifest is not None
    assert last.checkpoint is not None
    export_delta(Path(last.checkpoint.path), first.manifest, "base", folder)
    assert all(".lora_" in name for name in load_file(folder / "delta.safetensors"))
    batch = collate([encoder().encode(sample) for sample in samples("any", 3)], 0)
    merged = llava()
    apply_delta(merged, folder)
    theirs = peft.PeftModel.from_pretrained(llava(), folder).eval()
    with torch.no_grad():
        ours, found, untouched = (model(**batch.inputs).logits for model in (merged, theirs, llava()))
    torch.testing.assert_close(found, ours, rtol=1e-4, atol=1e-5)
    assert (ours - untouched).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["gpt2", "phi3", "mixtral"])
def test_peft_loads_the_adapters_of_other_layers(name: str, tmp_path: Path) -> None:
    """Transposed and fused layers, whole, and a model whose experts stay as they are."""
    family = FAMILIES[name]
    model, how = family.build(), recipe("sa_proj", steps=2, batch_size=2, **adapters())
    manifest = trained_manifest(model, how)
    data = [family.sample(seed) for seed in range(2)]
    with borrowed(model, manifest, seed=0):
        (last,) = fine_tune(model, manifest, how, data, seed=0, rungs=(2,), pad_token_id=0)
        save_checkpoint(tmp_path / "step.safetensors", last.state, 2)
        with torch.no_grad():
            tuned = model(data[0].tokens["input_ids"][None]).logits
    export_delta(tmp_path / "step.safetensors", manifest.to_dict(), "base", tmp_path / "selected")
    merged = family.build()
    apply_delta(merged, tmp_path / "selected")
    theirs = peft.PeftModel.from_pretrained(family.build(), tmp_path / "selected").eval()
    for found in (merged, theirs):
        with torch.no_grad():
            torch.testing.assert_close(found(data[0].tokens["input_ids"][None]).logits, tuned)


def test_a_cut_adapter_has_no_files_of_peft_s(tmp_path: Path) -> None:
    """PEFT would train what the cut leaves alone; the merged weights are the same in any case."""
    family = FAMILIES["phi3"]
    model, base = family.build(), family.build()
    how = recipe("attn.q", steps=2, batch_size=2, **adapters())
    manifest = trained_manifest(model, how)
    data = [family.sample(seed) for seed in range(2)]
    with borrowed(model, manifest, seed=0):
        (last,) = fine_tune(model, manifest, how, data, seed=0, rungs=(2,), pad_token_id=0)
        save_checkpoint(tmp_path / "step.safetensors", last.state, 2)
        with torch.no_grad():
            tuned = model(data[0].tokens["input_ids"][None]).logits
    folder = tmp_path / "selected"
    export_delta(tmp_path / "step.safetensors", manifest.to_dict(), "base", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["delta.safetensors", "manifest.json"]
    apply_delta(base, folder)
    with torch.no_grad():
        torch.testing.assert_close(base(data[0].tokens["input_ids"][None]).logits, tuned)
    with pytest.raises(CheckpointError, match="does not fit"):
        apply_delta(llava(), folder)
