"""What fits one GPU, and how fast it trains: a random Qwen2 in the shape of a 7B model, in our own loop.

Each case is a subset, with or without activation checkpointing, and goes through what a trial goes through on
a worker: the base is saved and comes back, trained parameters have fp32 masters, a global batch is taken in
micro-batches of one sample. A case that runs out of memory is a result: it does not fit. Since the larger
subsets need more than a GPU at full depth, they are measured on fewer of the same layers, too.

Reported are torch's peak memory beside the plan's estimate (`trainables/cost/memory.py`), tokens per second
of the steps after the first two, model FLOPs utilisation (docs/training.md) and, where activations are
computed again, the utilisation with that counted. Figures are written only where they were measured on a GPU.

    python -m benchmarks.gpu_training            # on a GPU with 80 GB: some minutes
    python -m benchmarks.gpu_training --small    # a tiny model on the CPU, to see that it runs
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from benchmarks.devices import peak_flops
from benchmarks.machine import write_results
from spaces.recipe import Recipe
from trainables.collate import EncodedSample
from trainables.cost.flops import TrainingFlops, flops_of_steps
from trainables.cost.memory import Estimator, Load, MemoryEstimate
from trainables.cost.sample_shape import SampleShape
from trainables.loop import Progress, StepTooLarge, fine_tune
from trainables.manifest import build_manifest
from trainables.training.batches import DataOrder
from trainables.weights.restore import borrowed

# Of a text model, `full` is `llm`.
SUBSETS = ("sa_proj", "gate_up", "mlp", "llm")
WARM_UP = 2
STEPS = 6
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Size:
    """A model and what it is trained on.

    Attributes:
        hidden: Hidden size.
        intermediate: Feed-forward size.
        heads: Attention heads.
        kv_heads: Heads of keys and values.
        vocabulary: Entries of the vocabulary.
        tokens: Tokens per sample, half of them the answer's.
        batch: Samples per optimiser step.
        dtype: Type of the weights.
    """

    hidden: int = 3584
    intermediate: int = 18944
    heads: int = 28
    kv_heads: int = 4
    vocabulary: int = 152064
    tokens: int = 2048
    batch: int = 8
    dtype: torch.dtype = torch.bfloat16


SMALL = Size(
    hidden=32,
    intermediate=48,
    heads=4,
    kv_heads=2,
    vocabulary=64,
    tokens=16,
    batch=2,
    dtype=torch.float32,
)


def build(size: Size, layers: int, device: torch.device | str) -> nn.Module:
    """Return a random base as a worker holds one; it is made on the device, in its final type."""
    config = Qwen2Config(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        max_position_embeddings=max(size.tokens, 4096),
        tie_word_embeddings=False,
        dtype=size.dtype,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(size.dtype)
    try:
        torch.manual_seed(SEED)
        with torch.device(device):
            return Qwen2ForCausalLM(config).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)


def samples(size: Size) -> list[EncodedSample]:
    """Return samples of noise, all of one length, so that nothing is padded."""
    generator = torch.Generator().manual_seed(SEED)
    return [
        EncodedSample(
            {
                "input_ids": torch.randint(size.vocabulary, (size.tokens,), generator=generator),
                "attention_mask": torch.ones(size.tokens, dtype=torch.long),
            },
            {},
            size.tokens // 2,
        )
        for _ in range(2 * size.batch)
    ]


def train(model: nn.Module, subset: str, size: Size, checkpointing: bool) -> Progress:
    """Train a lent model; return the progress of the steps after the warm-up."""
    recipe = Recipe(subset=subset, learning_rate=1e-5, steps=STEPS, batch_size=size.batch)
    manifest = build_manifest(model, subset)
    with borrowed(model, manifest, seed=SEED):
        *_, last = fine_tune(
            model,
            manifest,
            recipe,
            samples(size),
            seed=SEED,
            rungs=(WARM_UP, STEPS),
            pad_token_id=0,
            micro_batch_size=1,
            activation_checkpointing=checkpointing,
        )
        return last


def measure(
    model: nn.Module, estimator: Estimator, subset: str, size: Size, checkpointing: bool
) -> dict[str, Any]:
    """Run one case; running out of memory is a result."""
    device = next(model.parameters()).device
    on_gpu = device.type == "cuda"
    manifest = build_manifest(model, subset)
    estimate = estimator.estimate(manifest, Load(micro_batch=1, checkpointing=checkpointing))
    row: dict[str, Any] = {
        "subset": subset,
        "layers": model.config.num_hidden_layers,
        "checkpointing": checkpointing,
        "trained": manifest.count,
        "total": manifest.total,
        "estimated_bytes": estimate.to_dict(),
    }
    if on_gpu:
        row["estimated_to_fit"] = estimate.total <= torch.cuda.get_device_properties(device).total_memory
        torch.cuda.reset_peak_memory_stats(device)
    try:
        progress = train(model, subset, size, checkpointing)
    except StepTooLarge as error:
        row |= {"fits": False, "error": str(error)}
    else:
        row |= {"fits": True, "losses": progress.losses}
        row |= speed(model, subset, size, checkpointing, progress.seconds)
        if on_gpu:
            row |= memory(device, estimate)
    # What an unfinished pass has left behind would weigh on the next case.
    gc.collect()
    if on_gpu:
        torch.cuda.empty_cache()
    return row


def speed(model: nn.Module, subset: str, size: Size, checkpointing: bool, seconds: float) -> dict[str, Any]:
    """Return tokens per second and utilisation over the measured steps."""
    everything, manifest = build_manifest(model, "full"), build_manifest(model, subset)
    config: Any = model.config
    data, steps = samples(size), range(WARM_UP, STEPS)
    order = DataOrder(targets=len(data), batch_size=size.batch, seed=SEED)
    needed, executed = (
        flops_of_steps(
            TrainingFlops(everything, manifest, config.to_dict(), recomputed=recomputed), steps, data, order
        )
        for recomputed in (False, checkpointing)
    )
    device = next(model.parameters()).device
    peak = peak_flops(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    return {
        "seconds_per_step": seconds / len(steps),
        "tokens_per_second": len(steps) * size.batch * size.tokens / seconds,
        "model_flops_per_step": needed / len(steps),
        "model_flops_utilisation": None if peak is None else needed / seconds / peak,
        "utilisation_with_recomputation": None if peak is None else executed / seconds / peak,
    }


def memory(device: torch.device, estimate: MemoryEstimate) -> dict[str, Any]:
    """Return the measured peak, and the estimate over it: what torch allocated, without the context."""
    peak = torch.cuda.max_memory_allocated(device)
    return {
        "peak_allocated_bytes": peak,
        "peak_reserved_bytes": torch.cuda.max_memory_reserved(device),
        "estimate_over_peak": (estimate.resident + estimate.activations) / peak,
    }


def run(size: Size, depths: Sequence[int], device: torch.device, console: Console) -> list[dict[str, Any]]:
    """Run all cases at each depth, the same model serving one after another, as a worker's does."""
    rows = []
    for layers in depths:
        model = build(size, layers, device)
        shape = SampleShape(tokens=size.tokens, answer_tokens=size.tokens // 2)
        estimator = Estimator(build(size, layers, "meta"), shape, "cuda" if device.type == "cuda" else "cpu")
        for subset, checkpointing in product(SUBSETS, (False, True)):
            row = measure(model, estimator, subset, size, checkpointing)
            rows.append(row)
            told = f"{row['tokens_per_second']:,.0f} tokens/s" if row["fits"] else row["error"]
            console.print(f"{layers} layers, {subset}, checkpointing {checkpointing}: {told}")
        del model
        gc.collect()
    return rows


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the figures as a table; what was not measured is left out."""
    result = Table(
        *("layers", "subset", "again", "estimate GiB", "peak GiB", "tokens/s", "MFU"),
        box=None,
        header_style="bold",
    )
    for row in rows:
        utilisation = row.get("model_flops_utilisation")
        peak = row.get("peak_allocated_bytes")
        result.add_row(
            str(row["layers"]),
            row["subset"],
            "yes" if row["checkpointing"] else "no",
            f"{row['estimated_bytes']['total'] / 2**30:.1f}",
            "" if peak is None else f"{peak / 2**30:.1f}",
            f"{row['tokens_per_second']:,.0f}" if row["fits"] else "out of memory",
            "" if utilisation is None else f"{utilisation:.1%}",
        )
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure on this machine's GPU, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a tiny model on the CPU; writes nothing")
    parser.add_argument("--layers", type=int, nargs="+", default=[28, 7], help="depths to measure at")
    chosen = parser.parse_args(arguments)
    console = Console(highlight=False)
    if chosen.small:
        console.print(table(run(SMALL, [2], torch.device("cpu"), console)))
        return 0
    if not torch.cuda.is_available():
        print("error: no GPU here; --small runs a tiny model on the CPU", file=sys.stderr)
        return 1
    device = torch.device("cuda")
    size = Size()
    rows = run(size, chosen.layers, device, console)
    console.print(table(rows))
    name, properties = torch.cuda.get_device_name(device), torch.cuda.get_device_properties(device)
    path = write_results(
        "gpu_training",
        {
            "device": {"name": name, "memory_bytes": properties.total_memory, "peak_flops": peak_flops(name)},
            "model": {"architecture": "Qwen2", **asdict(size), "dtype": str(size.dtype)},
            "steps": {"warm_up": WARM_UP, "measured": STEPS - WARM_UP, "micro_batch": 1},
            "cases": rows,
        },
    )
    console.print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
