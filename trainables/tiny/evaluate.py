"""Prints tiny-llava's exact match on every task's search split: `python -m trainables.tiny.evaluate`.

A sample counts as right if the most probable token at every place of its answer, `</s>` included, is the
reference; greedy decoding then writes exactly that answer. The confirm splits are never read here.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

from trainables.data.samples import Sample
from trainables.tiny import MODEL_DIR, TASKS, load_split


def prompt_text(processor: Any, sample: Sample) -> str:
    """Return the sample's question in the model's chat format, up to where the answer starts."""
    content = [{"type": "text", "text": sample.prompt}]
    if sample.images:
        content.insert(0, {"type": "image"})
    return processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)


@torch.inference_mode()
def right_answers(
    model: LlavaForConditionalGeneration, processor: Any, samples: list[Sample], batch: int = 100
) -> list[bool]:
    """Tell for each sample whether the model answers it exactly."""
    eos = processor.tokenizer.eos_token
    right = []
    for start in range(0, len(samples), batch):
        chunk = samples[start : start + batch]
        images = [image for sample in chunk for image in sample.images]
        texts = [prompt_text(processor, sample) + sample.answer + eos for sample in chunk]
        inputs = processor(text=texts, images=images or None, padding=True, return_tensors="pt")
        logits = model(**inputs, logits_to_keep=8).logits
        for row, sample in enumerate(chunk):
            answer = processor.tokenizer(sample.answer + eos, return_tensors="pt").input_ids[0]
            guess = logits[row, -len(answer) - 1 : -1].argmax(dim=-1)
            right.append(bool(torch.equal(guess, answer)))
    return right


def main(argv: list[str] | None = None) -> None:
    """Print one row per task: points, standard error and sample count."""
    parser = argparse.ArgumentParser(prog="python -m trainables.tiny.evaluate", description=__doc__)
    parser.add_argument(
        "--model", type=Path, default=MODEL_DIR, help="model folder (default: the shipped one)"
    )
    parser.add_argument("--limit", type=int, help="samples per task (default: the whole search split)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    model = LlavaForConditionalGeneration.from_pretrained(args.model, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(args.model)
    print("| task | role | points | standard error | n |\n|---|---|---|---|---|")
    for name, task in TASKS.items():
        right = right_answers(model, processor, load_split(name, "search", args.limit))
        share, n = sum(right) / len(right), len(right)
        error = math.sqrt(share * (1 - share) / max(n - 1, 1))
        print(f"| {name} | {task.role} | {100 * share:.1f} | {100 * error:.1f} | {n} |", flush=True)


if __name__ == "__main__":
    main()
