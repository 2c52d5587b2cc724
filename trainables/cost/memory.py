"""How much memory one worker of a trial needs, from the manifest and the model's shapes; nothing is loaded.

What lives as long as a trial is a sum over elements (as in Rajbhandari et al., arXiv 1910.02054, section 3);
what lives during a pass is measured on the meta device (`activations.py`). The parts are added up as if their
peaks met, so the sum is an upper bound but for the allocator's losses, for which a share is added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Final, NamedTuple

from torch import nn

from trainables.cost.activations import Device, evaluation_bytes, training_bytes
from trainables.cost.sample_shape import SampleShape
from trainables.manifest import Adapters, TrainableManifest
from trainables.training.parallel import layers_of
from trainables.weights.lora import adapted

GIB: Final = 1024**3

# Bytes that one trained element takes besides its weight, by the size of the model's own type. A model that
# is not fp32 has gradients of its type, which are added up in fp32, and an fp32 master that AdamW steps.
BYTES_PER_TRAINED: Final[Mapping[int, Mapping[str, int]]] = {
    4: {"saved_base": 4, "gradients": 4, "optimizer": 4 + 4},
    2: {"saved_base": 2, "gradients": 2 + 4, "optimizer": 4 + 4 + 4},
}
# A CUDA context with cuBLAS's workspace, once per process; NCCL's buffers, once per process of a group.
CUDA_CONTEXT_BYTES: Final = 3 * GIB // 4
NCCL_BYTES: Final = GIB // 2
# Share of everything else that the caching allocator may lose between its blocks.
FRAGMENTATION: Final = 0.05
# A process that has loaded Python, torch, transformers and Ray.
CPU_PROCESS_BYTES: Final = GIB // 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """How one worker carries out a trial.

    Attributes:
        workers: Workers of the trial.
        sharded: Whether each holds a shard of the model instead of a replica.
        micro_batch: Samples per forward pass and worker.
        checkpointing: Whether activations are computed again in the backward pass.
        eval_batch: Samples per forward pass of an evaluation.
    """

    workers: int = 1
    sharded: bool = False
    micro_batch: int
    checkpointing: bool = False
    eval_batch: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryEstimate:
    """What one worker needs, in bytes.

    Attributes:
        weights: The model, or this worker's shard of it.
        saved_base: Copy of the trained parameters that restores the base.
        gradients: Gradients of the trained parameters.
        optimizer: AdamW's two moments, and the fp32 masters of a model of another type.
        activations: Peak of a training pass or, where that is more, of an evaluation, which takes the place
            of the gradients too.
        overhead: Device context, communication, layers gathered from shards, the allocator's losses.
        by_formula: Whether activations come from a formula, since the architecture can't be measured.
    """

    weights: int
    saved_base: int
    gradients: int
    optimizer: int
    activations: int
    overhead: int
    by_formula: bool = False

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return self.resident + self.activations + self.overhead

    @property
    def resident(self) -> int:
        """What a trial holds between two passes."""
        return self.weights + self.saved_base + self.gradients + self.optimizer

    def to_dict(self) -> dict[str, Any]:
        """Return the parts and their sum as plain values."""
        return {**asdict(self), "total": self.total}


class _Passes(NamedTuple):
    """What a training pass's activations depend on, besides samples and recomputation."""

    trained: frozenset[str]
    adapters: Adapters | None
    distilled: bool


