"""FLOPs that training takes, counted from the manifest; docs/training.md defines them.

A matrix of N elements costs 2N per position in the forward pass, 2N in the backward pass if it is trained
(its own gradient), and 2N if anything below it is (the gradient goes through it to get there); 6N in all
where everything is trained (Kaplan et al., arXiv 2001.08361, section 2.1). Attention over n positions of
width d costs 4 d n^2 in the forward pass and twice that in the backward pass; causality is not discounted
(Chowdhery et al., arXiv 2204.02311, appendix B). Norms, activations, lookups and the optimiser count nothing.
An adapter's A and B are two matrices more, both trained; DoRA multiplies them by each other, too, to measure
the rows of W + s B A. Distillation asks the base for a forward pass more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple

from spaces.families import numbers_of
from trainables.collate import EncodedSample
from trainables.cost.vision_layout import Positions, VisionLayout
from trainables.manifest import TrainableManifest, TrainedParameter
from trainables.training.batches import DataOrder


class Depth(NamedTuple):
    """Where a parameter stands in the forward pass: a gradient flows from the largest down to the lowest."""

    part: int
    layer: int
    stage: int
    serial: int = 0
    inner: int = 0


_VISION, _PROJECTOR, _LANGUAGE, _HEAD = range(4)
# Role -> part of the model, stage within its layer. What runs side by side has one stage.
PLACES: Final = {
    "vision.embed": (_VISION, 0),
    "vision.norm": (_VISION, 1),
    "vision.attn": (_VISION, 2),
    "vision.mlp": (_VISION, 3),
    "projector": (_PROJECTOR, 0),
    "embed": (_LANGUAGE, 0),
    "position": (_LANGUAGE, 0),
    "norm": (_LANGUAGE, 1),
    "attn.q": (_LANGUAGE, 2),
    "attn.k": (_LANGUAGE, 2),
    "attn.v": (_LANGUAGE, 2),
    "attn.o": (_LANGUAGE, 3),
    "mlp.router": (_LANGUAGE, 4),
    "mlp.gate": (_LANGUAGE, 4),
    "mlp.up": (_LANGUAGE, 4),
    "mlp.down": (_LANGUAGE, 5),
    "head": (_HEAD, 1),
}
_NORM_STAGE, _MLP_STAGE = PLACES["norm"][1], PLACES["mlp.up"][1]
# Roles whose matrices run one after the other, in the model's order.
_SERIAL: Final = {"projector", "vision.mlp"}
# But these run side by side, before the others of their layer.
_GATED: Final = (".gate_proj.", ".up_proj.")
# Ends of names of what a layer does with the result of its last product: a norm or a scale.
_AFTER_LAST: Final = ("post_feedforward_layernorm.weight", "lambda_2")
# Role of the matrix that ends an attention; its input is as wide as all heads together.
_ATTENTION_ENDS: Final = {"attn.o", "vision.attn"}
# In a tower it has the role of the queries, keys and values that come before it.
_TOWER_ENDS: Final = (".out_proj.", ".attn.proj.", ".projection_layer.", ".o_proj.")


@dataclass(frozen=True, slots=True)
class _Product:
    """A matrix product, or an attention's two products of activations.

    Attributes:
        depth: Where it stands.
        size: Elements of the matrix; of an attention, its width.
        quadratic: Whether it is an attention.
        trained: Whether it is a trained matrix.
        convolution: Whether it takes the image's patches.
        windowed: Whether it is an attention within windows.
    """

    depth: Depth
    size: int
    quadratic: bool = False
    trained: bool = False
    convolution: bool = False
    windowed: bool = False

    def forward(self, positions: Positions) -> int:
        """Return the FLOPs of the forward pass."""
        if self.quadratic:
            return 4 * self.size * self._pairs(positions)
        if self.convolution:
            return 2 * self.size * positions.patches
        seen = {_VISION: positions.vision, _PROJECTOR: positions.projected}
        return 2 * self.size * seen.get(self.depth.part, positions.text)

    def _pairs(self, positions: Positions) -> int:
        if self.depth.part != _VISION:
            return positions.text**2
        return positions.window_pairs if self.windowed else positions.pairs


class TrainingFlops:
    """Counts the FLOPs of training a subset on a sample.

    Args:
        parameters: All the model's parameters: the manifest of `full`.
        trained: The manifest of what is trained.
        config: The model configuration as plain values.
        recomputed: Whether layers through which a gradient flows compute their activations again.
    """

    def __init__(
        self,
        parameters: TrainableManifest,
        trained: TrainableManifest,
        config: Mapping[str, Any],
        *,
        recomputed: bool = False,
    ) -> None:
        names = {(p.name, p.role) for p in trained.parameters}
        language = numbers_of(config)
        experts = language.get("num_experts_per_tok")
        self._parallel = bool(language.get("use_parallel_residual"))
        self._layout = VisionLayout.of(config, parameters.names)
        adapters = list(_adapter_products(parameters, trained)) if trained.adapters else []
        self._products = [*_products(parameters, set(trained.names), self._layout, experts), *adapters]
        own = (
            _depth(p, index)
            for index, p in enumerate(parameters.parameters)
            if (p.name, p.role) in names and not p.is_pooling
        )
        self._trained = sorted([*own, *(product.depth for product in adapters)])
        self._recomputed = recomputed
        self._distilled = trained.distilled
        self._last = _last_of_layers(self._products) if recomputed else {}
        # Layers that need the result of their last product again.
        self._whole = {_depth(p, 0)[:2] for p in parameters.parameters if _goes_on_after_last(p)}
        self._measured: dict[Depth, int] = {}
        if trained.adapters and trained.adapters.variant == "dora":
            # The gradient of the rows' lengths needs the layer's result.
            self._whole |= {_layer(p) for p in adapters if p.depth == self._last.get(_layer(p))}
            self._measured = _measured_rows(adapters, trained.adapters.rank)
        self.per_positions = cache(self._count)

    def per_sample(self, sample: EncodedSample) -> int:
        """Return the FLOPs of one sample's forward and backward pass."""
        if self._layout is None:
            return self.per_positions(Positions(text=sample.length))
        return self.per_positions(self._layout.positions(sample))

    @property
    def per_step(self) -> int:
        """FLOPs of a step beside those of its samples: of the lengths of DoRA's rows, in one pass."""
        passes = 1 + self._distilled
        return sum(
            flops * (passes + self._computes_again(depth, self._trained[0]))
            for depth, flops in self._measured.items()
        )

    def _count(self, positions: Positions) -> int:
        # What a sample without an image leaves out needs no gradient, and sends none on.
        used = [depth for depth in self._trained if depth.part >= _LANGUAGE or positions.patches]
        lowest = used[0] if used else None
        total = 0
        for product in self._products:
            forward = product.forward(positions)
            total += 2 * forward if self._distilled else forward
            if lowest is None:
                continue
            if product.trained:
                total += forward
            if self._passes_on(product, used):
                total += 2 * forward if product.quadratic else forward
            if self._computes_again(product.depth, lowest):
                # Seldom does a layer need the result of its last product again.
                needed = product.depth < self._last[_layer(product)] or _layer(product) in self._whole
                total += forward if needed else 0
        return total

    def _computes_again(self, depth: Depth, lowest: Depth) -> bool:
        """Return whether the layer at a depth is computed again in the backward pass."""
        return self._recomputed and depth.layer >= 0 and lowest <= self._last[depth.part, depth.layer]

    def _passes_on(self, product: _Product, trained: Sequence[Depth]) -> bool:
        """Return whether a gradient goes through a product to something trained; `trained` rises."""
        depth = product.depth
        if not self._parallel or depth.part != _LANGUAGE or depth.stage < _MLP_STAGE:
            return trained[0] < depth
        # Attention and MLP of a layer run side by side.
        return any(
            other < depth and not (other[:2] == depth[:2] and _NORM_STAGE < other.stage < _MLP_STAGE)
            for other in trained
        )


