"""Each tool's file names what the recipe trains, in keys that the tool knows, and says what is missing."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from handed_over import trained_study, write_recipe
from peft import PeftConfig, PeftModel, get_peft_model
from tiny_families import FAMILIES
from tiny_models import adapters, recipe, samples, save_llava
from torch import Tensor, nn

from search.exports import to_axolotl, to_llama_factory, to_ms_swift, to_peft, to_trl
from search.exports.source import read_source
from search.exports.training import training_arguments
from trainables.checkpoint import apply_delta
from trainables.collate import Encoder
from trainables.model import load_model

# Fields of ms-swift 4.6.0's SftArguments, and of Axolotl 0.19.0's AxolotlInputConfig.
SWIFT = set(
    "model tuner_type freeze_parameters_ratio trainable_parameters_regex target_regex lora_rank lora_alpha "
    "lora_dropout use_rslora use_dora dataset torch_dtype output_dir learning_rate max_steps "
    "per_device_train_batch_size gradient_accumulation_steps lr_scheduler_type warmup_steps optim "
    "weight_decay max_grad_norm seed".split()
)
AXOLOTL = set(
    "base_model processor_type skip_prepare_dataset remove_unused_columns sample_packing unfrozen_parameters "
    "adapter lora_target_modules lora_r lora_alpha lora_dropout peft_use_rslora peft_use_dora datasets "
    "sequence_len train_on_inputs output_dir learning_rate max_steps micro_batch_size "
    "gradient_accumulation_steps lr_scheduler warmup_steps optimizer weight_decay max_grad_norm bf16 "
    "seed".split()
)


ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llava(tmp_path_factory.mktemp("base") / "llava")


def exported(tool: Any, folder: Path, base: Path, subset: str, **fields: Any) -> tuple[Any, dict[str, Any]]:
    """Return the source, and the tool's file as it is read."""
    source = read_source(write_recipe(folder, recipe(subset, **fields), base))
    file = tool.export(source, folder / "out").files[0]
    if file.suffix == ".py":
        return source, runpy.run_path(str(file))
    return source, yaml.safe_load(file.read_text(encoding="utf-8"))


CHOICES = [("mlp", {}), ("gate_up", {"layers": "last:1/2"}), ("full", {}), ("vision_projector+norm", {})]


@pytest.mark.parametrize(("subset", "fields"), CHOICES)
def test_own_weights(tmp_path: Path, base: Path, subset: str, fields: dict[str, str]) -> None:
    source, swift = exported(to_ms_swift, tmp_path, base, subset, **fields)
    trained = set(source.manifest.names)
    assert set(swift) <= SWIFT
    # As in swift/utils/transformers_utils.py: all are frozen, then those are freed that are found.
    assert swift["freeze_parameters_ratio"] == 1
    assert {n for n in source.names if re.search(swift["trainable_parameters_regex"], n)} == trained

    source, axolotl = exported(to_axolotl, tmp_path, base, subset, **fields)
    assert set(axolotl) <= AXOLOTL
    # As in axolotl/utils/freeze.py: dots are escaped unless a plus follows, and the start must match.
    patterns = [re.compile(re.sub(r"\.(?!\+)", "\\.", each)) for each in axolotl["unfrozen_parameters"]]
    assert {n for n in source.names if any(pattern.match(n) for pattern in patterns)} == trained

    source = read_source(write_recipe(tmp_path, recipe(subset, **fields), base))
    made = to_peft.export(source, tmp_path / "peft")
    assert [file.name for file in made.files] == [
        "trainable_parameters.txt",
        "freeze.py",
        "training_arguments.json",
    ]
    assert made.limits[0].startswith("training a model's own weights: PEFT adds adapters")
    freeze = runpy.run_path(str(tmp_path / "peft" / "freeze.py"))["freeze_all_but_trained"]
    frozen = freeze(load_model(str(base), dtype=torch.float32))
    assert {n for n, p in frozen.named_parameters() if p.requires_grad} == trained


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
def test_adapters(tmp_path: Path, base: Path, variant: str) -> None:
    source, swift = exported(to_ms_swift, tmp_path, base, "sa_proj", layers="1", **adapters(variant))
    modules = set(source.manifest.adapters.modules)
    assert len(modules) == 4
    assert set(swift) <= SWIFT
    assert {n for n in source.modules if re.fullmatch(swift["target_regex"], n)} == modules
    assert (swift["use_rslora"], swift["use_dora"]) == (variant == "rslora", variant == "dora")

    source, axolotl = exported(to_axolotl, tmp_path, base, "sa_proj", layers="1", **adapters(variant))
    assert set(axolotl) <= AXOLOTL
    assert {n for n in source.modules if re.fullmatch(axolotl["lora_target_modules"], n)} == modules
    assert (axolotl["peft_use_rslora"], axolotl["peft_use_dora"]) == (variant == "rslora", variant == "dora")

    to_peft.export(source, tmp_path / "peft")
    config = PeftConfig.from_pretrained(tmp_path / "peft")
    model = get_peft_model(load_model(str(base), dtype=torch.float32), config)
    adapted = {
        n.partition(".lora_A")[0].removeprefix("base_model.model.")
        for n in model.state_dict()
        if ".lora_A" in n
    }
    assert adapted == modules
    assert config.base_model_name_or_path == str(base)
    assert (config.use_rslora, config.use_dora) == (variant == "rslora", variant == "dora")


