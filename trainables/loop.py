"""fine_tune: a plain training loop that knows nothing of Ray."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from spaces.recipe import Recipe
from trainables.collate import EncodedSample
from trainables.data.sample_sets import Chain, batches_of
from trainables.manifest import TrainableManifest
from trainables.training.batches import DataOrder, micro_batches
from trainables.training.optimizer import MasterAdamW
from trainables.training.parallel import Share
from trainables.training.passes import Passes
from trainables.weights.slices import live_tensors

# What the CPU's allocator says, and oneDNN, which then can't build the code of an operation.
_NO_MEMORY: Final = ("can't allocate memory", "could not create a primitive")

LOSSES: Final = "losses"
"""In the state of a run that stopped between two rungs: the loss of each step since the one before."""


class TrialFailed(RuntimeError):
    """A recipe failed by itself, in the same way on every rank: its trial has no score."""


class StepTooLarge(RuntimeError):
    """An optimiser step took more memory than there is; this says what the allocator did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a run stands at a rung.

    Attributes:
        step: Optimiser steps done.
        losses: Mean loss per answer token of each step since the last rung, in nats; with distillation its
            term is a part of it, while the pull of L2-SP is none.
        seconds: Training time since the last rung.
        started_at: Wall-clock time at which the run's first optimiser step began.
        state: Live tensors to go on from, sharded where the model is: see `MasterAdamW.state`.
        stopped: Whether this is no rung, but where a run had to stop between two.
    """

    step: int
    losses: tuple[float, ...]
    seconds: float
    started_at: float
    state: Mapping[str, Tensor]
    stopped: bool = False


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


def fine_tune(
    model: nn.Module,
    manifest: TrainableManifest,
    recipe: Recipe,
    data: Sequence[EncodedSample],
    *,
    seed: int,
    rungs: Sequence[int],
    pad_token_id: int,
    replay: Sequence[EncodedSample] = (),
    base: Mapping[str, Tensor] | None = None,
    share: Share | None = None,
    micro_batch_size: int | None = None,
    activation_checkpointing: bool = False,
    resume: Mapping[str, Tensor] | None = None,
    stops: Callable[[], bool] = bool,
) -> Iterator[Progress]:
    """Train what a manifest names of a model in place, pausing at each rung.

    The loss of a step is the sum over the answer tokens of the *global* batch divided by their global
    count, so its value and gradient depend neither on how the batch is spread over workers nor on how many
    passes it takes. Only with an adapter's dropout do they, for each process draws its own.

    Args:
        model: The base model, with the manifest's adapters in it if there are any (see `borrowed`); its
            `requires_grad` flags are set here.
        manifest: What to train.
        recipe: How to train it.
        data: The training samples; the same on every rank.
        seed: Fixes the order of the data and the adapters' dropout.
        rungs: Optimiser steps to pause at, rising; the last one ends the run.
        pad_token_id: Fills `input_ids` beyond a sample's end.
        replay: Samples that the recipe's `replay_ratio` of each batch is drawn from.
        base: Key -> the trained elements as the base has them, for recipes that look back at it; never
            written to. None copies them if they are needed.
        share: This process's share; more than one process needs an initialised process group.
        micro_batch_size: Samples per forward pass and process, whose gradients are accumulated; None takes
            the process's whole share of a step at once.
        activation_checkpointing: Whether activations are computed again in the backward pass.
        resume: An earlier `Progress.state` of the same run, whole, from any number of processes; the run
            goes on after that step.
        stops: Tells whether this process has to stop; then all of them do, after their step.

    Yields:
        The progress at each rung that was not already passed by `resume`; at last, where it had to stop.

    Raises:
        ValueError: The recipe replays samples, and there are none.
        TrialFailed: The loss is not finite.
        StepTooLarge: A step took more memory than there is.
    """
    share = share or Share()
    order = DataOrder.of(recipe, len(data), len(replay), seed)
    optimizer = _optimizer_of(model, manifest, recipe, base)
    start, losses = _taken_up(resume, optimizer, next(model.parameters()).device)
    passes = Passes(
        model,
        manifest,
        recipe,
        optimizer,
        share,
        seed=seed,
        activation_checkpointing=activation_checkpointing,
    )
    started_at, began = time.time(), time.perf_counter()

    def progress(step: int, values: tuple[float, ...], more: Mapping[str, Tensor], stopped: bool) -> Progress:
        return Progress(
            step=step,
            losses=values,
            seconds=time.perf_counter() - began,
            started_at=started_at,
            state={"step": torch.tensor(step), **more, **optimizer.state()},
            stopped=stopped,
        )

    steps = range(start, min(recipe.steps, rungs[-1]))
    with closing(batches_of(Chain((data, replay)), map(order.batch, steps))) as batches:
        for step, samples in zip(steps, batches, strict=True):
            tokens = sum(sample.taught_length for sample in samples)
            with _memory_errors_told():
                batch = list(micro_batches(samples, share, micro_batch_size, pad_token_id))
                loss, stopped = passes.accumulate(step, batch, tokens, stops=stops())
                losses.append(loss)
                optimizer.step(learning_rate_at(step, recipe))
            if stopped and step + 1 not in rungs:
                yield progress(step + 1, (), {LOSSES: torch.stack(losses)}, stopped=True)
                return
            if step + 1 in rungs:
                yield progress(step + 1, _finite(losses, step + 1), {}, stopped=False)
                losses.clear()
                began = time.perf_counter()


def _optimizer_of(
    model: nn.Module, manifest: TrainableManifest, recipe: Recipe, base: Mapping[str, Tensor] | None
) -> MasterAdamW:
    """Set the model's `requires_grad` flags and return the optimiser of what is trained."""
    names = set(manifest.names)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    trained = live_tensors(model, manifest.tensors)
    if base is None and (recipe.lwf_weight > 0 or recipe.l2sp_weight > 0):
        base = {key: live.value.clone() for key, live in trained.items()}
    return MasterAdamW(
        trained,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        base=base,
        l2sp_weight=recipe.l2sp_weight,
    )


def _taken_up(
    resume: Mapping[str, Tensor] | None, optimizer: MasterAdamW, device: torch.device
) -> tuple[int, list[Tensor]]:
    """Set what is trained to where a run stood; return its step, and the losses since the rung before."""
    if resume is None:
        return 0, []
    optimizer.load_state(resume)
    losses = list(resume[LOSSES].to(device).unbind()) if LOSSES in resume else []
    return int(resume["step"]), losses


@contextmanager
def _memory_errors_told() -> Iterator[None]:
    """Raise StepTooLarge where memory is wanting; the CPU's allocator raises a plain RuntimeError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        said = " ".join(str(error).split())
        own = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if own or any(words in said for words in _NO_MEMORY):
            raise StepTooLarge(f"{type(error).__name__}: {said}") from None
        raise


def _finite(losses: Sequence[Tensor], step: int) -> tuple[float, ...]:
    """Return the losses of the steps up to `step`, or raise TrialFailed."""
    values = tuple(torch.stack(list(losses)).tolist())
    for index, value in enumerate(values):
        if not math.isfinite(value):
            raise TrialFailed(f"loss is {value} at step {step - len(values) + index + 1}")
    return values