def flops_of_steps(
    flops: TrainingFlops, steps: Iterable[int], data: Sequence[EncodedSample], order: DataOrder
) -> int:
    """Return the FLOPs of optimiser steps, in all processes together.

    What padding adds, samples that a process runs along with the others, and what each further pass of a step
    repeats for DoRA are not counted.

    Args:
        flops: Counts those of a sample.
        steps: The steps, counted from 0.
        data: The training samples, then those for replay.
        order: Which of them a step takes.
    """
    return sum(flops.per_step + sum(flops.per_sample(data[i]) for i in order.batch(step)) for step in steps)


def _products(
    parameters: TrainableManifest, trained: set[str], layout: VisionLayout | None, chosen_experts: int | None
) -> list[_Product]:
    found: list[_Product] = []
    attentions: dict[tuple[int, int], _Product] = {}
    table: TrainedParameter | None = None
    for index, p in enumerate(parameters.parameters):
        depth = _depth(p, index)
        convolution = _is_convolution(p)
        if p.role == "embed":
            table = p
        # Tables of words and of positions are looked up.
        if (
            not _is_matrix(p)
            or p.is_pooling
            or (p.role in {"embed", "position", "vision.embed"} and not convolution)
        ):
            continue
        size = p.count
        if _is_of_experts(p) and chosen_experts is not None:
            size = size // p.shape[0] * chosen_experts
        # The gradient of a parameter is whole, though a slice of it alone may be trained.
        found.append(_Product(depth, size, trained=p.name in trained, convolution=convolution))
        if p.role in _ATTENTION_ENDS and depth.layer >= 0:
            # It comes after queries, keys and values, and before what ends the attention.
            after = Depth(depth.part, depth.layer, PLACES["attn.q"][1], 1)
            windowed = (
                layout is not None
                and layout.window is not None
                and depth.part == _VISION
                and depth.layer not in layout.whole_layers
            )
            attentions[depth.part, depth.layer] = _Product(
                after, p.shape[1], quadratic=True, windowed=windowed
            )
    if table is not None and not any(p.role == "head" for p in parameters.parameters):
        # The head is the table of words, transposed.
        found.append(_Product(Depth(_HEAD, -1, 1), table.count, trained=table.name in trained))
    return [*found, *attentions.values()]


