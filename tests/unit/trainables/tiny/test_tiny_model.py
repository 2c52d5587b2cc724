from __future__ import annotations

import importlib.util

import pytest
import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

from trainables.tiny import MODEL_DIR, TASKS, load_split
from trainables.tiny.evaluate import prompt_text, right_answers

HELD_OUT = [name for name, task in TASKS.items() if task.role == "held_out"]
TARGETS = [name for name, task in TASKS.items() if task.role == "target"]


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(MODEL_DIR)


@pytest.fixture(scope="module")
def model():
    return LlavaForConditionalGeneration.from_pretrained(MODEL_DIR).eval()


def test_the_model_folder_is_small():
    assert sum(file.stat().st_size for file in MODEL_DIR.iterdir()) < 15e6


def test_the_image_processor_needs_no_torchvision(processor):
    assert (
        importlib.util.find_spec("torchvision") is None or "Pil" in type(processor.image_processor).__name__
    )
    pixels = processor.image_processor(
        load_split("digits", "train", 1)[0].images[0], return_tensors="pt"
    ).pixel_values
    assert pixels.shape == (1, 3, 32, 32)
    assert pixels.abs().max() <= 1


def test_the_architecture_has_separate_projections_an_untied_head_and_uses_every_vision_layer(model):
    names = {name for name, _ in model.named_parameters()}
    for leaf in (
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
    ):
        assert f"model.language_model.layers.0.{leaf}.weight" in names
    assert model.lm_head.weight.data_ptr() != model.get_input_embeddings().weight.data_ptr()
    assert model.config.vision_feature_layer == -1
    assert 2_000_000 < model.num_parameters() < 3_000_000
    assert model.dtype == torch.float32


@pytest.mark.parametrize("name", TASKS)
def test_prompt_answer_and_end_are_separate_tokens(processor, name):
    tokenizer = processor.tokenizer
    for sample in load_split(name, "search", 20):
        text = prompt_text(processor, sample)
        prompt, answer = tokenizer(text).input_ids, tokenizer(sample.answer).input_ids
        joined = tokenizer(text + sample.answer + tokenizer.eos_token).input_ids
        assert joined == [*prompt, *answer, tokenizer.eos_token_id]
        assert tokenizer.unk_token_id not in joined
        assert tokenizer.decode(answer, skip_special_tokens=True) == sample.answer
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)


def test_a_picture_becomes_sixteen_tokens_and_text_alone_works(processor, model):
    pictured, text_only = load_split("digits", "search", 1)[0], load_split("compare_numbers", "search", 1)[0]
    inputs = processor(text=prompt_text(processor, pictured), images=pictured.images, return_tensors="pt")
    assert int((inputs.input_ids == model.config.image_token_id).sum()) == 16
    alone = processor(text=prompt_text(processor, text_only), return_tensors="pt")
    assert "pixel_values" not in alone
    for batch in (inputs, alone):
        written = model.generate(**batch)[0, batch.input_ids.shape[1] :]
        assert written[-1] == processor.tokenizer.eos_token_id


@torch.inference_mode()
def test_teacher_forced_exact_match_equals_greedy_generation(processor, model):
    samples = load_split("digital_clock", "search", 12) + load_split("clock", "search", 12)
    written = []
    for sample in samples:
        inputs = processor(text=prompt_text(processor, sample), images=sample.images, return_tensors="pt")
        tokens = model.generate(**inputs)[0, inputs.input_ids.shape[1] :]
        written.append(processor.tokenizer.decode(tokens, skip_special_tokens=True) == sample.answer)
    assert right_answers(model, processor, samples) == written


@pytest.mark.parametrize("name", HELD_OUT)
def test_the_shipped_model_has_its_held_out_skills(processor, model, name):
    right = right_answers(model, processor, load_split(name, "search", 100))
    assert sum(right) / len(right) >= 0.75


@pytest.mark.parametrize(
    ("name", "most"), [(name, 0.45 if name == "pathology" else 0.25) for name in TARGETS]
)
def test_the_shipped_model_is_near_chance_on_targets(processor, model, name, most):
    right = right_answers(model, processor, load_split(name, "search", 100))
    assert sum(right) / len(right) <= most
