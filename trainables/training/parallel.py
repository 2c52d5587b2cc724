"""One model in several processes: whole in each of them (DDP), or a shard in each (FSDP2).

FSDP2 shards each parameter by itself (its rows are spread over the processes), so a frozen parameter costs
its shard and nothing else: gradients and the optimiser's state exist for trained parameters alone. One
sharded model serves recipes with different trained parameters one after another.
"""

# Not `from __future__ import annotations`: DistributedDataParallel compares a hook's annotations with types.
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from transformers.modeling_layers import GradientCheckpointingLayer

_Own = TypeVar("_Own")


@dataclass(frozen=True, slots=True)
class Share:
    """This process's share of the work on one trial.

    Attributes:
        rank: Index of this process.
        size: Number of processes.
        sharded: Whether the model was spread by `load_sharded`: a forward pass then needs all processes.
    """

    rank: int = 0
    size: int = 1
    sharded: bool = False

    def from_all(self, own: _Own) -> list[_Own]:
        """Return what each process has, in their order; all of them must call this."""
        if self.size == 1:
            return [own]
        parts = [own] * self.size
        dist.all_gather_object(parts, own)
        return parts


def layers_of(model: nn.Module) -> list[nn.Module]:
    """Return the repeated blocks of a transformers model: of its vision tower and of its language model."""
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def load_sharded(load: Callable[[], nn.Module], device: torch.device) -> nn.Module:
    """Load a model and spread it over the processes of the default group.

    They take turns, so that a machine's memory holds one whole model at a time.

    Args:
        load: Loads the model to the CPU; the same in every process.
        device: Where this process's shards go.
    """
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for turn in range(dist.get_world_size()):
        if turn == dist.get_rank():
            model = load()
            shard_model(model, mesh)
        dist.barrier()
    return model


def shard_model(model: nn.Module, mesh: DeviceMesh) -> None:
    """Spread a model's parameters over a mesh's processes, in place, layer by layer.

    Args:
        model: The model; the same in every process.
        mesh: The processes, and the type of their device.
    """
    # Gradients are summed over the processes in fp32. Nothing stays gathered after a forward pass: weights
    # change between two of them without a backward pass, when a trial ends.
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    for module in (*layers_of(model), model):
        fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
    # Generation encodes images outside of the forward method, with parameters that only the root gathers.
    if hasattr(model, "generate"):
        register_fsdp_forward_method(model, "generate")


def training_forward(model: nn.Module, share: Share) -> nn.Module:
    """Return what to call in training; its backward pass leaves the mean gradient over the processes.

    Args:
        model: The model, with `requires_grad` set on what is trained.
        share: This process's share.
    """
    if share.sharded:
        for module in model.modules():
            if isinstance(module, FSDPModule):
                # FSDP2 notes the gradients' type, of the parameters that require one, when it gathers them.
                module.unshard()
                module.reshard()
        return model
    if share.size == 1:
        return model
    # Some parameters of a subset may have no part in the forward pass, such as a vision tower's last norm.
    wrapped = DistributedDataParallel(
        model,
        find_unused_parameters=True,
        gradient_as_bucket_view=True,
        # The processes loaded the same base and got it back bit for bit.
        init_sync=False,
        broadcast_buffers=False,
    )
    wrapped.register_comm_hook(None, _mean_in_float32)
    return wrapped


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients of parameters that every process holds whole, in fp32."""
    for parameter in parameters:
        if parameter.grad is not None:
            total = parameter.grad.float() / dist.get_world_size()
            dist.all_reduce(total)
            parameter.grad.copy_(total)


def full_tensor(tensor: Tensor) -> Tensor:
    """Return a tensor whole; every process must ask for a sharded one."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def laid_out_like(tensor: Tensor, example: Tensor) -> Tensor:
    """Return a copy of a whole tensor on the example's device, sharded if the example is."""
    moved = tensor.to(example.device, copy=True)
    if not isinstance(example, DTensor):
        return moved
    # Every process holds the whole tensor, so each takes its own rows of it.
    return distribute_tensor(moved, example.device_mesh, example.placements, src_data_rank=None)


def _mean_in_float32(_: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """Average a bucket of gradients over the processes, rounding once whatever their type."""
    total = bucket.buffer().float() / dist.get_world_size()
    done = dist.all_reduce(total, async_op=True).get_future()
    return done.then(lambda future: bucket.buffer().copy_(future.value()[0]))
