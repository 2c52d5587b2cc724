"""Evaluating a model on encoded samples: one teacher-forced pass where that equals greedy decoding.

Greedy decoding writes a reference answer exactly when the arg-max after the prompt and each prefix of the
answer is the answer's next token, the end of sequence included. One forward pass over prompt and answer shows
that for all prefixes at once, so `exact_match` needs no generation.

Shapes: B samples, T tokens, V vocabulary entries, A answer tokens of all samples together.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from trainables.collate import EncodedSample, collate, pad_token_id, stack_extras
from trainables.lockstep import Lockstep
from trainables.metrics import MetricSpec

# Tokens that a model may write beyond the length of the reference answer.
SURPLUS: Final = 8


@dataclass(frozen=True, slots=True)
class TaskOutput:
    """What one pass over a task's samples gave, in the order of the samples.

    Attributes:
        scores: Points of each sample, 0 or 100.
        log_probs: For each of the first `keep` samples, the log-probabilities that predict its answer
            tokens, `[answer tokens, V]`, on the CPU.
    """

    scores: list[float]
    log_probs: list[Tensor]


# Not in inference mode: what FSDP2 gathers is used in training too.
@torch.no_grad()
def evaluate_task(
    model: nn.Module,
    tokenizer: Any,
    samples: Sequence[EncodedSample],
    *,
    metric: MetricSpec,
    batch_size: int,
    keep: int,
    lockstep: Lockstep | None = None,
) -> TaskOutput:
    """Score a model on one task.

    Args:
        model: The model, in evaluation mode.
        tokenizer: Its tokenizer.
        samples: The task's samples.
        metric: `exact_match` compares tokens under teacher forcing; `normalized_exact_match` generates
            greedily and compares texts without case, punctuation, articles and surplus space.
        batch_size: Samples per forward pass.
        keep: Number of leading samples whose log-probabilities are returned.
        lockstep: What the processes of a sharded model do alike; None for a whole one.
    """
    device = next(model.parameters()).device
    generates = metric.metric.measured == "generation"
    scores = [0.0] * len(samples)
    log_probs: dict[int, Tensor] = {}
    for rows, chosen in _passes(samples, batch_size, lockstep):
        if generates and lockstep is None and all(row >= keep for row in rows):
            continue
        batch = collate(chosen, pad_token_id(tokenizer)).to(device)
        logits = model(**batch.inputs, use_cache=False).logits
        if not rows:
            continue
        mask = batch.answer_mask[:, 1:]
        right = (logits[:, :-1].argmax(-1) == batch.inputs["input_ids"][:, 1:]) | ~mask
        for position, (row, exact) in enumerate(zip(rows, right.all(-1).tolist(), strict=True)):
            scores[row] = 100.0 if exact else 0.0
            if row < keep:
                answer = logits[position, :-1][mask[position]]
                log_probs[row] = answer.float().log_softmax(-1).cpu()
    if generates:
        scores = _generated_scores(model, tokenizer, samples, batch_size, lockstep)
    return TaskOutput(scores, [log_probs[row] for row in sorted(log_probs)])


def normalize_answer(text: str) -> str:
    """Lower the case; drop punctuation, English articles and surplus space (SQuAD, arXiv 1606.05250)."""
    text = text.lower()
    text = "".join(" " if char in string.punctuation else char for char in text)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def generated_answers(
    model: nn.Module,
    tokenizer: Any,
    samples: Sequence[EncodedSample],
    batch_size: int,
    lockstep: Lockstep | None = None,
) -> list[str]:
    """Return what the model writes greedily; prompts are padded on the left.

    Args:
        model: The model, in evaluation mode.
        tokenizer: Its tokenizer.
        samples: The samples; of their answers the length alone matters, beyond which `SURPLUS` tokens are
            written.
        batch_size: Samples at a time.
        lockstep: What the processes of a sharded model do alike; None for a whole one.
    """
    device = next(model.parameters()).device
    answers = [""] * len(samples)
    for rows, chosen in _passes(samples, batch_size, lockstep):
        width = max(sample.prompt_length for sample in chosen)
        inputs: dict[str, Tensor] = {}
        for name in chosen[0].tokens:
            fill = pad_token_id(tokenizer) if name == "input_ids" else 0
            inputs[name] = torch.full((len(chosen), width), fill, dtype=chosen[0].tokens[name].dtype)
            for row, sample in enumerate(chosen):
                inputs[name][row, width - sample.prompt_length :] = sample.tokens[name][
                    : sample.prompt_length
                ]
        inputs |= stack_extras(chosen)
        longest = max(sample.answer_length for sample in chosen)
        # What ends an answer here, and what the model ends its texts by besides.
        ends = {int(sample.tokens["input_ids"][-1]) for sample in chosen} | _own_ends(model)
        written = model.generate(  # type: ignore[operator]
            **{name: tensor.to(device) for name, tensor in inputs.items()},
            do_sample=False,
            max_new_tokens=longest + SURPLUS,
            eos_token_id=sorted(ends),
            pad_token_id=pad_token_id(tokenizer),
            synced_gpus=lockstep is not None,
        )
        for row, sample, ids in zip(rows, chosen, written[:, width:], strict=bool(rows)):
            own = ids[: sample.answer_length + SURPLUS]
            answers[row] = tokenizer.decode(own, skip_special_tokens=True)
    return answers


def _generated_scores(
    model: nn.Module,
    tokenizer: Any,
    samples: Sequence[EncodedSample],
    batch_size: int,
    lockstep: Lockstep | None,
) -> list[float]:
    answers = generated_answers(model, tokenizer, samples, batch_size, lockstep)
    references = [
        tokenizer.decode(sample.tokens["input_ids"][sample.prompt_length :], skip_special_tokens=True)
        for sample in samples
    ]
    return [
        100.0 if normalize_answer(answer) == normalize_answer(reference) else 0.0
        for answer, reference in zip(answers, references, strict=True)
    ]


def _own_ends(model: nn.Module) -> set[int]:
    own = model.generation_config.eos_token_id
    return set(own) if isinstance(own, list) else {own} - {None}


def _passes(
    samples: Sequence[EncodedSample], batch_size: int, lockstep: Lockstep | None
) -> Iterator[tuple[list[int], list[EncodedSample]]]:
    """Yield the rows of each forward pass and their samples; a filler belongs to no row.

    A pass takes samples of similar length, so that little is padded.
    """
    order = sorted(range(len(samples)), key=lambda row: samples[row].length)
    if lockstep is None:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield rows, [samples[row] for row in rows]
        return
    for kind in lockstep.kinds:
        own = [row for row in order if bool(samples[row].extras) == kind.with_image]
        for number in range(kind.passes):
            rows = own[number * batch_size : (number + 1) * batch_size]
            yield rows, [samples[row] for row in rows] or [kind.filler]