@pytest.mark.parametrize("variant", ["lora", "dora"])
def test_peft_loads_the_trained_adapters(tmp_path: Path, base: Path, variant: str) -> None:
    study, _ = trained_study(tmp_path, base, "sa_proj", **adapters(variant))
    made = to_peft.export(read_source(study), tmp_path / "out")
    assert made.limits == ()
    tuned = PeftModel.from_pretrained(load_model(str(base), dtype=torch.float32), tmp_path / "out")
    expected = load_model(str(base), dtype=torch.float32)
    untouched = logits(expected)
    apply_delta(expected, study / "selected")
    assert torch.allclose(logits(tuned), logits(expected), atol=1e-5)
    assert not torch.allclose(logits(tuned), untouched, atol=1e-3)


def logits(model: nn.Module) -> Tensor:
    sample = Encoder.load("tiny-llava").encode(samples("asked", 1)[0])
    inputs = {name: tensor[None] for name, tensor in sample.tokens.items()} | sample.extras
    with torch.no_grad():
        found: Tensor = model(**inputs).logits
    return found


@pytest.mark.parametrize(("fields", "name"), [({}, "TRAINED"), (adapters("rslora"), "ADAPTERS")])
def test_trl_has_a_script(tmp_path: Path, base: Path, fields: dict[str, Any], name: str) -> None:
    source = read_source(write_recipe(tmp_path, recipe("gate_up", **fields), base))
    text = to_trl.export(source, tmp_path / "out").files[0].read_text(encoding="utf-8")
    # TRL itself is not installed; what it is given is.
    stub = "class SFTConfig(dict):\n    pass\n\n\nSFTTrainer = None\n"
    script = text.replace("from trl import SFTConfig, SFTTrainer\n", stub)
    assert script != text
    scope: dict[str, Any] = {"__name__": "script"}
    exec(compile(script, "trl_train.py", "exec"), scope)
    arguments = training_arguments(source)
    assert {key: scope["ARGUMENTS"][key] for key in arguments} == arguments
    # The loss is the answers' alone, and no sample is cut.
    assert scope["ARGUMENTS"]["completion_only_loss"] is True
    assert scope["ARGUMENTS"]["max_length"] is None
    assert '# Columns "prompt" and "completion"' in text
    assert "All of the recipe is expressed" not in text
    if name == "TRAINED":
        assert {n for n in source.names if scope[name].fullmatch(n)} == set(source.manifest.names)
    else:
        model = get_peft_model(load_model(str(base), dtype=torch.float32), scope[name])
        assert sum(".lora_A" in n for n in model.state_dict()) == len(source.manifest.adapters.modules)
        assert scope[name].use_rslora


