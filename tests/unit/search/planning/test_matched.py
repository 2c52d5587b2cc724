from __future__ import annotations

import pytest
from tiny_families import FAMILIES
from tiny_models import llava

from search.planning.matched import Matched, as_ranges, matched
from spaces.parts import Slice
from spaces.recipe import Recipe
from trainables.manifest import TrainableManifest, TrainedParameter, build_manifest
from trainables.weights.trained import trained_manifest


def test_roles_of_the_tiny_llava_by_hand() -> None:
    """Two layers, hidden size 16, feed-forward 24; the projector is two linear layers with biases."""
    gate, up, projector = matched(build_manifest(llava(), "gate_up")) + matched(
        build_manifest(llava(), "projector")
    )
    assert gate == Matched(
        role="mlp.gate", layers="0-1", tensors=2, elements=2 * 24 * 16, shapes="2 x [24, 16]"
    )
    assert up == Matched(role="mlp.up", layers="0-1", tensors=2, elements=2 * 24 * 16, shapes="2 x [24, 16]")
    assert projector.layers == ""
    assert projector.shapes == "2 x [16, 16] + 2 x [16]"


def test_a_slice_says_how_much_of_which_dimension() -> None:
    """The queries of a fused qkv matrix of 32 rows: 16 of them, 8 elements each."""
    part = Slice(0, 1, 0, 16)
    parameter = TrainedParameter("qkv.weight", "attn.q", 3, (32, 8), 128, 512, part)
    manifest = TrainableManifest(
        model_type="m", family="f", subset="attn.q", parameters=(parameter,), total=1000
    )
    assert matched(manifest) == [
        Matched(role="attn.q", layers="3", tensors=1, elements=128, shapes="[16 of 32, 8]")
    ]


@pytest.mark.parametrize("method", ["selective", "lora"])
@pytest.mark.parametrize(("name", "subset"), [("llava", "full"), ("phi3", "sa_proj"), ("phi3", "mlp")])
def test_all_elements_are_accounted_for(name: str, subset: str, method: str) -> None:
    """An adapter's A serves all parts of phi3's fused projections, so it has their roles, joined."""
    model = llava() if name == "llava" else FAMILIES["phi3"].build()
    lora = {"lora_rank": 2, "lora_alpha": 4.0, "lora_dropout": 0.0, "lora_variant": "lora"}
    recipe = Recipe(
        subset=subset,
        method=method,  # type: ignore[arg-type]
        learning_rate=1.0,
        steps=1,
        batch_size=1,
        **(lora if method == "lora" else {}),  # type: ignore[arg-type]
    )
    manifest = trained_manifest(model, recipe)
    rows = matched(manifest)
    assert sum(row.elements for row in rows) == manifest.count
    assert sum(row.tensors for row in rows) == len(manifest.parameters)


@pytest.mark.parametrize(
    ("indices", "text"), [([], ""), ([4], "4"), ([2, 0, 1, 1], "0-2"), ([0, 1, 5, 7, 8], "0-1,5,7-8")]
)
def test_ranges(indices: list[int], text: str) -> None:
    assert as_ranges(indices) == text
