"""What LLaMA-Factory would train is what the recipe trains, or the file says what differs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from handed_over import write_recipe
from tiny_models import adapters, recipe, save_llama, save_llava

from search.exports.llama_factory_rules import trained_by
from search.exports.source import read_source
from search.exports.to_llama_factory import export

# Fields of LLaMA-Factory 0.9.5's ModelArguments, DataArguments, FinetuningArguments and TrainingArguments.
KNOWN = set(
    "model_name_or_path stage do_train finetuning_type freeze_trainable_layers "
    "freeze_trainable_modules freeze_extra_modules freeze_vision_tower freeze_multi_modal_projector "
    "freeze_language_model lora_target lora_rank lora_alpha lora_dropout use_rslora use_dora dataset "
    "template cutoff_len output_dir learning_rate max_steps per_device_train_batch_size "
    "gradient_accumulation_steps lr_scheduler_type warmup_steps optim weight_decay max_grad_norm "
    "bf16 seed".split()
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llava(tmp_path_factory.mktemp("base") / "llava")


LLM = {"freeze_vision_tower": True, "freeze_multi_modal_projector": True, "freeze_language_model": False}
LAST = {"finetuning_type": "freeze", "freeze_trainable_layers": 1}


@pytest.mark.parametrize(
    ("subset", "layers", "expected"),
    [
        ("llm", "all", {"finetuning_type": "full", **LLM}),
        ("projector", "all", {"finetuning_type": "full", "freeze_multi_modal_projector": False}),
        ("vision", "all", {"freeze_vision_tower": False, "freeze_language_model": True}),
        ("sa_proj", "last:1/2", {**LAST, "freeze_trainable_modules": "self_attn", **LLM}),
        ("mlp", "first:1", {"freeze_trainable_layers": -1, "freeze_trainable_modules": "mlp"}),
        ("sa_proj+mlp", "all", {"freeze_trainable_layers": 2, "freeze_trainable_modules": "mlp,self_attn"}),
        ("mlp+head", "all", {"freeze_trainable_modules": "mlp", "freeze_extra_modules": "lm_head"}),
    ],
)
def test_trains_the_same(
    tmp_path: Path, base: Path, subset: str, layers: str, expected: dict[str, object]
) -> None:
    source = read_source(write_recipe(tmp_path, recipe(subset, layers=layers), base))
    made = export(source, tmp_path / "out")
    content = yaml.safe_load(made.files[0].read_text("utf-8"))
    assert expected.items() <= content.items()
    assert set(content) <= KNOWN
    (limit,) = made.limits
    assert "more than 2,048 tokens (cutoff_len)" in limit
    # The tiny model has two layers.
    assert trained_by(content, source.names, "llava", 2) == set(source.manifest.names)


def test_says_what_it_trains_besides(tmp_path: Path, base: Path) -> None:
    made = export(read_source(write_recipe(tmp_path, recipe("gate_up"), base)), tmp_path / "out")
    # Two layers' down_proj of 24 x 16 elements.
    assert "trains too what the recipe leaves frozen, 2 tensors such as" in made.limits[0]
    assert "model.language_model.layers.0.mlp.down_proj.weight (768 elements)" in made.limits[0]
    text = made.files[0].read_text("utf-8")
    assert "down_proj.weight" in text.partition("model_name_or_path")[0]
    assert yaml.safe_load(text)["learning_rate"] == 1e-2


def test_adapters_are_named_shortly_where_that_is_exact(tmp_path: Path, base: Path) -> None:
    def target(subset: str, **fields: object) -> tuple[str, dict[str, object]]:
        chosen = recipe(subset, **adapters("dora"), **fields)
        content = yaml.safe_load(
            export(read_source(write_recipe(tmp_path, chosen, base)), tmp_path / "out").files[0].read_text()
        )
        assert set(content) <= KNOWN
        return content["lora_target"], content

    found, content = target("sa_proj")
    # The tower's own q_proj does not count, since the tower is frozen.
    assert found == "q_proj,k_proj,v_proj,o_proj"
    assert content["freeze_vision_tower"] is content["use_dora"] is True
    assert (content["lora_rank"], content["lora_alpha"]) == (4, 32)
    found, _ = target("down", layers="1")
    assert found == "model.language_model.layers.1.mlp.down_proj"


def test_a_text_model_has_no_tower_to_freeze(tmp_path: Path) -> None:
    base = save_llama(tmp_path / "base")
    made = export(read_source(write_recipe(tmp_path, recipe("full"), base)), tmp_path / "out")
    content = yaml.safe_load(made.files[0].read_text("utf-8"))
    assert content["finetuning_type"] == "full"
    assert not [key for key in content if key.startswith("freeze")]
