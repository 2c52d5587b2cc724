"""What a forward and backward pass holds besides parameters, measured without a device.

The pass runs on the meta device, where tensors have shapes and no values, while every storage is followed
from its first use to its end. So the peak holds what autograd saves, what lives for a moment only, logits and
their gradient, for any architecture, subset and batch; it takes about a second for a model of 7 billion
parameters.

Attention is the one operation whose memory depends on the device: on the meta device it would fall apart into
matrix products that keep `[B, heads, T, T]`. Two attention functions call the kernels that a CUDA device or a
CPU would choose, and these say by themselves what they save.

Shapes: B samples, T tokens, H hidden size, V vocabulary entries, A answer tokens of all samples together.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from transformers import AttentionInterface

from trainables.cost.sample_shape import SampleShape
from trainables.training.losses import distillation_loss_sum
from trainables.training.recompute import recomputed_activations
from trainables.weights.lora import adapter_dropout

Device = Literal["cuda", "cpu"]


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all storages that are made under this mode and not freed yet.

    Attributes:
        peak: The most bytes that lived at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._live = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and follow the storages of what it returns."""
        given = tree_leaves((args, kwargs))
        if any(isinstance(leaf, Tensor) and leaf.is_meta for leaf in given):
            # Where an image's patches lie has values, which follow into what is computed of the patches.
            args, kwargs = tree_map_only(Tensor, _to_meta, (args, kwargs))
        outputs = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(outputs):
            if isinstance(leaf, Tensor):
                self._follow(leaf)
        return outputs

    def ignore(self, tensors: Iterator[Tensor]) -> None:
        """Never count the storages of these tensors, such as a model's parameters."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._known[storage._cdata] = weakref.ref(storage)

    def _follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def freed(_: Any) -> None:
            del self._known[key]
            self._live -= size

        self._known[key] = weakref.ref(storage, freed)
        self._live += size
        self.peak = max(self.peak, self._live)


def training_bytes(
    skeleton: nn.Module,
    trained: frozenset[str],
    sample: SampleShape,
    batch: int,
    *,
    checkpointing: bool = False,
    distilled: bool = False,
    device: Device = "cuda",
) -> int:
    """Return the peak of one forward and backward pass, in bytes.

    Parameters and buffers don't count; a parameter's gradient counts until it has been accumulated.

    Args:
        skeleton: A model on the meta device; its `requires_grad` flags are set here.
        trained: Names of the trained parameters.
        sample: The largest sample; all of the batch are taken to be as large, and padded.
        batch: Samples of the pass.
        checkpointing: Whether each layer's activations are computed again in the backward pass.
        distilled: Whether the base is asked for its output first.
        device: Which device's attention is counted.

    Raises:
        RuntimeError, NotImplementedError: The architecture's forward pass needs values.
    """
    for name, parameter in skeleton.named_parameters():
        parameter.requires_grad_(name in trained)
    handles = [
        parameter.register_post_accumulate_grad_hook(_drop_gradient)
        for parameter in skeleton.parameters()
        if parameter.requires_grad
    ]
    try:
        recomputed = recomputed_activations(skeleton) if checkpointing else nullcontext()
        with _planned_attention(skeleton, device), recomputed, adapter_dropout(skeleton):
            live = LiveBytes()
            live.ignore(_fixed(skeleton))
            with live, torch.enable_grad():
                inputs = _inputs(sample, batch)
                rows = torch.empty(batch * sample.answer_tokens, dtype=torch.long, device="meta")
                if distilled:
                    with torch.no_grad():
                        taught = _answers(_forward(skeleton, inputs, masked=sample.masked), rows)
                logits = _forward(skeleton, inputs, masked=sample.masked)
                loss = F.cross_entropy(_answers(logits, rows), torch.empty_like(rows), reduction="sum")
                if distilled:
                    loss = loss + distillation_loss_sum(_answers(logits, rows), taught, 2.0)
                del logits
                # Text alone gives a vision tower no gradient.
                if loss.requires_grad:
                    loss.backward()
            return live.peak
    finally:
        for handle in handles:
            handle.remove()


def evaluation_bytes(skeleton: nn.Module, sample: SampleShape, batch: int, *, device: Device = "cuda") -> int:
    """Return the peak of one forward pass of an evaluation, in bytes; see `training_bytes`.

    Keys and values of all layers are counted, as generating an answer keeps them.
    """
    with _planned_attention(skeleton, device):
        live = LiveBytes()
        live.ignore(_fixed(skeleton))
        with live, torch.no_grad():
            inputs = _inputs(sample, batch)
            _forward(skeleton, inputs, masked=sample.masked, use_cache=True)[:, :-1].argmax(-1)
        return live.peak


def _to_meta(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_meta or not tensor.ndim else tensor.to("meta")


def _fixed(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _drop_gradient(parameter: Tensor) -> None:
    parameter.grad = None


def _answers(logits: Tensor, rows: Tensor) -> Tensor:
    """Do what `losses.answer_logits` does, whose mask would need values."""
    return logits[:, :-1].flatten(0, 1)[rows].float()


def _inputs(sample: SampleShape, batch: int) -> dict[str, Tensor]:
    """Return what `collate.collate` makes of a batch, without values."""
    size = (batch, sample.tokens)
    inputs = {name: torch.empty(size, dtype=torch.long, device="meta") for name in ("input_ids", "mask")}
    for name, shape in sample.extras.items():
        if name in sample.grids:
            # A model computes with them which positions and crops there are.
            inputs[name] = torch.cat([torch.tensor(sample.grids[name])] * batch)
        elif "pixel_attention_mask" in sample.grids:
            # Such a model leaves out crops of which every pixel is 0, as those that fill a batch are.
            inputs[name] = torch.ones(batch * shape[0], *shape[1:])
        else:
            inputs[name] = torch.empty(batch * shape[0], *shape[1:], device="meta")
    return inputs


def _forward(
    model: nn.Module, inputs: Mapping[str, Tensor], *, masked: bool = False, use_cache: bool = False
) -> Tensor:
    """Return the logits `[B, T, V]` of a batch on the meta device."""
    batch, tokens = inputs["input_ids"].shape
    embeds = model.get_input_embeddings()(inputs["input_ids"])  # type: ignore[operator]
    extras = {name: tensor for name, tensor in inputs.items() if name not in ("input_ids", "mask")}
    if extras:
        # The model would compare the counts of placeholders and features, which needs values.
        found = model.get_image_features(**extras, return_dict=True)  # type: ignore[operator]
        features = torch.cat(list(found.pooler_output)).to(embeds.dtype)
        place = torch.empty(batch, tokens, 1, dtype=torch.bool, device="meta")
        embeds = embeds.masked_scatter(place, features)
    # Samples of different lengths are padded, and the kernels then want the mask written out.
    written = masked or batch > 1
    mask = torch.empty(batch, 1, tokens, tokens, dtype=torch.bool, device="meta") if written else None
    logits: Tensor = model(inputs_embeds=embeds, attention_mask=mask, use_cache=use_cache).logits
    return logits


@contextmanager
def _planned_attention(model: nn.Module, device: Device) -> Iterator[None]:
    before = {key: getattr(module.config, "_attn_implementation", None) for key, module in _configured(model)}
    for _, module in _configured(model):
        module.config._attn_implementation = f"planned_{device}"
    try:
        yield
    finally:
        for key, module in _configured(model):
            module.config._attn_implementation = before[key]


def _configured(model: nn.Module) -> list[tuple[str, Any]]:
    return [(name, module) for name, module in model.named_modules() if hasattr(module, "config")]


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    *,
    kernel: Callable[..., Tensor],
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention as `transformers` calls it: query `[B, heads, T, D]` to output `[B, T, heads, D]`."""
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    # Torch makes a bias of a mask in each call.
    bias = None if attention_mask is None else query.new_empty(attention_mask.shape)
    output = kernel(query, key, value, bias, bool(causal and bias is None), scaling)
    return output.transpose(1, 2).contiguous(), None


