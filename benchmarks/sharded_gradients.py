"""What a partly frozen model costs in gradients and optimiser state, by how it is spread over processes.

Three sides, in one run and alternating, over gloo on the CPU:

- fsdp2: `trainables.training.parallel.shard_model`, as a study's workers use it: each parameter is sharded by
  itself;
- fsdp1: `FullyShardedDataParallel(use_orig_params=True)` around the same modules: a module's parameters are
  flattened into one, and a part of one tensor can't be frozen, so the gradient is that of the whole module;
- ddp: a whole model in each process.

`FullyShardedDataParallel(use_orig_params=False)` refuses such a model; its answer is recorded. One step of
training is made with each subset, in fp32, and each process counts:

- gradients: bytes of the distinct storages behind the gradients after the backward pass;
- optimizer: bytes of AdamW's moments after the step;
- reduced: bytes handed to the collectives that sum gradients, over the backward pass;
- largest_reduced: the largest of these operations, which exists in one piece at one time;
- peak: most bytes that torch's allocator held at one time in the backward pass: weights, activations,
  gradients and buffers together. gloo frees a buffer when its thread comes round to it, so this varies.

The first three stand beside what the manifest leads to if nothing frozen costs anything and all is sharded.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from benchmarks.allocations import ReducedBytes, local_bytes, peak_during
from benchmarks.machine import write_results
from tests.worlds import in_world
from trainables.manifest import TrainableManifest, build_manifest
from trainables.training.optimizer import MasterAdamW
from trainables.training.parallel import Share, layers_of, shard_model, training_forward
from trainables.weights.slices import live_tensors

SUBSETS = ("sa_proj", "gate_up", "mlp", "llm", "full")
SIDES = ("fsdp2", "fsdp1", "ddp")
QUANTITIES = ("gradients", "optimizer", "reduced", "largest_reduced", "peak")
PATCHES = 16
IMAGE_TOKEN = 3


class Size(NamedTuple):
    """How large the model is; the vision tower is half as wide and half as deep as the language model."""

    hidden: int = 192
    layers: int = 16
    vocabulary: int = 4096


class Prepared(NamedTuple):
    """A model ready for a step, and what takes it."""

    forward: nn.Module
    step: Callable[[], list[Tensor]]


def build(size: Size) -> LlavaForConditionalGeneration:
    """Return a random LLaVA in fp32; every process builds the same."""
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=size.hidden // 2,
            intermediate_size=size.hidden * 2,
            num_hidden_layers=size.layers // 2,
            num_attention_heads=4,
            image_size=32,
            patch_size=8,
        ),
        text_config=LlamaConfig(
            vocab_size=size.vocabulary,
            hidden_size=size.hidden,
            intermediate_size=size.hidden * 11 // 4,
            num_hidden_layers=size.layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            tie_word_embeddings=False,
        ),
        image_token_index=IMAGE_TOKEN,
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    return LlavaForConditionalGeneration(config).eval()


def batch(rank: int) -> dict[str, Tensor]:
    """Return a process's own samples: two of 64 tokens, an image's among them."""
    generator = torch.Generator().manual_seed(rank)
    ids = torch.randint(IMAGE_TOKEN + 1, 512, (2, 64), generator=generator)
    ids[:, 1 : 1 + PATCHES] = IMAGE_TOKEN
    return {"input_ids": ids, "pixel_values": torch.randn(2, 3, 32, 32, generator=generator)}


def ours(model: nn.Module, manifest: TrainableManifest, share: Share) -> Prepared:
    """Prepare a model as a study's workers do: sharded by FSDP2, or for DDP."""
    if share.sharded:
        shard_model(model, init_device_mesh("cpu", (dist.get_world_size(),)))
    optimizer = MasterAdamW(live_tensors(model, manifest.tensors), weight_decay=0.0, max_grad_norm=1.0)

    def step() -> list[Tensor]:
        optimizer.take_gradients()
        optimizer.step(1e-4)
        return [t for name, t in optimizer.state().items() if name.startswith("exp_avg")]

    return Prepared(training_forward(model, share), step)


def flattened(model: nn.Module, use_orig_params: bool) -> Prepared:
    """Prepare a model with FSDP1 around the modules that `shard_model` shards by themselves."""
    layers = {type(layer) for layer in layers_of(model)}
    with warnings.catch_warnings():
        # It warns of what is measured here.
        warnings.simplefilter("ignore", UserWarning)
        forward = FullyShardedDataParallel(
            model,
            auto_wrap_policy=ModuleWrapPolicy(layers),
            use_orig_params=use_orig_params,
            device_id=torch.device("cpu"),
        )
    optimizer = torch.optim.AdamW([p for p in forward.parameters() if p.requires_grad])

    def step() -> list[Tensor]:
        optimizer.step()
        states = optimizer.state.values()
        return [t for state in states for name, t in state.items() if name.startswith("exp_avg")]

    return Prepared(forward, step)


def prepare(side: str, model: nn.Module, manifest: TrainableManifest, rank: int, processes: int) -> Prepared:
    """Spread a model over the processes in one side's way."""
    if side == "fsdp1":
        return flattened(model, use_orig_params=True)
    return ours(model, manifest, Share(rank, processes, sharded=side == "fsdp2"))