class Estimator:
    """Estimates for the subsets of one model; a pass is measured once for all subsets that train alike.

    Args:
        skeleton: The model on the meta device.
        sample: The largest sample.
        device: What the workers compute on.
    """

    def __init__(self, skeleton: nn.Module, sample: SampleShape, device: Device) -> None:
        self._skeleton = skeleton
        self._sample = sample
        self._device = device
        self._units = _gathered_together(skeleton)
        self._training = cache(self._measure_training)
        self._evaluation = cache(self._measure_evaluation)

    def estimate(self, manifest: TrainableManifest, load: Load) -> MemoryEstimate:
        """Return what one worker needs.

        Args:
            manifest: What the trial trains.
            load: How it is carried out.
        """
        states = state_bytes(manifest, load)
        passes = _Passes(frozenset(manifest.names), manifest.adapters, manifest.distilled)
        training, by_formula = self._training(passes, load.micro_batch, load.checkpointing)
        evaluation, _ = self._evaluation(manifest.adapters, load.eval_batch)
        activations = max(training, evaluation - states["gradients"])
        held = sum(states.values()) + activations
        return MemoryEstimate(
            **states,
            activations=activations,
            overhead=self._overhead(manifest, load, held),
            by_formula=by_formula,
        )

    def least(self, manifest: TrainableManifest, load: Load) -> int:
        """Return what a worker needs before any activation: a bound below `estimate`, without measuring."""
        held = sum(state_bytes(manifest, load).values())
        return held + self._overhead(manifest, load, held)

    def _overhead(self, manifest: TrainableManifest, load: Load, held: int) -> int:
        if self._device == "cpu":
            context, lost = CPU_PROCESS_BYTES, 0.0
        else:
            context = CUDA_CONTEXT_BYTES + (NCCL_BYTES if load.workers > 1 else 0)
            lost = FRAGMENTATION * held
        return context + self._communication(manifest, load) + math.ceil(lost)

    def _communication(self, manifest: TrainableManifest, load: Load) -> int:
        """Return what workers hold for a moment to exchange gradients, and weights if these are sharded."""
        if load.workers == 1:
            return 0
        size = _item_bytes(manifest)
        counts = manifest.count_by_name()
        if not load.sharded:
            # DDP averages a bucket in fp32; one is at least as large as the largest parameter.
            return max(25 * 1024**2 // size, *counts.values()) * (4 if size == 4 else 8)
        gathered = [
            (sum(unit.values()) * size, sum(counts.get(name, 0) for name in unit) * (size + 4))
            for unit in self._units
        ]
        # What lies outside the layers stays gathered during a pass; of the layers two do, for one is fetched
        # ahead, and the gradient of one is gathered, in the model's type and in fp32 to be summed.
        (outside, outside_gradient), *layers = gathered
        weights = max((weight for weight, _ in layers), default=0)
        gradient = max((gradient for _, gradient in layers), default=0)
        # A parameter that is trained in part is gathered with its gradient to be cut. Adapters aren't spread.
        wholes = [whole for _, whole in manifest.cut.values()] if manifest.adapters is None else []
        cut = 2 * size * max(wholes, default=0)
        return outside + outside_gradient + 2 * weights + gradient + cut

    def _measure_training(self, passes: _Passes, batch: int, checkpointing: bool) -> tuple[int, bool]:
        try:
            with adapted(self._skeleton, passes.adapters):
                measured = training_bytes(
                    self._skeleton,
                    passes.trained,
                    self._sample,
                    batch,
                    checkpointing=checkpointing,
                    distilled=passes.distilled,
                    device=self._device,
                )
            return measured, False
        except _NEEDS_VALUES:
            return formula_bytes(self._skeleton, self._sample, batch, checkpointing=checkpointing), True

    def _measure_evaluation(self, adapters: Adapters | None, batch: int) -> tuple[int, bool]:
        try:
            with adapted(self._skeleton, adapters):
                return evaluation_bytes(self._skeleton, self._sample, batch, device=self._device), False
        except _NEEDS_VALUES:
            return formula_bytes(self._skeleton, self._sample, batch, checkpointing=True), True


# What a forward pass raises that looks at values, or takes other inputs than the families known so far.
_NEEDS_VALUES = (RuntimeError, NotImplementedError, AttributeError, TypeError, ValueError)


def state_bytes(manifest: TrainableManifest, load: Load) -> dict[str, int]:
    """Return what lives as long as a trial, in bytes by the names of `MemoryEstimate`'s parts.

    | part         | of            | fp32 model | bf16 model               |
    |--------------|---------------|------------|--------------------------|
    | `weights`    | all elements  | 4          | 2                        |
    | `saved_base` | trained ones  | 4          | 2                        |
    | `gradients`  | trained ones  | 4          | 2 + 4 (added up in fp32) |
    | `optimizer`  | trained ones  | 4 + 4      | 4 (master) + 4 + 4       |

    A parameter that is trained in part has a whole gradient in the model's type, and a master of the trained
    elements in any type, with a gradient in fp32. A replica is held by every worker, a sharded model by all
    of them together, but for adapters, which each of them holds whole. To ask the base for its output, an
    fp32 model puts its trained elements aside; another type's masters bring them back.
    """
    size = _item_bytes(manifest)
    parts = {"weights": size * manifest.total}
    parts |= {part: count * manifest.count for part, count in BYTES_PER_TRAINED[size].items()}
    if manifest.distilled and size == 4:
        parts["saved_base"] += size * manifest.count
    cut = manifest.cut.values()
    own, whole = sum(count for count, _ in cut), sum(size for _, size in cut)
    if size == 4:
        parts["gradients"] += 4 * whole
        parts["optimizer"] += 4 * own
    else:
        parts["gradients"] += size * (whole - own)
    shards = load.workers if load.sharded else 1
    if manifest.adapters is not None:
        weights = math.ceil(parts["weights"] / shards) + size * manifest.tensor_elements
        return {**parts, "weights": weights}
    return {part: math.ceil(count / shards) for part, count in parts.items()}


def formula_bytes(model: nn.Module, sample: SampleShape, batch: int, *, checkpointing: bool) -> int:
    """Return activations by a formula, for a model that can't run on the meta device.

    Korthikanti et al. (arXiv 2205.05198, equation 2) count `34 s b h` bytes for a layer in 16 bits whose
    attention matrices are not kept. Their MLP is 4 h wide and not gated, and their norms keep 16 bits, so for
    item size d, hidden size h and MLP width i: `s b (d (16 h + 4 i) + 16 h)` for a layer, `s b h d` for one
    whose activations are computed again, and three times the logits in d and once in fp32. Of experts, those
    that a token takes count together; where a configuration doesn't tell the width, it is 4 h.
    """
    config = model.config.get_text_config()
    size = next(model.parameters()).element_size()
    tokens = batch * sample.tokens
    hidden, width = config.hidden_size, _mlp_width(config)
    layer = tokens * (size * (16 * hidden + 4 * width) + 16 * hidden)
    logits = tokens * config.vocab_size * (3 * size + 4)
    layers = config.num_hidden_layers
    kept = layers * tokens * hidden * size + 2 * layer if checkpointing else (layers + 1) * layer
    return kept + logits


def _mlp_width(config: Any) -> int:
    width = int(getattr(config, "intermediate_size", None) or 4 * config.hidden_size)
    if (chosen := getattr(config, "num_experts_per_tok", None)) is None:
        return width
    shared = int(getattr(config, "shared_expert_intermediate_size", 0))
    return int(chosen) * int(getattr(config, "moe_intermediate_size", width)) + shared


def _gathered_together(model: nn.Module) -> list[dict[str, int]]:
    """Return name -> count of what FSDP2 gathers at a time: what is outside the layers, then each layer."""
    layers_there = set(layers_of(model))
    prefixes = [f"{name}." for name, module in model.named_modules() if module in layers_there]
    outside: dict[str, int] = {}
    layers: dict[str, dict[str, int]] = {prefix: {} for prefix in prefixes}
    for name, parameter in model.named_parameters():
        unit = next((layers[prefix] for prefix in prefixes if name.startswith(prefix)), outside)
        unit[name] = parameter.numel()
    return [outside, *layers.values()]


def _item_bytes(manifest: TrainableManifest) -> int:
    return manifest.bytes // manifest.count
