"""fine_tune: a plain training loop that knows nothing of Ray.

Shapes: B samples, T tokens, V vocabulary entries.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.recipe import Recipe
from trainables.batches import batch_indices, micro_batches
from trainables.collate import Batch, EncodedSample
from trainables.manifest import TrainableManifest
from trainables.optimizer import MasterAdamW
from trainables.parallel import Share, training_forward
from trainables.recompute import recomputed_activations
from trainables.slices import live_tensors


class TrialFailed(RuntimeError):
    """A recipe failed by itself, in the same way on every rank: its trial has no score."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a run stands at a rung.

    Attributes:
        step: Optimiser steps done.
        losses: Mean loss per answer token of each step since the last rung, in nats.
        seconds: Training time since the last rung.
        started_at: Wall-clock time at which the run's first optimiser step began.
        state: Live tensors to go on from, sharded where the model is: see `MasterAdamW.state`.
    """

    step: int
    losses: tuple[float, ...]
    seconds: float
    started_at: float
    state: Mapping[str, Tensor]


def learning_rate_at(step: int, recipe: Recipe) -> float:
    """Return the learning rate of one optimiser step, counted from 0.

    Rises linearly over the warm-up without a step at 0, then follows the recipe's schedule towards 0.
    """
    warmup = math.ceil(recipe.warmup_ratio * recipe.steps)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, recipe.steps - warmup)
    match recipe.schedule:
        case "cosine":
            return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
        case "linear":
            return recipe.learning_rate * (1 - done)
        case "constant":
            return recipe.learning_rate


def answer_loss_sum(logits: Tensor, batch: Batch) -> Tensor:
    """Return the cross-entropy summed over the batch's answer tokens, in nats.

    Args:
        logits: `[B, T, V]`; position t predicts token t + 1.
        batch: The batch that the logits belong to.
    """
    mask = batch.answer_mask[:, 1:]
    return F.cross_entropy(
        logits[:, :-1][mask].float(), batch.inputs["input_ids"][:, 1:][mask], reduction="sum"
    )


def fine_tune(
    model: nn.Module,
    manifest: TrainableManifest,
    recipe: Recipe,
    data: Sequence[EncodedSample],
    *,
    seed: int,
    rungs: Sequence[int],
    pad_token_id: int,
    share: Share | None = None,
    micro_batch_size: int | None = None,
    activation_checkpointing: bool = False,
    resume: Mapping[str, Tensor] | None = None,
) -> Iterator[Progress]:
    """Train the manifest's parameters of a model in place, pausing at each rung.

    The loss of a step is the sum over the answer tokens of the *global* batch divided by their global
    count, so its value and gradient depend neither on how the batch is spread over workers nor on how many
    passes it takes.

    Args:
        model: The base model; its `requires_grad` flags are set here.
        manifest: What to train.
        recipe: How to train it.
        data: The training samples; the same on every rank.
        seed: Fixes the order of the data.
        rungs: Optimiser steps to pause at, rising; the last one ends the run.
        pad_token_id: Fills `input_ids` beyond a sample's end.
        share: This process's share; more than one process needs an initialised process group.
        micro_batch_size: Samples per forward pass and process, whose gradients are accumulated; None takes
            the process's whole share of a step at once.
        activation_checkpointing: Whether activations are computed again in the backward pass.
        resume: An earlier `Progress.state` of the same run, whole, from any number of processes; the run
            goes on after that step.

    Yields:
        The progress at each rung that was not already passed by `resume`.

    Raises:
        TrialFailed: The loss is not finite.
    """
    share = share or Share()
    names = set(manifest.names)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    trained = live_tensors(model, manifest.tensors)
    optimizer = MasterAdamW(trained, weight_decay=recipe.weight_decay, max_grad_norm=recipe.max_grad_norm)
    start = 0
    if resume is not None:
        optimizer.load_state(resume)
        start = int(resume["step"])
    forward = training_forward(model, share)
    losses: list[Tensor] = []
    started_at, began = time.time(), time.perf_counter()
    for step in range(start, recipe.steps):
        indices = batch_indices(step, recipe.batch_size, len(data), seed)
        samples = [data[i] for i in indices]
        passes = list(micro_batches(samples, share, micro_batch_size, pad_token_id))
        tokens = sum(sample.answer_length for sample in samples)
        with recomputed_activations(model) if activation_checkpointing else nullcontext():
            losses.append(_accumulate_gradients(forward, optimizer, passes, tokens, share))
        optimizer.step(learning_rate_at(step, recipe))
        if step + 1 in rungs:
            values = tuple(torch.stack(losses).tolist())
            if not all(map(math.isfinite, values)):
                first = next(i for i, value in enumerate(values) if not math.isfinite(value))
                raise TrialFailed(f"loss is {values[first]} at step {step + 1 - len(values) + first + 1}")
            seconds = time.perf_counter() - began
            yield Progress(
                step=step + 1,
                losses=values,
                seconds=seconds,
                started_at=started_at,
                state={"step": torch.tensor(step + 1), **optimizer.state()},
            )
            losses.clear()
            began = time.perf_counter()
        if step + 1 == rungs[-1]:
            return


def _accumulate_gradients(
    forward: nn.Module, optimizer: MasterAdamW, passes: Sequence[Batch], tokens: int, share: Share
) -> Tensor:
    """Make the forward and backward passes of a step; return its mean loss per answer token, detached.

    Args:
        forward: What `training_forward` returned.
        optimizer: Takes the gradients.
        passes: This process's micro-batches.
        tokens: Answer tokens of the global batch.
        share: This process's share.
    """
    device = next(forward.parameters()).device
    total = torch.zeros((), device=device)
    for batch in passes:
        batch = batch.to(device)
        loss = answer_loss_sum(forward(**batch.inputs, use_cache=False).logits, batch) / tokens
        # Gradients are averaged over the processes; the global loss needs their sum. They are averaged after
        # each pass: under `no_sync` a parameter that only an earlier pass used, such as a vision tower's when
        # the last pass is text alone, would keep each process's own gradient.
        # Text alone gives a vision tower none, in any process: all of them see images or none does.
        if loss.requires_grad:
            (loss * share.size).backward()
            optimizer.take_gradients()
        total += loss.detach()
    if share.size > 1:
        dist.all_reduce(total)
    return total
