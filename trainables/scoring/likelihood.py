"""Likelihood: how probable a model finds each of a question's choices.

A prompt is read once: it predicts the first token of each choice, and its key-value cache serves the rest.
Models whose cache can't go back to where the prompt ended (state spaces, linear attention) read the prompt
with every choice.

Shapes: B samples, T tokens of the longest prompt, L tokens of the longest choice, V vocabulary entries.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from trainables.collate import EncodedSample, collate, pad_token_id
from trainables.scoring.generation import left_padded
from trainables.training.lockstep import Lockstep, passes

_NOTHING: Final = torch.tensor([], dtype=torch.long)


@torch.no_grad()
def choice_log_probs(
    model: nn.Module,
    tokenizer: Any,
    samples: Sequence[EncodedSample],
    batch_size: int,
    lockstep: Lockstep | None = None,
) -> list[list[float]]:
    """Return, for each sample, the sum of the log-probabilities of each choice's tokens, in nats.

    Args:
        model: The model, in evaluation mode.
        tokenizer: Its tokenizer.
        samples: The samples, each with choices.
        batch_size: Samples at a time.
        lockstep: What the processes of a sharded model do alike; None for a whole one.
    """
    pad = pad_token_id(tokenizer)
    sums: list[list[float]] = [[] for _ in samples]
    for rows, chosen in passes(samples, batch_size, lockstep):
        most = max(len(sample.choices) for sample in chosen) if lockstep is None else lockstep.choices
        shared = None if model._is_stateful else _SharedPrompts.read(model, tokenizer, chosen)
        for number in range(most):
            # Who has fewer choices goes along with none.
            choices = [[*sample.choices, *[_NOTHING] * most][number] for sample in chosen]
            if shared is None:
                found = _read_whole(model, pad, chosen, choices)
            else:
                found = shared.log_probs(*_padded(choices, pad), skips=lockstep is None)
            for row, sample, value in zip(rows, chosen, found, strict=bool(rows)):
                if number < len(sample.choices):
                    sums[row].append(value)
    return sums


@dataclass(frozen=True, kw_only=True, slots=True)
class _SharedPrompts:
    """Prompts that were read once.

    Attributes:
        model: The model that read them.
        cache: Its keys and values.
        first: Log-probabilities of what comes next, `[B, V]`.
        mask: 1 where a token is a prompt's own, `[B, T]`.
        positions: Positions of the tokens, `[..., B, T]`; None for a model that takes none.
    """

    model: Any
    cache: Any
    first: Tensor
    mask: Tensor
    positions: Tensor | None

    @classmethod
    def read(cls, model: Any, tokenizer: Any, samples: Sequence[EncodedSample]) -> _SharedPrompts:
        """Read the prompts of samples, as `generate` does."""
        device = next(model.parameters()).device
        inputs = {name: tensor.to(device) for name, tensor in left_padded(samples, tokenizer).items()}
        ids = inputs.pop("input_ids")
        takes = inspect.signature(model.forward).parameters
        positions = None
        if "position_ids" in takes:
            # A private name; there is no other way to the positions of any model's images.
            positions = model._prepare_position_ids_for_generation(ids, inputs)
        last_alone = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        given = model.prepare_inputs_for_generation(
            ids, position_ids=positions, use_cache=True, is_first_iteration=True, **inputs, **last_alone
        )
        output = model(**given)
        return cls(
            model=model,
            cache=output.past_key_values,
            first=output.logits[:, -1].float().log_softmax(-1),
            mask=inputs["attention_mask"],
            positions=positions,
        )

    def log_probs(self, ids: Tensor, mask: Tensor, *, skips: bool) -> list[float]:
        """Return the sum of the log-probabilities of each row's tokens.

        Args:
            ids: What follows each prompt, padded on the right, `[B, L]`.
            mask: 1 where a token counts, `[B, L]`.
            skips: Whether to save a pass where the prompts alone predict all tokens.
        """
        ids, mask = ids.to(self.first.device), mask.to(self.first.device)
        predicted = self.first[:, None]
        if ids.shape[1] > 1 or not skips:
            # The last column predicts nothing that counts, unless it is alone.
            later = self._following(ids[:, : max(1, ids.shape[1] - 1)])
            predicted = torch.cat([predicted, later], dim=1)[:, : ids.shape[1]]
        found = predicted.gather(-1, ids[..., None])[..., 0]
        return found.masked_fill(mask == 0, 0.0).sum(-1).tolist()

    def _following(self, ids: Tensor) -> Tensor:
        """Return the log-probabilities of what comes after each token that follows the prompts."""
        rows, width = ids.shape
        positions = None
        if self.positions is not None:
            positions = self.positions[..., -1:] + 1 + torch.arange(width, device=ids.device)
        # Kinds of tokens, such as an image's, are those of the prompts alone: what follows is text.
        given = self.model.prepare_inputs_for_generation(
            ids,
            # What is read adds to a cache, and the other choices need it as it is.
            past_key_values=copy.deepcopy(self.cache),
            attention_mask=torch.cat([self.mask, self.mask.new_ones(rows, width)], dim=1),
            position_ids=positions,
            use_cache=True,
        )
        return self.model(**given).logits.float().log_softmax(-1)


def _padded(choices: Sequence[Tensor], pad: int) -> tuple[Tensor, Tensor]:
    """Return the choices' tokens, padded on the right, and where they are, `[B, L]` each."""
    width = max(1, *(len(choice) for choice in choices))
    ids = torch.full((len(choices), width), pad)
    mask = torch.zeros_like(ids)
    for row, choice in enumerate(choices):
        ids[row, : len(choice)] = choice
        mask[row, : len(choice)] = 1
    return ids, mask


def _read_whole(
    model: nn.Module, pad: int, samples: Sequence[EncodedSample], choices: Sequence[Tensor]
) -> list[float]:
    """Return the sum of the log-probabilities of each choice's tokens, reading prompts and choices whole."""
    device = next(model.parameters()).device
    batch = collate([_with_answer(*each) for each in zip(samples, choices, strict=True)], pad).to(device)
    logits = model(**batch.inputs, use_cache=False).logits
    sums = []
    for row, (sample, choice) in enumerate(zip(samples, choices, strict=True)):
        before = sample.prompt_length - 1
        predicted = logits[row, before : before + len(choice)].float().log_softmax(-1)
        sums.append(float(predicted.gather(-1, choice.to(device)[:, None]).sum()))
    return sums


def _with_answer(sample: EncodedSample, answer: Tensor) -> EncodedSample:
    """Return a sample with other tokens as its answer, without an end."""
    tokens = {}
    for name, own in sample.tokens.items():
        added = answer if name == "input_ids" else own[-1:].expand(len(answer))
        tokens[name] = torch.cat([own[: sample.prompt_length], added])
    return replace(sample, tokens=tokens)
