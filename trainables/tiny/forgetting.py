"""Checks that the test bed shows forgetting: `python -m trainables.tiny.forgetting counting --rate 1e-3`.

Tunes every weight of the shipped model on one target, with AdamW, a cosine to zero and no warm-up, and prints
what every search split scores before and after. It is a check of the material, not the project's trainer.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoProcessor, LlavaForConditionalGeneration

from trainables.data.samples import Sample
from trainables.tiny import MODEL_DIR, TASKS, load_split
from trainables.tiny.evaluate import prompt_text, right_answers

Inputs = dict[str, Tensor]


def tune(
    model: LlavaForConditionalGeneration,
    processor: Any,
    name: str,
    steps: int,
    rate: float,
    batch: int,
    seed: int,
) -> None:
    """Train all weights in place on the target's train split."""
    samples = load_split(name, "train")
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        rows = np.random.default_rng([seed, step]).choice(len(samples), batch, replace=False)
        inputs, labels = encode(processor, [samples[row] for row in rows])
        logits = model(**inputs).logits[:, :-1]
        F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def encode(processor: Any, samples: list[Sample]) -> tuple[Inputs, Tensor]:
    """Return the inputs of prompt and answer, and labels `[B, T]` that cover answer and `</s>` only."""
    eos = processor.tokenizer.eos_token
    texts = [prompt_text(processor, sample) + sample.answer + eos for sample in samples]
    images = [image for sample in samples for image in sample.images]
    inputs = processor(text=texts, images=images or None, padding=True, return_tensors="pt")
    labels = torch.full_like(inputs["input_ids"], -100)
    for row, sample in enumerate(samples):
        length = len(processor.tokenizer(sample.answer + eos).input_ids)
        labels[row, -length:] = inputs["input_ids"][row, -length:]
    return inputs, labels


def points(model: LlavaForConditionalGeneration, processor: Any, limit: int) -> dict[str, float]:
    """Return the exact match of every task on its search split, in points."""
    right = {name: right_answers(model, processor, load_split(name, "search", limit)) for name in TASKS}
    return {name: 100 * sum(hits) / len(hits) for name, hits in right.items()}


def main(argv: list[str] | None = None) -> None:
    """Print base and tuned points of the target and of every held-out skill."""
    parser = argparse.ArgumentParser(prog="python -m trainables.tiny.forgetting", description=__doc__)
    parser.add_argument("target", choices=[name for name, task in TASKS.items() if task.role == "target"])
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps")
    parser.add_argument("--batch", type=int, default=32, help="samples per step")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample order")
    parser.add_argument("--limit", type=int, default=100, help="search samples per task")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    model = LlavaForConditionalGeneration.from_pretrained(MODEL_DIR, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(MODEL_DIR)
    before = points(model, processor, args.limit)
    tune(model, processor, args.target, args.steps, args.rate, args.batch, args.seed)
    after = points(model, processor, args.limit)
    held_out = [name for name, task in TASKS.items() if task.role == "held_out"]
    for name in [args.target, *held_out]:
        print(f"{name:16s} {before[name]:5.1f} -> {after[name]:5.1f}  {after[name] - before[name]:+6.1f}")
    change = sum(after[name] - before[name] for name in held_out) / len(held_out)
    gain = after[args.target] - before[args.target]
    print(
        f"full, {args.steps} steps, rate {args.rate:g}: gain {gain:+.1f}, mean held-out change {change:+.1f}"
    )


if __name__ == "__main__":
    main()