def test_the_settings_of_training(tmp_path: Path, base: Path) -> None:
    chosen = recipe("mlp", steps=50, warmup_ratio=0.05, schedule="constant", weight_decay=0.1)
    found = training_arguments(read_source(write_recipe(tmp_path, chosen, base)))
    # 5 % of 50 steps is 2.5, of which the recipe warms up whole steps: 3.
    assert (found["warmup_steps"], found["lr_scheduler_type"]) == (3, "constant_with_warmup")
    assert (found["max_steps"], found["gradient_accumulation_steps"], found["seed"]) == (50, 4, 3)
    assert found["bf16"] is False


def test_the_versions_are_those_that_were_verified() -> None:
    page = " ".join((ROOT / "docs" / "handover.md").read_text("utf-8").split())
    for tool in (to_llama_factory, to_ms_swift, to_axolotl, to_trl, to_peft):
        assert f"{tool.TOOL} {tool.VERSION}" in page
        assert tool.WRITTEN_FOR.startswith(f"{tool.TOOL} {tool.VERSION}")
        assert set(re.findall(rf"{tool.TOOL} (\d[\d.]*\d)", page)) == {tool.VERSION}


@pytest.mark.parametrize("tool", [to_llama_factory, to_ms_swift, to_axolotl, to_trl])
def test_a_relative_name_names_the_output(
    tmp_path: Path, base: Path, tool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "receipts").mkdir()
    write_recipe(tmp_path / "receipts", recipe("mlp"), base)
    monkeypatch.chdir(tmp_path / "receipts")
    file = tool.export(read_source(Path("recipe.yaml")), tmp_path / "out").files[0]
    assert re.search(r"output_dir\W+\w+/receipts\b", file.read_text("utf-8"))


def test_nothing_is_dropped_without_a_word(tmp_path: Path, base: Path) -> None:
    chosen = recipe("norm", lwf_weight=0.5, l2sp_weight=0.1, replay_ratio=0.25, weight_decay=0.1)
    point = {"trial": 0, "step": 4, "transform": "interpolation", "alpha": 0.3}
    file = write_recipe(tmp_path, chosen, base, point=point)
    made = to_ms_swift.export(read_source(file), tmp_path / "out")
    words = ["LwF, weight 0.5, temperature 2", "L2-SP, weight 0.1", "25 % of each batch", "weight decay of 5"]
    words.append("0.3 x tuned + 0.7 x base")
    assert len(made.limits) == len(words)
    comment = " ".join(made.files[0].read_text("utf-8").partition("model:")[0].replace("\n#", "").split())
    for word, limit in zip(words, made.limits, strict=True):
        assert word in limit
        assert word in comment


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ({"transform": "pruning", "keep": 0.1}, "10 % of the changes kept"),
        (
            {"transform": "soup", "members": [{"trial": 0, "step": 4}, {"trial": 1, "step": 4}]},
            "2 trainings",
        ),
        ({"transform": "identity", "step": 2}, "after 2 of 4 steps"),
        ({"transform": "identity"}, None),
    ],
)
def test_what_follows_the_training(
    tmp_path: Path, base: Path, point: dict[str, Any], words: str | None
) -> None:
    both = {trial: recipe("mlp").to_dict() for trial in (0, 1)}
    soup = {"soup_recipes": both} if "members" in point else {}
    file = write_recipe(tmp_path, recipe("mlp"), base, point={"trial": 0, "step": 4} | point, **soup)
    limits = to_axolotl.export(read_source(file), tmp_path / "out").limits
    *found, always = limits
    assert [words in limit for limit in found if words] == ([True] if words else [])
    assert len(found) == (words is not None)
    assert "more than 2,048 tokens (sequence_len)" in always


def test_a_part_of_a_fused_weight_is_told(tmp_path: Path) -> None:
    FAMILIES["gpt2"].build().config.save_pretrained(tmp_path / "gpt2")
    made = to_axolotl.export(
        read_source(write_recipe(tmp_path, recipe("attn.q"), tmp_path / "gpt2")), tmp_path / "out"
    )
    # Weight and bias of two layers; queries are a third of each.
    assert made.limits[0].startswith(
        "a part of a fused weight: of 4 tensors, such as transformer.h.0.attn.c_attn"
    )
    assert "(256 of 768 elements there), Axolotl the whole" in made.limits[0]
