"""Slices of parameters: what a recipe trains of a fused projection, and leaves alone of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from spaces.parts import Slice
from trainables.manifest import TrainedTensor
from trainables.training.parallel import full_tensor, laid_out_like


def sliced(tensor: Tensor, part: Slice | None) -> Tensor:
    """Return a view of some of a tensor's elements; None is the tensor itself.

    With several repeats the axis becomes two dimensions, `[repeats, stop - start]`.
    """
    if part is None:
        return tensor
    if part.repeats == 1:
        return tensor.narrow(part.axis, part.start, part.stop - part.start)
    apart = tensor.unflatten(part.axis, (part.repeats, tensor.shape[part.axis] // part.repeats))
    return apart.narrow(part.axis + 1, part.start, part.stop - part.start)


@dataclass(frozen=True, slots=True)
class LiveTensor:
    """The trained elements of a live parameter, whole or sharded.

    A slice of a sharded parameter is spread anew, by its own rows, so that its optimiser state is as evenly
    spread as any other. For that the whole parameter is gathered for a moment.

    Attributes:
        parameter: The model's parameter.
        slice: The trained elements; None is all of them.
    """

    parameter: nn.Parameter
    slice: Slice | None = None

    @property
    def value(self) -> Tensor:
        """The elements in the model's dtype, detached: a view, but a copy for a slice of a sharded one."""
        return self._of(self.parameter.detach())

    @property
    def gradient(self) -> Tensor | None:
        """The elements' gradient, if there is one."""
        return None if self.parameter.grad is None else self._of(self.parameter.grad)

    @torch.no_grad()
    def copy_(self, value: Tensor) -> None:
        """Copy values into the model; those of a sharded parameter may be whole or sharded."""
        if not isinstance(self.parameter, DTensor):
            self.value.copy_(value)
            return
        if self.slice is not None:
            whole = self.parameter.full_tensor()
            sliced(whole, self.slice).copy_(full_tensor(value))
            value = whole
        self.parameter.copy_(value if isinstance(value, DTensor) else laid_out_like(value, self.parameter))

    def _of(self, tensor: Tensor) -> Tensor:
        if self.slice is None or not isinstance(tensor, DTensor):
            return sliced(tensor, self.slice)
        return laid_out_like(sliced(tensor.full_tensor(), self.slice), tensor)


def live_tensors(model: nn.Module, tensors: Iterable[TrainedTensor]) -> Mapping[str, LiveTensor]:
    """Return key -> live tensor, of what a manifest says is trained."""
    parameters = dict(model.named_parameters())
    return {tensor.key: LiveTensor(parameters[tensor.name], tensor.slice) for tensor in tensors}
