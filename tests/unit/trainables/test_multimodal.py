"""Samples as the processors of the supported multimodal classes encode them, alone and in batches.

The models are random, their matrices wide enough that images and positions tell in what they say.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiny_multimodal
import torch
from tiny_multimodal import CLASSES, IDS

from trainables.collate import EncodedSample, Encoder, collate, pad_token_id
from trainables.data.samples import Sample
from trainables.evaluate import evaluate_task
from trainables.metrics import EXACT_MATCH
from trainables.model import load_model, load_processor
from trainables.scoring.generation import generated_answers
from trainables.training.losses import answer_loss_sum

EACH_CLASS = pytest.mark.parametrize("name", CLASSES)
LENGTH = 512
# What Qwen's positions, Gemma 3's masks and PaliGemma's depend on.
MARKS = {
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl"), "mm_token_type_ids"),
    **dict.fromkeys(("gemma3", "paligemma"), "token_type_ids"),
}


@cache
def encoder(name: str) -> Encoder:
    return Encoder(CLASSES[name].processor(), LENGTH)


@cache
def model(name: str) -> Any:
    return tiny_multimodal.build(name)


def mixed_samples(name: str) -> list[Sample]:
    """Return samples with images of several sizes, one with two, some without where the model allows it."""
    made = tiny_multimodal.samples("mixed", 7, text_only=0 if name == "paligemma" else 2)
    made[1] = dataclasses.replace(made[1], images=made[1].images + made[2].images)
    return made


def mixed(name: str) -> list[EncodedSample]:
    return [encoder(name).encode(sample) for sample in mixed_samples(name)]


@EACH_CLASS
def test_the_loss_is_taken_over_the_answer_and_its_end(name: str) -> None:
    samples = tiny_multimodal.samples("answers", 3)
    encoded = [encoder(name).encode(sample) for sample in samples]
    tokenizer = encoder(name).tokenizer
    batch = collate(encoded, pad_token_id(tokenizer))
    for row, sample in enumerate(samples):
        chosen = batch.inputs["input_ids"][row][batch.answer_mask[row]]
        assert tokenizer.decode(chosen).strip() == sample.answer + CLASSES[name].end
        before = tokenizer.decode(encoded[row].tokens["input_ids"][: encoded[row].prompt_length])
        assert sample.prompt.strip() in before
        assert sample.answer not in before


@EACH_CLASS
def test_batches_of_differing_images_say_what_samples_say_alone(name: str) -> None:
    data = mixed(name)
    if name not in ("paligemma", "gemma3"):
        shapes = {tuple(s.extras["pixel_values"].shape) for s in data if s.extras}
        assert len(shapes) > 1, "these images must differ in what they take"
    # Marks of images go with the tokens, whatever the processor calls them.
    assert name not in MARKS or MARKS[name] in data[0].tokens
    assert all({t.shape for t in s.tokens.values()} == {(s.length,)} for s in data)
    tokenizer = encoder(name).tokenizer
    alone, together = (
        evaluate_task(
            model(name),
            tokenizer,
            data,
            samples=mixed_samples(name),
            metric=EXACT_MATCH,
            batch_size=size,
            keep=len(data),
        )
        for size in (1, len(data))
    )
    for one, other in zip(alone.log_probs, together.log_probs, strict=True):
        assert torch.allclose(one, other, atol=2e-5)
    pad = pad_token_id(tokenizer)
    with torch.no_grad():
        losses = [
            answer_loss_sum(model(name)(**b.inputs).logits, b) for b in (collate([s], pad) for s in data)
        ]
        whole = collate(data, pad)
        loss = answer_loss_sum(model(name)(**whole.inputs).logits, whole)
    assert loss.item() == pytest.approx(sum(map(float, losses)), rel=1e-5)


@EACH_CLASS
def test_batches_of_differing_images_are_answered_as_samples_alone(name: str) -> None:
    data = mixed(name)
    alone, together, backwards = (
        generated_answers(model(name), encoder(name).tokenizer, own, size)
        for own, size in ((data, 1), (data, len(data)), (data[::-1], 3))
    )
    assert alone == together == backwards[::-1]
    assert len(set(alone)) > 1, "a model that always writes the same shows nothing"


@EACH_CLASS
def test_an_image_tells(name: str) -> None:
    sample = tiny_multimodal.samples("picture", 1)[0]
    negative = dataclasses.replace(sample, images=(255 - sample.images[0],))  # type: ignore[operator]
    one, other = (
        evaluate_task(
            model(name),
            encoder(name).tokenizer,
            [encoder(name).encode(s)],
            samples=[s],
            metric=EXACT_MATCH,
            batch_size=1,
            keep=1,
        ).log_probs[0]
        for s in (sample, negative)
    )
    assert (one - other).abs().max() > 1e-2


@EACH_CLASS
def test_a_saved_folder_loads_as_from_the_hub(name: str, tmp_path: Path) -> None:
    folder = str(tiny_multimodal.save(name, tmp_path))
    own = Encoder.load(folder)
    (sample,) = tiny_multimodal.samples("file", 1)
    loaded, made = own.encode(sample), encoder(name).encode(sample)
    assert set(loaded.extras) == set(made.extras)
    for inputs, others in ((loaded.tokens, made.tokens), (loaded.extras, made.extras)):
        assert all(torch.equal(tensor, others[key]) for key, tensor in inputs.items())
    assert type(load_model(folder, dtype=torch.float32)) is type(model(name))
    assert type(load_processor(folder)).__name__ == type(CLASSES[name].processor()).__name__


def test_teacher_forcing_keeps_paligemma_s_prompt_whole_and_its_answer_causal() -> None:
    """Its prompt sees itself from both sides, and nothing of the answer."""
    encoded = mixed("paligemma")[0]
    assert encoded.tokens["token_type_ids"].sum() == encoded.answer_length
    assert "labels" not in encoded.tokens

    def logits(change: int) -> torch.Tensor:
        ids = encoded.tokens["input_ids"].clone()
        ids[change] = IDS["Z"]
        tokens = {name: tensor[None] for name, tensor in (encoded.tokens | {"input_ids": ids}).items()}
        with torch.no_grad():
            return model("paligemma")(**tokens, **encoded.extras).logits[0]

    before = logits(-1)
    # A later token of the prompt tells in an earlier one, a token of the answer does not.
    last_of_prompt = encoded.prompt_length - 1
    assert not torch.allclose(before[17], logits(last_of_prompt)[17], atol=1e-4)
    assert torch.allclose(before[last_of_prompt], logits(encoded.prompt_length)[last_of_prompt], atol=1e-5)


def test_an_answer_ends_where_the_template_ends_a_turn() -> None:
    """Gemma's generation configuration knows the end of a sequence alone; here the third token is the end."""
    own, tokenizer, (sample, *_) = model("gemma3"), encoder("gemma3").tokenizer, mixed("gemma3")
    prompt = {name: tensor[None, : sample.prompt_length] for name, tensor in sample.tokens.items()}
    written = own.generate(**prompt, **sample.extras, do_sample=False, max_new_tokens=6)
    ids = written[0, sample.prompt_length :].tolist()
    assert ids[2] not in ids[:2]
    tokens = sample.tokens | {"input_ids": torch.cat([sample.tokens["input_ids"][:-1], written[0, [-4]]])}
    ended = dataclasses.replace(sample, tokens=tokens)
    assert generated_answers(own, tokenizer, [ended], 1) == [tokenizer.decode(ids[:3])]


def test_text_after_images_is_answered_as_text_alone() -> None:
    """Qwen's models remember the last images' positions between calls."""
    data = mixed("qwen2_5_vl")
    text = [sample for sample in data if not sample.extras]
    tokenizer, fresh = encoder("qwen2_5_vl").tokenizer, tiny_multimodal.build("qwen2_5_vl")
    alone = generated_answers(fresh, tokenizer, text, 2)
    generated_answers(fresh, tokenizer, [sample for sample in data if sample.extras], 5)
    assert generated_answers(fresh, tokenizer, text, 2) == alone
