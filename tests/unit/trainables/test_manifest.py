from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from tiny_models import llama, llava
from torch import nn
from transformers import BertConfig, BertModel

from spaces.roles import ROLES
from spaces.subsets import SUBSETS
from trainables.manifest import build_manifest

# The tiny LLaVA by hand: hidden size 16, feed-forward 24, two layers, both towers alike.
ATTENTION = 16 * 16
MLP = 16 * 24


def test_names_counts_and_bytes_by_hand() -> None:
    manifest = build_manifest(llava(), "gate_up")
    prefix = "model.language_model.layers"
    assert manifest.names == tuple(
        f"{prefix}.{layer}.mlp.{which}_proj.weight" for layer in (0, 1) for which in ("gate", "up")
    )
    assert manifest.count == 4 * MLP
    assert manifest.bytes == 4 * 4 * MLP
    assert [p.layer for p in manifest.parameters] == [0, 0, 1, 1]
    assert [p.shape for p in manifest.parameters] == [(24, 16)] * 4
    assert manifest.count_by_role() == {"mlp.gate": 2 * MLP, "mlp.up": 2 * MLP}


def test_half_precision_takes_half_the_bytes() -> None:
    assert build_manifest(llava().to(torch.bfloat16), "down").bytes == 2 * 2 * MLP


@pytest.mark.parametrize(
    ("subset", "count"),
    [
        ("sa_proj", 2 * 4 * ATTENTION),
        ("qkv", 2 * 3 * ATTENTION),
        ("vo", 2 * 2 * ATTENTION),
        ("mlp", 2 * 3 * MLP),
        ("down", 2 * MLP),
        ("sa_gate_up", 2 * (4 * ATTENTION + 2 * MLP)),
        ("projector", 2 * (ATTENTION + 16)),  # two linear layers with bias
        (
            # Per layer: four attention and two feed-forward matrices with bias, two norms of two vectors.
            "vision",
            2 * (4 * (ATTENTION + 16) + (MLP + 24) + (MLP + 16) + 2 * 2 * 16)
            # Class token, patches of 8 x 8 pixels in 3 channels, 16 + 1 positions, norms before and after.
            + 16 + 16 * 3 * 8 * 8 + 17 * 16 + 2 * 2 * 16,
        ),
    ],
)  # fmt: skip
def test_counts_by_hand(subset: str, count: int) -> None:
    assert build_manifest(llava(), subset).count == count


def test_full_is_every_parameter_once() -> None:
    model = llava()
    manifest = build_manifest(model, "full")
    assert manifest.names == tuple(dict(model.named_parameters()))
    assert manifest.count == manifest.total == sum(p.numel() for p in model.parameters())
    assert manifest.share == 1
    assert sum(manifest.count_by_role().values()) == manifest.count
    # Rotary positions are not learned, and a dense model has no router.
    assert set(manifest.count_by_role()) == set(ROLES) - {"position", "mlp.router"}


def test_llm_vision_and_projector_partition_full() -> None:
    model = llava()
    parts = [set(build_manifest(model, subset).names) for subset in ("llm", "vision", "projector")]
    assert sum(map(len, parts)) == len(build_manifest(model, "full").names) == len(set.union(*parts))


def test_the_meta_device_gives_the_same_manifest() -> None:
    model = llava()
    with torch.device("meta"):
        skeleton = type(model)(model.config)
    for subset in SUBSETS:
        assert build_manifest(skeleton, subset) == build_manifest(model, subset)


def test_a_subset_without_a_parameter_is_an_error_that_names_the_roles() -> None:
    with pytest.raises(ValueError, match=r"subset 'vision' matches no parameter of this model.*attn\.q"):
        build_manifest(llama(), "vision")


def test_an_unknown_architecture_is_an_error() -> None:
    config = BertConfig(
        vocab_size=8, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4
    )
    with torch.device("meta"):
        model = BertModel(config)
    with pytest.raises(
        ValueError, match="no role map covers model type 'bert', and 23 of its parameters have no role"
    ):
        build_manifest(model, "full")


def test_a_parameter_without_a_role_is_an_error_that_names_it() -> None:
    model = llama()
    model.model.extra = nn.Parameter(torch.zeros(1))
    with pytest.raises(ValueError, match=r"(?s)no role to 1 parameter\(s\).*- model\.extra  # 1 x \[1\]"):
        build_manifest(model, "down")


def test_an_unknown_subset_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'gate_up'"):
        build_manifest(llama(), "gate_upp")


def test_a_tied_head_counts_once_with_the_embedding() -> None:
    model = llama()
    untied = build_manifest(model, "full").count
    model.lm_head.weight = model.model.embed_tokens.weight
    manifest = build_manifest(model, "full")
    assert manifest.count == untied - model.model.embed_tokens.weight.numel()
    assert "model.embed_tokens.weight" in manifest.names
    assert "lm_head.weight" not in manifest.names


def test_goes_through_json() -> None:
    manifest = build_manifest(llava(), "projector")
    fields = json.loads(json.dumps(manifest.to_dict()))
    assert (fields["subset"], fields["family"], fields["trained"]) == ("projector", "llava", manifest.count)
    assert fields["bytes"] == manifest.bytes
    assert [p["name"] for p in fields["parameters"]] == list(manifest.names)
    assert fields["parameters"][0]["shape"] == list(dataclasses.asdict(manifest.parameters[0])["shape"])
