"""The input pipeline beside the model: samples per second that it gives, and that training and scoring take.

Two models on one core: the embedded one (32 x 32 pixels, 16 tokens an image), and one of the same width that
takes 336 x 336 pixels as 576 tokens, as LLaVA does, with photos of 640 x 480 as JPEG files. The latter is far
smaller than what takes such images in earnest, but on a core, not on a GPU.

All is measured in turn, in several rounds. Reading takes the samples of a step in random order from files
that were just written, so from the system's page cache. Memory is that of a process of its own which has
collated every sample once, beyond what it had with its modules imported; `anonymous` is its own, `file` is
shared by all processes that map the same files.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import nn
from transformers import CLIPImageProcessorPil, LlavaConfig, LlavaForConditionalGeneration

from benchmarks.machine import spread, write_results
from spaces.recipe import Recipe
from trainables.collate import Encoder, collate, pad_token_id
from trainables.data.encoded_set import EncodedSet, SetIndex
from trainables.data.encoded_writer import encode_part
from trainables.data.samples import Sample
from trainables.evaluate import evaluate_task
from trainables.loop import fine_tune
from trainables.manifest import build_manifest
from trainables.metrics import EXACT_MATCH
from trainables.tiny import load_split
from trainables.tiny.build import build_model, build_processor
from trainables.training.batches import DataOrder
from trainables.weights.restore import borrowed
from trainables.workers.jobs import WorkerSetup
from trainables.workers.workbench import Workbench

BATCH = 32
_ASKED = 50  # photos that all questions of the memory's measurement are about
SIDE, PATCH = 336, 14


def photos(folder: Path, n: int) -> list[Sample]:
    """Write photos of noise, smooth enough for JPEG, and return a question about each."""
    rng = np.random.default_rng(0)
    samples = []
    for number in range(n):
        coarse = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        path = folder / f"{number}.jpg"
        Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC).save(path)
        samples.append(Sample(id=str(number), prompt="how many squares ?", answer="3", images=(path,)))
    return samples


def save_llava_336(folder: Path) -> str:
    """Save a model of the embedded one's width that sees 336 x 336 pixels; return its path."""
    config = build_model().config.to_dict()
    config["vision_config"] |= {"image_size": SIDE, "patch_size": PATCH}
    config["text_config"]["max_position_embeddings"] = 1024
    config["image_seq_length"] = (SIDE // PATCH) ** 2
    torch.manual_seed(0)
    LlavaForConditionalGeneration(LlavaConfig(**config)).save_pretrained(folder)
    processor = build_processor()
    processor.patch_size = PATCH
    processor.image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    processor.tokenizer.model_max_length = 1024
    processor.save_pretrained(folder)
    return str(folder)


def rates(model: str, samples: Sequence[Sample], folder: Path, steps: int) -> dict[str, Callable[[], float]]:
    """Return what is measured of a model, each as a function that measures it once, in samples per second."""
    own: nn.Module = Workbench(setup(model)).model
    encoder = Encoder.load(model)
    pad = pad_token_id(encoder.tokenizer)
    recipe = Recipe(subset="full", learning_rate=1e-6, steps=steps, batch_size=BATCH)
    order = DataOrder.of(recipe, len(samples), 0, 0)
    manifest = build_manifest(own, "full")

    def encode() -> float:
        began = time.perf_counter()
        part, bad = encode_part(model, samples, folder / "part.arrow", torch.float32)
        assert not bad
        SetIndex((part,)).write(folder)
        return len(samples) / (time.perf_counter() - began)

    def read() -> float:
        data, count = EncodedSet.open(folder), max(4, len(samples) // BATCH)
        began = time.perf_counter()
        for step in range(count):
            collate([data[row] for row in order.batch(step)], pad)
        return count * BATCH / (time.perf_counter() - began)

    def train() -> float:
        with borrowed(own, manifest, seed=0):
            data = EncodedSet.open(folder)
            (end,) = fine_tune(own, manifest, recipe, data, seed=0, rungs=(steps,), pad_token_id=pad)
        return steps * BATCH / end.seconds

    def evaluate() -> float:
        data = EncodedSet.open(folder)[: steps * BATCH]
        began = time.perf_counter()
        evaluate_task(
            own,
            encoder.tokenizer,
            data,
            samples=samples[: len(data)],
            metric=EXACT_MATCH,
            batch_size=BATCH,
            keep=0,
        )
        return len(data) / (time.perf_counter() - began)

    return {"encode": encode, "read_and_collate": read, "train": train, "evaluate": evaluate}


def setup(model: str) -> WorkerSetup:
    """Return a setup without tasks."""
    return WorkerSetup(
        model=model, dtype="float32", tasks=(), eval_batch_size=BATCH, drift_samples=1, threads=1
    )


def memory(model: str, samples: Sequence[Sample], folder: str | None, answer: Any) -> None:
    """Hold a worker's training samples as it does, collate each once, and tell the bytes that this took."""
    encoder = Encoder.load(model)
    encoder.encode(samples[0])
    before = _resident()
    if folder is None:
        data: Any = [encoder.encode(sample) for sample in samples]
    else:
        data = EncodedSet.open(Path(folder))
    for start in range(0, len(data), BATCH):
        rows = range(start, min(start + BATCH, len(data)))
        collate([data[row] for row in rows], pad_token_id(encoder.tokenizer))
    after = _resident()
    answer.put({kind: after[kind] - before[kind] for kind in after} | {"samples": len(data)})


def _resident() -> dict[str, int]:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        kind: int(status[key].split()[0]) * 1024
        for kind, key in (("anonymous", "RssAnon"), ("file", "RssFile"))
    }


def _apart(*arguments: Any) -> dict[str, int]:
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=memory, args=(*arguments, answer))
    process.start()
    found: dict[str, int] = answer.get(timeout=600)
    process.join()
    return found


