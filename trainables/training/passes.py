"""The forward and backward passes of one optimiser step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from spaces.recipe import Recipe
from trainables.collate import Batch
from trainables.manifest import TrainableManifest
from trainables.training.losses import answer_logits, answer_loss_sum, distillation_loss_sum
from trainables.training.optimizer import MasterAdamW
from trainables.training.parallel import Share, average_gradients, training_forward
from trainables.training.recompute import recomputed_activations
from trainables.weights.lora import adapter_dropout


class Passes:
    """How a recipe's gradients come about.

    Args:
        model: The model, with `requires_grad` set on what is trained.
        manifest: What is trained.
        recipe: What is minimised.
        optimizer: Takes the gradients, and knows the base.
        share: This process's share.
        seed: Fixes the adapters' dropout.
        activation_checkpointing: Whether activations are computed again in the backward pass.
    """

    def __init__(
        self,
        model: nn.Module,
        manifest: TrainableManifest,
        recipe: Recipe,
        optimizer: MasterAdamW,
        share: Share,
        *,
        seed: int,
        activation_checkpointing: bool,
    ) -> None:
        self._model = model
        self._forward = training_forward(model, share)
        self._recipe = recipe
        self._optimizer = optimizer
        self._share = share
        self._seed = seed
        self._recomputed = activation_checkpointing
        adapters = manifest.adapters
        self._dropout = adapters is not None and adapters.dropout > 0
        # FSDP averages what it has spread itself, and adapters are put into a model that it has spread.
        self._averaged = manifest.names if share.sharded and adapters is not None else ()

    def accumulate(
        self, step: int, batches: Sequence[Batch], tokens: int, *, stops: bool = False
    ) -> tuple[Tensor, bool]:
        """Make the passes of a step.

        Args:
            step: Optimiser step, counted from 0.
            batches: This process's micro-batches.
            tokens: Answer tokens of the global batch.
            stops: Whether this process has to stop after the step.

        Returns:
            The mean loss per answer token, detached, and whether any process has to stop.
        """
        device = next(self._model.parameters()).device
        total = torch.zeros((), device=device)
        with ExitStack() as stack:
            if self._recomputed:
                stack.enter_context(recomputed_activations(self._model))
            if self._dropout:
                stack.enter_context(_seeded(self._seed, step, self._share.rank))
            for batch in batches:
                total += self._pass(batch.to(device), tokens)
        if self._share.size == 1:
            return total, stops
        # One collective for both.
        both = torch.stack((total, total.new_tensor(float(stops))))
        dist.all_reduce(both)
        return both[0], bool(both[1] > 0)

    def _pass(self, batch: Batch, tokens: int) -> Tensor:
        taught = self._teacher_logits(batch) if self._recipe.lwf_weight > 0 else None
        with adapter_dropout(self._model) if self._dropout else nullcontext():
            loss = self._loss_sum(batch, taught) / tokens
            # Gradients are averaged over the processes; the global loss needs their sum. They are averaged
            # after each pass: under `no_sync` a parameter that only an earlier pass used, such as a vision
            # tower's when the last pass is text alone, would keep each process's own gradient.
            # Text alone gives a vision tower none, in any process: all of them see images or none does.
            if loss.requires_grad:
                (loss * self._share.size).backward()
                if self._averaged:
                    average_gradients(self._model.get_parameter(name) for name in self._averaged)
                self._optimizer.take_gradients()
        return loss.detach()

    def _loss_sum(self, batch: Batch, taught: Tensor | None) -> Tensor:
        """Return what a batch adds to the loss; its logits are freed before the backward pass."""
        logits = self._forward(**batch.inputs, use_cache=False).logits
        loss = answer_loss_sum(logits, batch)
        if taught is None:
            return loss
        learnt = answer_logits(logits, batch)
        distilled = distillation_loss_sum(learnt, taught, self._recipe.lwf_temperature)
        return loss + self._recipe.lwf_weight * distilled

    def _teacher_logits(self, batch: Batch) -> Tensor:
        """Return the base's logits of a batch's answer tokens, `[A, V]`."""
        with torch.no_grad(), self._optimizer.base_in_model():
            return answer_logits(self._model(**batch.inputs, use_cache=False).logits, batch)


@contextmanager
def _seeded(seed: int, step: int, rank: int) -> Iterator[None]:
    """Seed torch's generators for a step, so that a run which goes on draws what an undisturbed one does."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        state = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0]))
        yield
