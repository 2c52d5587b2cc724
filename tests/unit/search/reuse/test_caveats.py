"""In what a recipe is applied otherwise than it was found."""

from __future__ import annotations

import dataclasses

from search.handover.recipe_document import Architecture, BaseModelFacts, RecipeDocument, TrainedFacts
from search.reuse.caveats import Circumstances, caveat_sentence, caveats
from spaces.recipe import Recipe

RECIPE = Recipe(subset="sa_proj", learning_rate=3.2e-4, steps=40, batch_size=8)
FOUND = RecipeDocument(
    recipe=RECIPE,
    model=BaseModelFacts(path="small", dtype="float32", fingerprint="f1"),
    architecture=Architecture(name="LlamaForCausalLM", model_type="llama", family="llama", parameters=5000),
    trained=TrainedFacts(roles={"attn.q": 1000}, parameters=1000),
    evidence={"targets": {"count": {}, "clock": {}}},
    data={"count/train": "d1", "clock/train": "d2", "count/search": "d3", "more/train": "d4"},
)
SAME = Circumstances(
    architecture="LlamaForCausalLM",
    model_type="llama",
    parameters=5000,
    trained=1000,
    dtype="float32",
    fingerprint="f1",
    train={"count/train": "d1", "clock/train": "d2"},
)


def test_the_same_circumstances_need_no_word() -> None:
    assert caveats(FOUND, [RECIPE], SAME) == ()
    assert caveat_sentence(RECIPE, ()) == ""


def test_each_difference_is_named_with_both_values() -> None:
    other = dataclasses.replace(
        SAME,
        architecture="Qwen2ForCausalLM",
        model_type="qwen2",
        parameters=9000,
        trained=1200,
        dtype="bfloat16",
        fingerprint="f2",
    )
    changed = dataclasses.replace(RECIPE, batch_size=16, steps=80)
    lines = (
        "batch size 16 instead of 8",
        "80 steps instead of 40",
        "a model of the type qwen2 (Qwen2ForCausalLM) instead of llama (LlamaForCausalLM)",
        "a model of 9,000 parameters instead of 5,000",
        "1,200 trained parameters instead of 1,000",
        "bfloat16 instead of float32",
    )
    assert caveats(FOUND, [changed], other) == lines
    assert caveats(FOUND, [RECIPE], dataclasses.replace(SAME, dtype="bfloat16")) == lines[-1:]
    assert caveat_sentence(RECIPE, lines[:2]) == (
        "the learning rate 3.2e-4 was found under other circumstances (batch size 16 instead of 8; 80 steps "
        "instead of 40), so a search may find a better one here"
    )


def test_other_weights_of_the_same_size_and_other_data_are_named() -> None:
    """Such as another fine-tune of one model: nothing but the fingerprint tells."""
    weights = dataclasses.replace(SAME, fingerprint="f2")
    assert caveats(FOUND, [RECIPE], weights) == ("other weights of the base model than those of small",)
    data = dataclasses.replace(SAME, train={"count/train": "d9", "clock/train": "d2"})
    assert caveats(FOUND, [RECIPE], data) == ("other training data in count/train",)
    task = dataclasses.replace(SAME, train={"count/train": "d1", "receipts/train": "d5", "more/train": "d4"})
    assert caveats(FOUND, [RECIPE], task) == (
        "without the training data of clock/train",
        "other training data in receipts/train",
    )


def test_what_is_not_known_of_the_origin_is_no_difference() -> None:
    """A recipe of an older version, whose file names neither."""
    old = dataclasses.replace(
        FOUND, data={}, evidence=None, model=BaseModelFacts(path="small", dtype="float32")
    )
    assert caveats(old, [RECIPE], SAME) == ()


def test_a_recipe_of_unknown_origin_says_so() -> None:
    assert caveats(RecipeDocument(recipe=RECIPE), [RECIPE], SAME) == (
        "on which model it was found is not known",
    )