def main() -> int:
    """Measure, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--photos", type=int, default=200, help="different photos; each takes 1.35 MB encoded"
    )
    parser.add_argument("--questions", type=int, default=20_000, help="samples about 50 photos, for memory")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        (home / "photos").mkdir()
        pictures = photos(home / "photos", arguments.photos)
        large = save_llava_336(home / "llava-336")
        kinds = {
            "tiny-llava": rates("tiny-llava", load_split("counting", "train", 2000), home / "tiny", 12),
            "llava, 336 px": rates(large, pictures, home / "large", 1),
        }
        measured: dict[str, dict[str, list[float]]] = {
            kind: {name: [] for name in ways} for kind, ways in kinds.items()
        }
        for _ in range(arguments.rounds):
            for kind, ways in kinds.items():
                for name, way in ways.items():
                    measured[kind][name].append(way())
        console.print("samples per second are measured; now memory")
        asked = [
            Sample(
                id=str(n),
                prompt=f"how many {n} ?",
                answer="3",
                images=pictures[n * _ASKED // arguments.questions].images,
            )
            for n in range(arguments.questions)
        ]
        part, _ = encode_part(large, asked, home / "many" / "part.arrow", torch.float32)
        SetIndex((part,)).write(home / "many")
        held = {
            "different photos, encoded by the worker": _apart(large, pictures, None),
            "different photos, mapped": _apart(large, pictures, str(home / "large")),
            "questions about 50 photos, mapped": _apart(large, asked, str(home / "many"))
            | {"storage": part.size},
        }
    figures = {kind: {name: spread(v) for name, v in ways.items()} for kind, ways in measured.items()}
    table = Table("samples per second", *figures["tiny-llava"], box=None, header_style="bold")
    for kind, ways in figures.items():
        table.add_row(kind, *(f"{found['median']:.0f}" for found in ways.values()))
    console.print(table)
    for name, found in held.items():
        console.print(f"{name}: {found}")
    path = write_results(
        "input_pipeline",
        {
            "unit": "samples per second",
            **figures,
            "memory_bytes_of_a_worker": held,
        },
    )
    console.print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
