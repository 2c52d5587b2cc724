"""Generation: what a model writes greedily after its prompts.

Shapes: B samples, T tokens of the longest prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import StoppingCriteria, StoppingCriteriaList

from trainables.collate import EncodedSample, pad_token_id, stack_extras
from trainables.data.sample_sets import outlines_of
from trainables.data.samples import Sample
from trainables.metrics import Decoding
from trainables.training.lockstep import Lockstep, passes

# Tokens that a model may write beyond the length of the longest reference answer.
SURPLUS: Final = 8


def token_limits(
    tokenizer: Any, encoded: Sequence[EncodedSample], samples: Sequence[Sample], decoding: Decoding
) -> list[int]:
    """Return how many tokens a model may write for each sample.

    Args:
        tokenizer: The model's tokenizer.
        encoded: The samples as the model takes them.
        samples: The same samples.
        decoding: Its limit, if it has one, holds for all of them.
    """
    if decoding.max_new_tokens is not None:
        return [decoding.max_new_tokens] * len(samples)
    limits = []
    for own, sample in zip(outlines_of(encoded), samples, strict=True):
        others = {text for text in sample.accepted if text != sample.answer}
        lengths = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) + 1 for text in others]
        limits.append(max([own.answer_length, *lengths]) + SURPLUS)
    return limits


def generated_answers(
    model: nn.Module,
    tokenizer: Any,
    samples: Sequence[EncodedSample],
    batch_size: int,
    lockstep: Lockstep | None = None,
    *,
    limits: Sequence[int] | None = None,
    stop: Sequence[str] = (),
) -> list[str]:
    """Return what the model writes greedily; prompts are padded on the left.

    Args:
        model: The model, in evaluation mode.
        tokenizer: Its tokenizer.
        samples: The samples; nothing of their answers matters but what ends them, and their length where
            there are no limits.
        batch_size: Samples at a time.
        lockstep: What the processes of a sharded model do alike; None for a whole one.
        limits: Tokens at most, for each sample; None is `SURPLUS` beyond the reference answer's.
        stop: Texts before which an answer ends.
    """
    device = next(model.parameters()).device
    if limits is None:
        limits = [sample.answer_length + SURPLUS for sample in outlines_of(samples)]
    answers = [""] * len(samples)
    for rows, chosen in passes(samples, batch_size, lockstep):
        inputs = {name: tensor.to(device) for name, tensor in left_padded(chosen, tokenizer).items()}
        width = inputs["input_ids"].shape[1]
        own_limits = [limits[row] for row in rows] or [SURPLUS]
        # What ends an answer here, and what the model ends its texts by besides.
        ends = {int(sample.tokens["input_ids"][-1]) for sample in chosen} | _own_ends(model)
        criteria = StoppingCriteriaList([_Stops(tokenizer, stop, width)] if stop else [])
        written = model.generate(  # type: ignore[operator]
            **inputs,
            do_sample=False,
            max_new_tokens=max(own_limits),
            eos_token_id=sorted(ends),
            pad_token_id=pad_token_id(tokenizer),
            stopping_criteria=criteria,
            synced_gpus=lockstep is not None,
        )
        for row, limit, ids in zip(rows, own_limits, written[:, width:], strict=bool(rows)):
            text = tokenizer.decode(ids[:limit], skip_special_tokens=True)
            answers[row] = before_stop(text, stop)
    return answers


def left_padded(samples: Sequence[EncodedSample], tokenizer: Any) -> dict[str, Tensor]:
    """Return the prompts of samples as the model takes them, `[B, T]`, each ending in the last column."""
    width = max(sample.prompt_length for sample in samples)
    inputs: dict[str, Tensor] = {}
    for name, first in samples[0].tokens.items():
        fill = pad_token_id(tokenizer) if name == "input_ids" else 0
        padded = torch.full((len(samples), width), fill, dtype=first.dtype)
        for row, sample in enumerate(samples):
            padded[row, width - sample.prompt_length :] = sample.tokens[name][: sample.prompt_length]
        inputs[name] = padded
    return inputs | stack_extras(samples)


def before_stop(text: str, stop: Sequence[str]) -> str:
    """Return a text up to the first of the texts that end it."""
    return text[: min((place for end in stop if (place := text.find(end)) >= 0), default=len(text))]


class _Stops(StoppingCriteria):
    """Ends a row when its text holds one of the stop texts.

    Args:
        tokenizer: Decodes what was written.
        stop: The stop texts.
        width: Tokens of the prompt.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str], width: int) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._width = width

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        texts = self._tokenizer.batch_decode(input_ids[:, self._width :], skip_special_tokens=True)
        ended = [before_stop(text, self._stop) != text for text in texts]
        return torch.tensor(ended, device=input_ids.device)


def _own_ends(model: nn.Module) -> set[int]:
    own = model.generation_config.eos_token_id
    return set(own) if isinstance(own, list) else {own} - {None}
