from __future__ import annotations

import dataclasses
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_models
import tiny_multimodal
import torch
import transformers as hf
from tiny_families import FAMILIES
from tiny_multimodal import CLASSES

from trainables.collate import EncodedSample, Encoder
from trainables.data.samples import Sample
from trainables.evaluate import evaluate_task
from trainables.metrics import MetricSpec
from trainables.scoring.likelihood import choice_log_probs

TOKENIZER = SimpleNamespace(pad_token_id=0, eos_token_id=2)
# Of one, several and many tokens; two samples have fewer of them.
CHOICES = ("7", "red cat", "no", "something that takes many tokens")


def alone(model: Any, sample: EncodedSample) -> list[float]:
    """Return each choice's log-probability by a pass over prompt and choice, without any cache."""
    sums = []
    for choice in sample.choices:
        tokens = {name: own[: sample.prompt_length] for name, own in sample.tokens.items()}
        for name, own in tokens.items():
            # An answer's tokens are all of the same kind.
            kind = sample.tokens[name][-1:].expand(len(choice))
            tokens[name] = torch.cat([own, choice if name == "input_ids" else kind])
        inputs = {name: own[None] for name, own in tokens.items()}
        with torch.no_grad():
            logits = model(**inputs, **sample.extras, use_cache=False).logits[0]
        predicted = logits.log_softmax(-1)[sample.prompt_length - 1 : -1]
        sums.append(sum(float(row[token]) for row, token in zip(predicted, choice, strict=True)))
    return sums


def assert_shared_equals_alone(model: Any, tokenizer: Any, data: list[EncodedSample]) -> None:
    expected = [alone(model, sample) for sample in data]
    for batch_size in (1, len(data)):
        found = choice_log_probs(model, tokenizer, data, batch_size)
        for own, other in zip(found, expected, strict=True):
            assert own == pytest.approx(other, abs=2e-4)
    assert all(len(set(own)) == len(own) for own in expected), "choices that are all alike show nothing"


@cache
def encoder(name: str) -> Encoder:
    return Encoder(CLASSES[name].processor())


@pytest.mark.parametrize("name", CLASSES)
def test_a_shared_prompt_gives_what_whole_passes_give(name: str) -> None:
    """With images of several sizes, prompts of several lengths and, where the model takes it, text alone."""
    text_only = 0 if name == "paligemma" else 2
    samples = [
        dataclasses.replace(sample, choices=CHOICES[: 4 - number % 3])
        for number, sample in enumerate(tiny_multimodal.samples("choices", 6, text_only=text_only))
    ]
    data = [encoder(name).encode(sample) for sample in samples]
    assert_shared_equals_alone(tiny_multimodal.build(name), encoder(name).tokenizer, data)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_shared_prompt_gives_what_whole_passes_give_in_each_family(name: str) -> None:
    family = FAMILIES[name]
    data = []
    for seed, length in enumerate((8, 14, 5)):
        random = torch.Generator().manual_seed(seed)
        choices = tuple(torch.randint(3, 40, (n,), generator=random) for n in (2, 1, 5))
        sample = family.sample(seed, length)
        if name == "paligemma":
            # Its kinds tell what is an answer, not what is an image.
            sample.tokens["token_type_ids"] = (torch.arange(sample.length) >= sample.prompt_length).long()
        data.append(dataclasses.replace(sample, choices=choices[: 3 - seed % 2]))
    assert_shared_equals_alone(family.build(), TOKENIZER, data)


def test_a_model_that_can_t_go_back_in_its_cache_reads_prompts_whole() -> None:
    """A state of a recurrent layer holds what was read last, so the second choice would follow the first."""
    random = torch.Generator().manual_seed(0)
    config = hf.MambaConfig(vocab_size=48, hidden_size=16, state_size=4, num_hidden_layers=2, pad_token_id=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = hf.MambaForCausalLM(config).eval()
    data = [
        EncodedSample(
            {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
            {},
            length - 2,
            choices=tuple(torch.randint(3, 48, (n,), generator=random) for n in (2, 1, 5)),
        )
        for length in (9, 5)
        for ids in [torch.randint(3, 48, (length,), generator=random)]
    ]
    assert_shared_equals_alone(model, TOKENIZER, data)


def test_a_prompt_is_read_once_and_letters_need_no_more() -> None:
    family = FAMILIES["llama"]
    model, (short, long) = family.build(), (torch.tensor([5]), torch.tensor([5, 6, 7]))
    widths: list[tuple[int, ...]] = []
    model.model.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    sample = family.sample(text=9)
    letters = [dataclasses.replace(sample, choices=(short, short + 1, short + 2))] * 2
    choice_log_probs(model, TOKENIZER, letters, 2)
    assert widths == [(2, 6)], "one pass over the prompts, of six tokens each"
    widths.clear()
    words = [dataclasses.replace(sample, choices=(short, long, long + 1))] * 2
    choice_log_probs(model, TOKENIZER, words, 2)
    # The last token of a choice predicts nothing.
    assert widths == [(2, 6), (2, 2), (2, 2)]


@pytest.mark.parametrize(
    ("choices", "plain", "per_byte"),
    [
        # One token against two, so -L against -2 L; per byte -L / 2 against -2 L / 9.
        (("no", "green cup"), "no", "green cup"),
        # Of equals the first.
        (("no", "sun"), "no", "sun"),
        (("sun", "no"), "sun", "sun"),
        (("red", "sun"), "red", "red"),
    ],
)
def test_the_most_probable_choice(choices: tuple[str, ...], plain: str, per_byte: str) -> None:
    """The model finds all tokens as probable, of log-probability -L each."""
    model = tiny_models.llava()
    model.lm_head.weight.zero_()
    (sample,) = tiny_models.samples("choices", 1, answers=choices)
    assert chosen(model, tiny_models.encoder(), dataclasses.replace(sample, choices=choices)) == [
        plain,
        per_byte,
    ]


def test_the_norm_counts_bytes_and_not_characters() -> None:
    """Each byte is a token here: per byte the choices are equal, and per character `a` were better."""
    model = tiny_multimodal.build("llava_next")
    model.lm_head.weight.zero_()
    (sample,) = tiny_multimodal.samples("choices", 1, answers=("ö",), text_only=1)
    assert chosen(model, encoder("llava_next"), dataclasses.replace(sample, choices=("ö", "a"))) == ["a", "ö"]


def chosen(model: Any, own_encoder: Encoder, sample: Sample) -> list[str]:
    """Return the choice by the sum of its tokens' log-probabilities, and by this per byte."""
    data, tokenizer = [own_encoder.encode(sample)], own_encoder.tokenizer
    best = []
    for name in ("multiple_choice", "multiple_choice_norm"):
        metric = MetricSpec(name)
        output = evaluate_task(
            model, tokenizer, data, samples=[sample], metric=metric, batch_size=1, keep=0, predict=True
        )
        best += output.predictions
    return best
