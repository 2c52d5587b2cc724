"""Evaluating a model on encoded samples: one teacher-forced pass where that equals greedy decoding.

Greedy decoding writes a reference answer exactly when the arg-max after the prompt and each prefix of the
answer is the answer's next token, the end of sequence included. One forward pass over prompt and answer shows
that for all prefixes at once, so `exact_match` needs no generation. Where a sample has further references,
what the model writes is compared with them.

Shapes: B samples, T tokens, V vocabulary entries, A answer tokens of all samples together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trainables.collate import EncodedSample, collate, pad_token_id
from trainables.data.sample_sets import Picked
from trainables.data.samples import Sample
from trainables.metrics import DEFAULT_DECODING, Decoding, MetricSpec
from trainables.scoring.generation import generated_answers, token_limits
from trainables.scoring.likelihood import choice_log_probs
from trainables.training.lockstep import Lockstep, passes


@dataclass(frozen=True, slots=True)
class TaskOutput:
    """What one pass over a task's samples gave, in the order of the samples.

    Attributes:
        scores: Points of each sample, 0 to 100.
        log_probs: For each of the first `keep` samples, the log-probabilities that predict its answer
            tokens, `[answer tokens, V]`, on the CPU.
        predictions: What the model answered to each sample; empty where it was not asked for.
    """

    scores: list[float]
    log_probs: list[Tensor]
    predictions: list[str] = field(default_factory=list)


# Not in inference mode: what FSDP2 gathers is used in training too.
@torch.no_grad()
def evaluate_task(
    model: nn.Module,
    tokenizer: Any,
    encoded: Sequence[EncodedSample],
    *,
    samples: Sequence[Sample],
    metric: MetricSpec,
    decoding: Decoding = DEFAULT_DECODING,
    batch_size: int,
    keep: int,
    scored: int | None = None,
    predict: bool = False,
    lockstep: Lockstep | None = None,
) -> TaskOutput:
    """Score a model on one task.

    Args:
        model: The model, in evaluation mode.
        tokenizer: Its tokenizer.
        encoded: The task's samples as the model takes them.
        samples: The same samples, in the same order.
        metric: How an answer is scored.
        decoding: How answers are written where they are.
        batch_size: Samples per forward pass.
        keep: Number of leading samples whose log-probabilities are returned.
        scored: Number of leading samples that are scored; None is all.
        predict: Whether to return what the model answered. With `exact_match` this is the reference answer
            where it is right, and written by the model where it is not.
        lockstep: What the processes of a sharded model do alike; None for a whole one.
    """
    run = _Run(model, tokenizer, encoded, samples, decoding, batch_size, lockstep)
    samples = samples[:scored]
    rows = range(len(samples))
    match metric.metric.measured:
        case "teacher_forcing":
            exact, log_probs = run.forced(keep, all_samples=True)
            scores, predictions = run.exact_match(exact[:scored], predict)
        case "generation":
            _, log_probs = run.forced(keep)
            predictions = run.written(rows)
            scores = [
                metric.score(written, sample.accepted)
                for written, sample in zip(predictions, samples, strict=True)
            ]
        case "likelihood":
            _, log_probs = run.forced(keep)
            predictions = run.chosen(rows, per_byte=metric.metric.per_byte)
            scores = [
                100.0 if choice in sample.accepted else 0.0
                for choice, sample in zip(predictions, samples, strict=True)
            ]
    return TaskOutput(scores, log_probs, predictions if predict else [])


@dataclass(frozen=True, slots=True)
class _Run:
    """One model on one task's samples; see `evaluate_task`."""

    model: nn.Module
    tokenizer: Any
    encoded: Sequence[EncodedSample]
    samples: Sequence[Sample]
    decoding: Decoding
    batch_size: int
    lockstep: Lockstep | None

    def forced(self, keep: int, *, all_samples: bool = False) -> tuple[list[bool], list[Tensor]]:
        """Go along with the reference answers.

        Args:
            keep: Number of leading samples whose log-probabilities are returned.
            all_samples: Whether the others matter, too.

        Returns:
            Whether greedy decoding writes each sample's answer, where that was looked at; and for each of the
            first samples the log-probabilities that predict its answer, `[answer tokens, V]`.
        """
        device = next(self.model.parameters()).device
        exact = [False] * len(self.encoded)
        log_probs: dict[int, Tensor] = {}
        all_samples |= self.lockstep is not None
        encoded = self.encoded if all_samples else Picked(self.encoded, range(min(keep, len(self.encoded))))
        for rows, chosen in passes(encoded, self.batch_size, self.lockstep):
            batch = collate(chosen, pad_token_id(self.tokenizer)).to(device)
            logits = self.model(**batch.inputs, use_cache=False).logits
            if not rows:
                continue
            mask = batch.answer_mask[:, 1:]
            right = (logits[:, :-1].argmax(-1) == batch.inputs["input_ids"][:, 1:]) | ~mask
            for position, (row, same) in enumerate(zip(rows, right.all(-1).tolist(), strict=True)):
                exact[row] = same
                if row < keep:
                    answer = logits[position, :-1][mask[position]]
                    log_probs[row] = answer.float().log_softmax(-1).cpu()
        return exact, [log_probs[row] for row in sorted(log_probs)]

    def exact_match(self, exact: Sequence[bool], predict: bool) -> tuple[list[float], list[str]]:
        """Return points and predictions of the first samples.

        Args:
            exact: Whether greedy decoding writes the answer of each of them.
            predict: Whether the predictions of wrong samples matter.
        """
        samples = self.samples[: len(exact)]
        several = [len(set(sample.accepted)) > 1 for sample in samples]
        written: dict[int, str] = {}
        if self.lockstep is None:
            rows = [row for row, same in enumerate(exact) if not same and (predict or several[row])]
            written = dict(zip(rows, self.written(rows), strict=True))
        elif predict or self.lockstep.several:
            # All processes write as often, however many of their own answers are right.
            written = dict(enumerate(self.written(range(len(exact)))))
        scores, predictions = [], []
        for row, (same, sample) in enumerate(zip(exact, samples, strict=True)):
            answer = sample.answer if same else written.get(row, "")
            other = several[row] and answer in {text.strip() for text in sample.accepted}
            scores.append(100.0 if same or other else 0.0)
            predictions.append(answer)
        return scores, predictions

    def written(self, rows: Sequence[int]) -> list[str]:
        """Return what the model writes for some samples, without white space around it."""
        encoded = Picked(self.encoded, rows)
        samples = [self.samples[row] for row in rows]
        answers = generated_answers(
            self.model,
            self.tokenizer,
            encoded,
            self.batch_size,
            self.lockstep,
            limits=token_limits(self.tokenizer, encoded, samples, self.decoding),
            stop=self.decoding.stop,
        )
        return [answer.strip() for answer in answers]

    def chosen(self, rows: Sequence[int], *, per_byte: bool) -> list[str]:
        """Return, for some samples, the choice that the model finds most probable, of equals the first.

        Args:
            rows: Which samples.
            per_byte: Whether a choice's log-probability is divided by its length in bytes of UTF-8.
        """
        encoded = Picked(self.encoded, rows)
        sums = choice_log_probs(self.model, self.tokenizer, encoded, self.batch_size, self.lockstep)
        best = []
        for sample, own in zip((self.samples[row] for row in rows), sums, strict=True):
            weights = own
            if per_byte:
                weights = [
                    value / len(choice.encode()) for value, choice in zip(own, sample.choices, strict=True)
                ]
            best.append(sample.choices[weights.index(max(weights))])
        return best