def _repeated(tensor: Tensor, heads: int) -> Tensor:
    """Repeat key or value heads, as `transformers` does for a kernel that wants one for each query."""
    times = heads // tensor.shape[1]
    if times == 1:
        return tensor
    batch, own, tokens, width = tensor.shape
    return tensor[:, :, None].expand(batch, own, times, tokens, width).reshape(batch, heads, tokens, width)


def _cuda_kernel(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, causal: bool, scale: float | None
) -> Tensor:
    if bias is None and query.dtype != torch.float32:
        flash = torch.ops.aten._scaled_dot_product_flash_attention
        return flash(query, key, value, 0.0, causal, scale=scale)[0]
    key, value = _repeated(key, query.shape[1]), _repeated(value, query.shape[1])
    if bias is not None:
        # This kernel wants rows of a multiple of 8 elements, and the bias of each head.
        padded = F.pad(bias, (0, -bias.shape[-1] % 8)) if bias.shape[-1] % 8 else bias
        bias = padded[..., : bias.shape[-1]].expand(-1, query.shape[1], -1, -1)
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    saves = query.requires_grad or key.requires_grad or value.requires_grad
    return efficient(query, key, value, bias, saves, 0.0, causal, scale=scale)[0]


def _cpu_kernel(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, causal: bool, scale: float | None
) -> Tensor:
    if bias is not None:
        key, value = _repeated(key, query.shape[1]), _repeated(value, query.shape[1])
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return flash(query, key, value, 0.0, causal, attn_mask=bias, scale=scale)[0]


AttentionInterface.register("planned_cuda", partial(_attention, kernel=_cuda_kernel))
AttentionInterface.register("planned_cpu", partial(_attention, kernel=_cpu_kernel))
