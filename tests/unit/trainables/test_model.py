from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import llama, llava, save_llama, save_llava
from transformers import LlamaForCausalLM, LlavaForConditionalGeneration, ViTConfig

from trainables.manifest import build_manifest
from trainables.model import (
    ModelError,
    check_weights,
    load_config,
    load_model,
    load_processor,
    load_skeleton,
    model_fingerprint,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llava(tmp_path_factory.mktemp("model") / "llava")


def test_loads_a_base_frozen_and_in_evaluation_mode(folder: Path) -> None:
    model = load_model(str(folder), dtype=torch.float32)
    assert isinstance(model, LlavaForConditionalGeneration)
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    for name, tensor in llava().state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_loads_in_the_type_that_is_asked_for(folder: Path) -> None:
    model = load_model(str(folder), dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_a_text_model_is_a_causal_language_model(tmp_path: Path) -> None:
    path = str(save_llama(tmp_path / "llama"))
    assert isinstance(load_model(path, dtype=torch.float32), LlamaForCausalLM)
    assert load_processor(path).eos_token == "</s>"


def test_a_skeleton_has_shapes_and_no_weights(folder: Path) -> None:
    skeleton = load_skeleton(str(folder), dtype=torch.float32)
    assert {parameter.device.type for parameter in skeleton.parameters()} == {"meta"}
    real = load_model(str(folder), dtype=torch.float32)
    assert build_manifest(skeleton, "full") == build_manifest(real, "full")


def test_the_embedded_model_has_a_name() -> None:
    assert load_config("tiny-llava").model_type == "llava"
    assert load_processor("tiny-llava").tokenizer.eos_token == "</s>"


def test_an_architecture_that_writes_no_text_is_one_line(tmp_path: Path) -> None:
    ViTConfig().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"can't be built: Unrecognized configuration class") as error:
        load_skeleton(str(tmp_path), dtype=torch.float32)
    assert "\n" not in str(error.value)


def test_a_folder_without_a_model_is_one_line_that_names_it(tmp_path: Path) -> None:
    for load in (load_config, load_processor, lambda path: load_model(path, dtype=torch.float32)):
        with pytest.raises(ModelError) as error:
            load(str(tmp_path))
        assert str(tmp_path) in str(error.value)
        assert "\n" not in str(error.value)


def test_missing_and_damaged_weights_are_reported(tmp_path: Path) -> None:
    path = save_llava(tmp_path / "llava")
    (path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ModelError, match=r"llava' can't be loaded"):
        load_model(str(path), dtype=torch.float32)
    (path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"llava' can't be loaded"):
        load_model(str(path), dtype=torch.float32)


class TestWeightsThatDoNotFit:
    """Transformers would draw by chance what a file lacks, and say so on the terminal alone."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return save_llama(tmp_path / "llama") / "model.safetensors"

    @staticmethod
    def change(file: Path, name: str, tensor: torch.Tensor | None) -> None:
        weights = load_file(file)
        del weights[name]
        if tensor is not None:
            weights[name] = tensor
        save_file(weights, file, metadata={"format": "pt"})

    @pytest.mark.parametrize(
        "load", [check_weights, lambda path: load_model(path, dtype=torch.float32)], ids=["check", "load"]
    )
    @pytest.mark.parametrize(
        ("tensor", "told"),
        [
            (None, r"its weights do not fit: model\.layers\.1\.mlp\.up_proj\.weight is missing$"),
            (torch.zeros(25, 16), r"up_proj\.weight is \[25, 16\] in the file and \[24, 16\] by the conf"),
        ],
    )
    def test_are_named(
        self, file: Path, capfd: pytest.CaptureFixture[str], load: Any, tensor: Any, told: str
    ) -> None:
        self.change(file, "model.layers.1.mlp.up_proj.weight", tensor)
        with pytest.raises(ModelError, match=told):
            load(str(file.parent))
        assert capfd.readouterr() == ("", "")

    def test_what_fits_passes_unread(self, file: Path) -> None:
        check_weights(str(file.parent))
        check_weights("tiny-llava")

    def test_layers_beyond_the_configuration_s_are_named(self, file: Path) -> None:
        """A model of the first layer alone would train, and be another model."""
        config = file.with_name("config.json")
        config.write_text(json.dumps({**json.loads(config.read_text()), "num_hidden_layers": 1}))
        with pytest.raises(
            ModelError, match=r"layers\.1\.\S+ is beyond the configuration's layers; .* and 6 more"
        ):
            check_weights(str(file.parent))

    def test_a_tied_head_is_not_missing(self, tmp_path: Path) -> None:
        model = llama()
        config = type(model.config)(**{**model.config.to_dict(), "tie_word_embeddings": True})
        tied = LlamaForCausalLM(config)
        tied.save_pretrained(tmp_path)
        assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
        check_weights(str(tmp_path))

    def test_what_nothing_asks_for_is_left_alone(self, file: Path) -> None:
        weights = load_file(file) | {"another.head": torch.zeros(2)}
        save_file(weights, file, metadata={"format": "pt"})
        check_weights(str(file.parent))


def test_the_fingerprint_follows_content_not_place(tmp_path: Path) -> None:
    one, same = save_llava(tmp_path / "one"), save_llava(tmp_path / "same")
    other = save_llava(tmp_path / "other", seed=1)
    assert model_fingerprint(str(one)) == model_fingerprint(str(same))
    assert model_fingerprint(str(one)) != model_fingerprint(str(other))
    (same / "notes.log").write_text("not part of the model")
    assert model_fingerprint(str(one)) == model_fingerprint(str(same))
    config = json.loads((same / "config.json").read_text())
    (same / "config.json").write_text(json.dumps({**config, "vision_feature_layer": -1}))
    assert model_fingerprint(str(one)) != model_fingerprint(str(same))
