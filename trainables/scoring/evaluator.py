"""Evaluator: a study's search splits, and what a model scores on them; plain torch, without Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from trainables.collate import EncodedSample, Encoder
from trainables.data.sample_sets import load_samples
from trainables.data.samples import Sample
from trainables.drift import kl_divergence
from trainables.evaluate import evaluate_task
from trainables.scoring.evaluation import Evaluation
from trainables.scoring.lm_eval_scoring import LmEvalScorer
from trainables.training.lockstep import Lockstep
from trainables.training.parallel import Share
from trainables.workers.jobs import TaskData, WorkerSetup


class Evaluator:
    """Evaluates one model on every task, each process its share of the samples.

    Args:
        setup: The tasks, and how they are evaluated.
        model: The model; what is evaluated is what it is at the time.
        encoder: Encodes its samples.
        share: This process's share.
    """

    def __init__(self, setup: WorkerSetup, model: nn.Module, encoder: Encoder, share: Share) -> None:
        self._setup = setup
        self._model = model
        self._tokenizer = encoder.tokenizer
        self._share = share
        # Each rank scores every size-th sample; `_gather` puts them back in order.
        self._samples = {task.name: self._own_samples(task, encoder) for task in setup.tasks}
        self._lockstep: dict[tuple[str, bool], Lockstep] = {}
        if share.sharded:
            self._lockstep = {
                (task.name, early): Lockstep.of(
                    self._passed(task, early), share.size, setup.eval_batch_size, encoder
                )
                for task in setup.tasks
                for early in (False, True)
            }
        self._scorers = {
            task.name: LmEvalScorer(task.harness, task.search, model, encoder, share, setup.eval_batch_size)
            for task in setup.tasks
            if task.harness is not None
        }
        self._base_log_probs: Mapping[str, Sequence[Tensor]] | None = None

    def _own_samples(self, task: TaskData, encoder: Encoder) -> Sequence[EncodedSample]:
        own = slice(self._share.rank, None, self._share.size)
        if (folder := self._setup.encoded.get(f"{task.name}/search")) is None:
            return load_samples(None, task.search[own], encoder)
        return load_samples(folder, task.search, encoder)[own]

    def evaluate_base(self, *, predictions: bool = False) -> dict[str, Evaluation]:
        """Evaluate the model, which must be the base, and keep what drift is measured from.

        Args:
            predictions: Whether the evaluations tell what the model answered.
        """
        evaluations, self._base_log_probs = self.evaluate(predictions=predictions)
        return evaluations

    def prepare_for_drift(self) -> None:
        """Evaluate the model, which must be the base, unless that was done before."""
        if self._base_log_probs is None:
            self.evaluate_base()

    def evaluate_tuned(
        self, *, predictions: bool = False, early: bool = False
    ) -> tuple[dict[str, Evaluation], dict[str, float]]:
        """Evaluate the model as it is; return the evaluations and `drift/...` -> nats per answer token.

        `prepare_for_drift` must have been called.

        Args:
            predictions: Whether the evaluations tell what the model answered.
            early: Whether this is a rung before a trial's last: it is scored on `rung_samples` alone. Drift
                is measured on the same samples at every rung.
        """
        assert self._base_log_probs is not None
        evaluations, log_probs = self.evaluate(predictions=predictions, early=early)
        drift = {}
        for role, metric in (("target", "drift/kl_target"), ("held_out", "drift/kl_held_out")):
            names = [task.name for task in self._setup.tasks if task.role == role]
            base = [p for name in names for p in self._base_log_probs[name]]
            tuned = [p for name in names for p in log_probs[name]]
            drift[metric] = self._mean_over_ranks(base, tuned)
        return evaluations, drift

    def evaluate(
        self, *, predictions: bool = False, early: bool = False
    ) -> tuple[dict[str, Evaluation], dict[str, Sequence[Tensor]]]:
        """Evaluate the model as it is on every task.

        Args:
            predictions: Whether the evaluations tell what the model answered.
            early: Whether it is scored on the first `rung_samples` of each task alone.

        Returns:
            The evaluations, the same on every rank, and this rank's share of the log-probabilities that
            drift is measured on.
        """
        evaluations: dict[str, Evaluation] = {}
        log_probs: dict[str, Sequence[Tensor]] = {}
        for task in self._setup.tasks:
            scorer = self._scorers.get(task.name)
            own = self._passed(task, early)[self._share.rank :: self._share.size]
            scored = self._scored(task, early)
            output = evaluate_task(
                self._model,
                self._tokenizer,
                self._samples[task.name][: len(own)],
                samples=own,
                metric=task.metric,
                decoding=task.decoding,
                batch_size=self._setup.eval_batch_size,
                keep=self._own(self._setup.drift_samples, task),
                scored=self._own(scored, task),
                predict=predictions and scorer is None,
                lockstep=self._lockstep.get((task.name, early)),
            )
            if scorer is not None:
                output = scorer.score(output.log_probs, scored)
            evaluations[task.name] = Evaluation(
                task=task.name,
                scores=self._gather(output.scores, scored),
                direction=task.metric.metric.direction,
                predictions=self._gather(output.predictions, scored) if predictions else (),
            )
            log_probs[task.name] = output.log_probs
        return evaluations, log_probs

    def _scored(self, task: TaskData, early: bool) -> int:
        """Return how many of the task's first samples are scored."""
        return len(task.search[: self._setup.rung_samples if early else None])

    def _passed(self, task: TaskData, early: bool) -> Sequence[Sample]:
        """Return the samples that go through the model here: those of drift, and those that it scores."""
        scored = self._scored(task, early) if task.harness is None else 0
        return task.search[: max(scored, self._setup.drift_samples)]

    def _own(self, first: int, task: TaskData) -> int:
        """Return how many of the task's first samples fall to this rank."""
        return len(range(self._share.rank, min(first, len(task.search)), self._share.size))

    def _gather(self, own: list[Any], total: int) -> tuple[Any, ...]:
        merged = [None] * total
        for rank, part in enumerate(self._share.from_all(own)):
            merged[rank :: self._share.size] = part
        return tuple(merged)

    def _mean_over_ranks(self, base: list[Tensor], tuned: list[Tensor]) -> float:
        tokens = sum(len(p) for p in base)
        parts = self._share.from_all((kl_divergence(base, tuned) * tokens if base else 0.0, tokens))
        return sum(total for total, _ in parts) / sum(count for _, count in parts)
