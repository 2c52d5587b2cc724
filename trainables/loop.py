"""fine_tune: a plain training loop that knows nothing of Ray.

Shapes: B samples, T tokens, V vocabulary entries.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from spaces.recipe import Recipe
from trainables.collate import Batch, EncodedSample, collate
from trainables.manifest import TrainableManifest


class TrialFailed(RuntimeError):
    """A recipe failed by itself, in the same way on every rank: its trial has no score."""


@dataclass(frozen=True, slots=True)
class Shard:
    """This process's share of a data-parallel group.

    Attributes:
        rank: Index of this process.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a run stands at a rung.

    Attributes:
        step: Optimiser steps done.
        losses: Mean loss per answer token of each step since the last rung, in nats.
        seconds: Training time since the last rung.
        started_at: Wall-clock time at which the run's first optimiser step began.
        state: Tensors to go on from: trained parameters (`parameter/<name>`) and AdamW's moments.
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


def batch_indices(step: int, batch_size: int, n: int, seed: int) -> list[int]:
    """Return the samples of one optimiser step: each epoch is a permutation that depends on the seed.

    Args:
        step: Optimiser step, counted from 0.
        batch_size: Samples per step, over all workers.
        n: Number of training samples.
        seed: The trial's seed.
    """
    positions = range(step * batch_size, (step + 1) * batch_size)
    epochs = {position // n for position in positions}
    orders = {epoch: np.random.default_rng((seed, epoch)).permutation(n) for epoch in epochs}
    return [int(orders[position // n][position % n]) for position in positions]


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
    shard: Shard | None = None,
    resume: Mapping[str, Tensor] | None = None,
) -> Iterator[Progress]:
    """Train the manifest's parameters of a model in place, pausing at each rung.

    The loss of a step is the sum over the answer tokens of the *global* batch divided by their global
    count, so its value and gradient do not depend on how the batch is spread over workers.

    Args:
        model: The base model; its `requires_grad` flags are set here.
        manifest: What to train.
        recipe: How to train it.
        data: The training samples; the same on every rank.
        seed: Fixes the order of the data.
        rungs: Optimiser steps to pause at, rising; the last one ends the run.
        pad_token_id: Fills `input_ids` beyond a sample's end.
        shard: This process's share; more than one process needs an initialised process group.
        resume: An earlier `Progress.state` of the same run; it goes on after that step.

    Yields:
        The progress at each rung that was not already passed by `resume`.

    Raises:
        TrialFailed: The loss is not finite.
    """
    shard = shard or Shard()
    names = set(manifest.names)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    trained = {name: p for name, p in model.named_parameters() if name in names}
    optimizer = torch.optim.AdamW(
        trained.values(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    start = 0 if resume is None else _load_state(resume, trained, optimizer)
    # Some parameters of a subset may have no part in the forward pass, such as a vision tower's last norm.
    forward = DistributedDataParallel(model, find_unused_parameters=True) if shard.size > 1 else model
    losses: list[Tensor] = []
    started_at, began = time.time(), time.perf_counter()
    for step in range(start, recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, recipe)
        losses.append(_train_step(forward, trained, optimizer, recipe, data, step, seed, pad_token_id, shard))
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
                state=_state(step + 1, trained, optimizer),
            )
            losses.clear()
            began = time.perf_counter()
        if step + 1 == rungs[-1]:
            return


def _train_step(
    forward: nn.Module,
    trained: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    data: Sequence[EncodedSample],
    step: int,
    seed: int,
    pad_token_id: int,
    shard: Shard,
) -> Tensor:
    """Take one optimiser step; return the global batch's mean loss per answer token, detached."""
    chosen = [data[i] for i in batch_indices(step, recipe.batch_size, len(data), seed)]
    tokens = sum(sample.answer_length for sample in chosen)
    share = len(chosen) // shard.size
    own = chosen[shard.rank * share : (shard.rank + 1) * share]
    device = next(iter(trained.values())).device
    batch = collate(own, pad_token_id).to(device)
    loss = answer_loss_sum(forward(**batch.inputs).logits, batch) / tokens
    # DistributedDataParallel averages gradients over the ranks; the global loss needs their sum.
    (loss * shard.size).backward()
    if recipe.max_grad_norm > 0:
        nn.utils.clip_grad_norm_(trained.values(), recipe.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    total = loss.detach()
    if shard.size > 1:
        dist.all_reduce(total)
    return total


def _state(
    step: int, trained: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Return the live tensors that a run goes on from; a caller that keeps them must copy."""
    state = {"step": torch.tensor(step)}
    for name, parameter in trained.items():
        state[f"parameter/{name}"] = parameter.detach()
        for key, moment in optimizer.state.get(parameter, {}).items():
            state[f"{key}/{name}"] = moment
    return state


def _load_state(
    state: Mapping[str, Tensor], trained: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> int:
    """Restore what `_state` returned; return the number of steps done."""
    for name, parameter in trained.items():
        with torch.no_grad():
            parameter.copy_(state[f"parameter/{name}"])
        moments = {
            key: state[f"{key}/{name}"].to(parameter.device, copy=True)
            for key in ("step", "exp_avg", "exp_avg_sq")
            if f"{key}/{name}" in state
        }
        if moments:
            optimizer.state[parameter] = moments
    return int(state["step"])
