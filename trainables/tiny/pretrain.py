"""Pretrains tiny-llava from scratch: `python -m trainables.tiny.pretrain --out FOLDER`.

First the vision tower alone learns to name answer words, then projector and language model learn to say them
with the tower frozen, then the whole model is trained. The learning rate warms up in each stage, stays, and
decays over the last fifth of the run; checkpoints keep what an interrupted or extended run needs.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from trainables.tiny.batches import Batch, draw_batch
from trainables.tiny.build import build_model, build_processor
from trainables.tiny.corpus import HELD_OUT, TaskCorpus, load_corpus
from trainables.tiny.objectives import AnswerHead, language_loss, vision_loss

SEED = 20240601
WARMUP_STEPS = 100
DECAY_SHARE = 0.2
FLOOR_WEIGHT = 0.12
MEMORY = 0.98


class Pretraining:
    """The state of a pretraining run: model, optimizer, step, and how well each skill goes so far."""

    def __init__(self, device: torch.device) -> None:
        """Start an untrained model on the device."""
        self.device = device
        self.model = build_model(SEED).to(device)
        self.head = AnswerHead().to(device)
        parameters = [*self.model.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, lr=0.0, betas=(0.9, 0.98), weight_decay=0.02)
        self.step = 0
        self.accuracy = dict.fromkeys(HELD_OUT, 0.0)
        self.seconds = 0.0

    def weights(self) -> dict[str, float]:
        """Return how often to draw each skill: those not yet learned more often."""
        return {name: FLOOR_WEIGHT + 1 - accuracy for name, accuracy in self.accuracy.items()}

    def train_step(self, batch: Batch, rate: float, vision: bool, autocast: bool) -> float:
        """Take one optimizer step at learning rate `rate` and return the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=autocast):
            loss, right = (
                vision_loss(self.model, self.head, batch) if vision else language_loss(self.model, batch)
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._remember(batch.tasks, right)
        self.step += 1
        return float(loss.detach())

    def save(self, file: Path) -> None:
        """Write a checkpoint, replacing the previous one whole."""
        state = {
            "model": self.model.state_dict(),
            "head": self.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "accuracy": self.accuracy,
            "seconds": self.seconds,
        }
        part = file.with_suffix(".part")
        torch.save(state, part)
        part.replace(file)

    def load(self, file: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(file, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.accuracy, self.seconds = state["step"], state["accuracy"], state["seconds"]

    def _remember(self, tasks: torch.Tensor, right: torch.Tensor) -> None:
        hits = right.float().cpu()
        for index, name in enumerate(HELD_OUT):
            mine = tasks == index
            if mine.any():
                share = MEMORY ** int(mine.sum())
                self.accuracy[name] = share * self.accuracy[name] + (1 - share) * float(hits[mine].mean())

    def forget_accuracy(self) -> None:
        """Start the running accuracies afresh, for a new objective."""
        self.accuracy = dict.fromkeys(HELD_OUT, 0.0)


def stage_bounds(args: argparse.Namespace) -> dict[str, tuple[int, int]]:
    """Return the first step of each stage and the step after its last."""
    language = args.vision_steps + args.language_steps
    return {
        "vision": (0, args.vision_steps),
        "language": (args.vision_steps, language),
        "joint": (language, args.steps),
    }


def learning_rate(peak: float, step: int, start: int, end: int, total: int) -> float:
    """Return the rate at `step` of stage `[start, end)`: warm-up at its start, decay at the run's end."""
    warmup = min(1.0, (step - start + 1) / WARMUP_STEPS)
    decay_start = total * (1 - DECAY_SHARE)
    decay = 1.0 if step < decay_start or end < total else (total - step) / (total - decay_start)
    return peak * warmup * decay


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch with its tensors on the device; the task numbers stay where they are."""
    moved = {
        name: getattr(batch, name).to(device) for name in ("pixels", "tokens", "labels", "words", "questions")
    }
    return replace(batch, **moved)


def run_steps(run: Pretraining, corpora: dict[str, TaskCorpus], args: argparse.Namespace) -> None:
    """Train until `args.steps`, or until `args.minutes` have passed, with checkpoints on the way."""
    checkpoint, stable = args.out / "checkpoint.pt", args.out / "stable.pt"
    decay_start = int(args.steps * (1 - DECAY_SHARE))
    started, before = time.monotonic(), run.seconds
    running = 0.0
    while run.step < args.steps:
        stage, (start, end) = next((s, b) for s, b in stage_bounds(args).items() if b[0] <= run.step < b[1])
        vision = stage == "vision"
        run.model.model.vision_tower.requires_grad_(stage != "language")
        if run.step == args.vision_steps:
            run.forget_accuracy()
        rate = learning_rate(args.rate, run.step, start, end, args.steps)
        size = args.vision_batch if vision else args.batch
        batch = draw_batch(corpora, run.weights(), size, SEED, run.step, vision_only=vision)
        loss = run.train_step(to_device(batch, run.device), rate, vision, args.autocast)
        running = loss if running == 0 else 0.98 * running + 0.02 * loss
        run.seconds = before + time.monotonic() - started
        if run.step % 100 == 0:
            shown = {name: round(100 * value) for name, value in run.accuracy.items()}
            print(
                json.dumps({"step": run.step, "s": round(run.seconds), "loss": round(running, 4), **shown}),
                flush=True,
            )
        if run.step % args.save_every == 0 or run.step == decay_start:
            run.save(checkpoint)
            if run.step <= decay_start:
                run.save(stable)
        if args.minutes and time.monotonic() - started > 60 * args.minutes:
            break


def ship(run: Pretraining, out: Path) -> None:
    """Write the model, its configs, tokenizer and processor as Hugging Face files under `out/model`."""
    run.model.to("cpu", torch.float32).eval().save_pretrained(out / "model")
    build_processor().save_pretrained(out / "model")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(prog="python -m trainables.tiny.pretrain", description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of checkpoints and of the finished model/"
    )
    parser.add_argument("--steps", type=int, default=10000, help="optimizer steps of the whole run")
    parser.add_argument(
        "--vision-steps", type=int, default=6500, help="of these, steps of the vision tower alone"
    )
    parser.add_argument("--minutes", type=float, help="stop (resumable) after this many minutes")
    parser.add_argument("--language-steps", type=int, default=1500, help="steps with a frozen vision tower")
    parser.add_argument(
        "--vision-batch", type=int, default=128, help="images per step of the vision tower alone"
    )
    parser.add_argument("--batch", type=int, default=64, help="conversations per step of the other stages")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--items", type=int, default=16000, help="rendered items per skill")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    parser.add_argument("--autocast", action="store_true", help="compute in bfloat16")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--resume", type=Path, help="checkpoint to go on from; stable.pt to extend a finished run"
    )
    parser.add_argument("--save-every", type=int, default=250, help="steps between checkpoints")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Render or read the corpus, train, and write the model."""
    args = parse_arguments(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    args.out.mkdir(parents=True, exist_ok=True)
    corpora = {name: load_corpus(name, args.items, args.out / "corpus") for name in HELD_OUT}
    state = Pretraining(torch.device(device))
    if args.resume:
        state.load(args.resume)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped; go on with --resume"))
    try:
        run_steps(state, corpora, args)
    finally:
        state.save(args.out / "checkpoint.pt")
    ship(state, args.out)


if __name__ == "__main__":
    main()
