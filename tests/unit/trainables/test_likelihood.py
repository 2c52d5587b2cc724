from __future__ import annotations

import dataclasses
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_multimodal
import torch
from tiny_families import FAMILIES
from tiny_multimodal import CLASSES

from trainables.collate import EncodedSample, Encoder
from trainables.likelihood import choice_log_probs

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
