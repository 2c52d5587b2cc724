"""Training an architecture without a role map by a user's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from own_families import BLOOM_ROLES, save_bloom
from tiny_models import IDS, recipe, samples, setup, task, train_job

from spaces.own_roles import own_role_map
from trainables.collate import Encoder
from trainables.loop import fine_tune
from trainables.manifest import build_manifest
from trainables.model import load_model, load_skeleton
from trainables.tiny.build import build_tokenizer
from trainables.weights.restore import borrowed
from trainables.workers.workbench import Workbench

ROLES = own_role_map(BLOOM_ROLES)


@pytest.fixture(scope="module")
def bloom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bloom(tmp_path_factory.mktemp("bloom"))


def test_a_skeleton_and_the_model_have_one_manifest(bloom: Path) -> None:
    skeleton = load_skeleton(str(bloom), dtype=torch.float32, roles=ROLES)
    model = load_model(str(bloom), dtype=torch.float32, roles=ROLES)
    for subset in ("full", "qkv", "vo", "down"):
        assert build_manifest(skeleton, subset) == build_manifest(model, subset)
    assert build_manifest(model, "full").count == sum(p.numel() for p in model.parameters())


def test_without_one_the_error_is_a_form_to_fill_in(bloom: Path) -> None:
    skeleton = load_skeleton(str(bloom), dtype=torch.float32)
    line = r"- transformer\.h\.\{layer\}\.self_attention\.query_key_value\.\{weight\|bias\} +"
    line += r"# 2 x \[48, 16\] \+ 2 x \[48\]"
    with pytest.raises(ValueError, match=r"(?s)no role map covers model type 'bloom'.*" + line):
        build_manifest(skeleton, "full")


def test_a_step_changes_the_values_of_each_head_alone(bloom: Path) -> None:
    """Of 48 rows each of 4 heads has 12, the last 4 of which are its value."""
    model = load_model(str(bloom), dtype=torch.float32, roles=ROLES)
    manifest = build_manifest(model, "attn.v")
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    encoder = Encoder(build_tokenizer())
    data = [encoder.encode(sample) for sample in samples("text", 4, images=False)]
    with borrowed(model, manifest, seed=0):
        how = recipe("attn.v", steps=1)
        list(fine_tune(model, manifest, how, data, seed=0, rungs=(1,), pad_token_id=IDS["<pad>"]))
        changed = {
            name: (p != before[name]) for name, p in model.named_parameters() if (p != before[name]).any()
        }
    assert set(changed) == {
        f"transformer.h.{layer}.self_attention.query_key_value.{kind}"
        for layer in (0, 1)
        for kind in ("weight", "bias")
    }
    for rows in changed.values():
        apart = rows.reshape(4, 3, 4, -1)
        assert apart[:, 2].all()
        assert not apart[:, :2].any()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])


def test_a_worker_trains_by_it(bloom: Path, tmp_path: Path) -> None:
    tasks = (task("easy", "target", answers=("yes",), images=False), task("kept", "held_out", images=False))
    bench = Workbench(replace(setup(bloom, tasks), roles=ROLES))
    first, *_ = bench.run(train_job(tmp_path / "trial", "vo"))
    assert first.manifest is not None
    assert first.manifest["family"] == "model.roles"
    layer = 16 * 16 + 16
    assert first.manifest["by_role"] == {"attn.v": 2 * layer, "attn.o": 2 * layer}