def measure(rank: int, processes: int, size: Size, side: str, subset: str) -> dict[str, int]:
    """Make one step in this process and count what it took, in bytes."""
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
        model = build(size)
        manifest = build_manifest(model, subset)
        names = set(manifest.names)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in names)
        forward, step = prepare(side, model, manifest, rank, processes)
        loss = forward(**batch(rank), use_cache=False).logits.logsumexp(-1).mean()
        with torch.profiler.record_function("backward pass"), ReducedBytes() as reduced:
            loss.backward()
    gradients = [p.grad for p in (*forward.parameters(), *flat_parameters(forward)) if p.grad is not None]
    gradient_bytes = local_bytes(gradients)
    moments = step()
    return {
        "gradients": gradient_bytes,
        "optimizer": local_bytes(moments),
        "reduced": sum(reduced.operations),
        "largest_reduced": max(reduced.operations),
        "peak": peak_during(profile, "backward pass"),
    }


def flat_parameters(model: nn.Module) -> list[Tensor]:
    """Return what FSDP1 keeps behind the parameters that it shows.

    A process whose piece of a layer holds nothing trained shows no gradient, and has one.
    """
    handles = [module._handle for module in FullyShardedDataParallel.fsdp_modules(model)]
    return [handle.flat_param for handle in handles if handle is not None]


def refusal(rank: int, size: Size) -> str:
    """Return what FSDP1 says to a partly frozen model where it does not keep the original parameters."""
    model = build(size)
    names = set(build_manifest(model, "sa_proj").names)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    try:
        flattened(model, use_orig_params=False)
    except ValueError as error:
        return f"ValueError: {str(error).splitlines()[0]}"
    return "accepted"


def work(rank: int, processes: int, size: Size, rounds: int) -> dict[str, Any]:
    """Measure every side and subset in this process, the sides alternating."""
    found: dict[str, Any] = {"refusal": refusal(rank, size), "rounds": []}
    for turn in range(rounds):
        figures = {}
        for subset in SUBSETS:
            figures[subset] = {side: measure(rank, processes, size, side, subset) for side in SIDES}
            if rank == 0:
                print(f"{processes} processes, round {turn + 1}: {subset}", file=sys.stderr)
        found["rounds"].append(figures)
    return found


def expected(manifest: TrainableManifest, processes: int) -> dict[str, int]:
    """Return the bytes per process that the manifest leads to if what is frozen costs nothing."""
    return {
        "gradients": manifest.bytes // processes,
        "optimizer": 2 * manifest.bytes // processes,
        "reduced": manifest.bytes,
    }


def figures(processes: int, size: Size, rounds: int) -> dict[str, Any]:
    """Measure with a number of processes; return the figures of each subset and side."""
    ranks = in_world(processes, work, processes, size, rounds)
    model = build(size)
    result: dict[str, Any] = {"use_orig_params_false": ranks[0]["refusal"], "subsets": {}}
    for subset in SUBSETS:
        manifest = build_manifest(model, subset)
        sides = {}
        for side in SIDES:
            counted = [[turn[subset][side] for turn in rank["rounds"]] for rank in ranks]
            sides[side] = {quantity: _over(counted, quantity) for quantity in QUANTITIES}
        result["subsets"][subset] = {
            "trained": manifest.bytes,
            "total": manifest.total * 4,
            "expected": expected(manifest, processes),
            **sides,
        }
    return result


def _over(counted: list[list[Mapping[str, int]]], quantity: str) -> dict[str, int]:
    """Return the smallest and largest value over processes and rounds."""
    values = [turn[quantity] for rank in counted for turn in rank]
    return {"min": min(values), "max": max(values)}


def table(processes: int, found: Mapping[str, Any]) -> Table:
    """Return a table of the largest values over processes, in MB."""
    heading = f"{processes} processes, MB"
    result = Table(heading, "side", *QUANTITIES, box=None, header_style="bold")
    for subset, row in found["subsets"].items():
        told = [f"{row['expected'][q] / 1e6:.2f}" if q in row["expected"] else "" for q in QUANTITIES]
        result.add_row(subset, "manifest", *told)
        for side in SIDES:
            result.add_row("", side, *(f"{row[side][q]['max'] / 1e6:.2f}" for q in QUANTITIES))
    return result


def main() -> int:
    """Measure with two and four processes, print the tables and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--rounds", type=int, default=2, help="alternations of the sides")
    arguments = parser.parse_args()
    console = Console(highlight=False)
    size = Size()
    found = {}
    for processes in arguments.processes:
        found[str(processes)] = figures(processes, size, arguments.rounds)
        console.print(table(processes, found[str(processes)]))
    console.print(f"use_orig_params=False: {found[str(arguments.processes[0])]['use_orig_params_false']}")
    path = write_results(
        "sharded_gradients",
        {
            "unit": "bytes per process; min and max over processes and rounds",
            "model": {**size._asdict(), "parameters": sum(p.numel() for p in build(size).parameters())},
            "rounds": arguments.rounds,
            "processes": found,
        },
    )
    console.print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