def _adapter_products(parameters: TrainableManifest, trained: TrainableManifest) -> Iterator[_Product]:
    """Yield the two products of each adapter: A stands where its layer does, B just after it."""
    depths: dict[str, Depth] = {}
    for index, p in enumerate(parameters.parameters):
        if not p.is_pooling:
            depths.setdefault(p.name, _depth(p, index))
    shapes = {p.name: p.shape for p in trained.parameters}
    for name, shape in shapes.items():
        for inner, kind in enumerate((".lora_A.", ".lora_B.")):
            module, found, _ = name.partition(kind)
            if found and f"{module}.weight" in depths:
                depth = depths[f"{module}.weight"]._replace(inner=inner)
                yield _Product(depth, math.prod(shape), trained=True)


def _measured_rows(adapters: Sequence[_Product], rank: int) -> dict[Depth, int]:
    """Return depth -> FLOPs of B A, made as PEFT does: both are applied to the columns of a unit matrix."""
    measured: dict[Depth, int] = {}
    for a, b in zip(adapters[::2], adapters[1::2], strict=True):
        columns = a.size // rank
        measured[a.depth] = measured.get(a.depth, 0) + 2 * columns * (a.size + b.size)
    return measured


def _depth(parameter: TrainedParameter, index: int) -> Depth:
    part, stage = PLACES[parameter.role]
    if parameter.role == "norm" and parameter.layer is None:
        return Depth(_HEAD, -1, 0)
    if parameter.role == "projector":
        # It begins with its norm, and what parts an image's lines comes behind it.
        stage += parameter.name.endswith("image_newline") - ("norm" in parameter.name)
    layer = -1 if parameter.layer is None else parameter.layer
    if parameter.role == "vision.attn" and any(end in parameter.name for end in _TOWER_ENDS):
        return Depth(part, layer, stage, 2)
    serial = parameter.role in _SERIAL and not any(name in parameter.name for name in _GATED)
    return Depth(part, layer, stage, index if serial else 0)


def _layer(product: _Product) -> tuple[int, int]:
    return product.depth.part, product.depth.layer


def _last_of_layers(products: list[_Product]) -> dict[tuple[int, int], Depth]:
    last: dict[tuple[int, int], Depth] = {}
    for product in products:
        key = _layer(product)
        last[key] = max(last.get(key, product.depth), product.depth)
    return last


def _is_matrix(parameter: TrainedParameter) -> bool:
    # Experts have biases of two dimensions.
    return len(parameter.shape) > 1 and not parameter.name.endswith("bias")


def _is_of_experts(parameter: TrainedParameter) -> bool:
    return parameter.role.startswith("mlp.") and len(parameter.shape) > 2


def _goes_on_after_last(parameter: TrainedParameter) -> bool:
    """Return whether it works on what the last product of its layer gives, as a router's weights do."""
    return parameter.name.endswith(_AFTER_LAST) or parameter.role == "mlp.router"


def _is_convolution(parameter: TrainedParameter) -> bool:
    return parameter.role == "vision.embed" and len(parameter.shape) > 3
