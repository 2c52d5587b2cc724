"""Turns a task's drawing function into its three splits, deterministically."""

from __future__ import annotations

import difflib
import zlib
from collections.abc import Iterator

import numpy as np

from trainables.data.samples import SPLITS, Sample, Split
from trainables.tiny.canvas import Item
from trainables.tiny.renderers import DRAW
from trainables.tiny.tasks import TASKS

SIZES: dict[Split, int] = {"train": 2000, "search": 300, "confirm": 400}
FACES_SIZES: dict[Split, int] = {"train": 2000, "search": 60, "confirm": 60}

_STREAM: dict[str, int] = {"train": 1, "search": 2, "confirm": 3, "pretrain": 4}


def split_size(name: str, split: Split) -> int:
    """Return how many samples a split of the task has; the real faces are too few for the usual sizes."""
    return (FACES_SIZES if name == "faces" else SIZES)[split]


def render_split(name: str, split: Split, limit: int | None = None) -> list[Sample]:
    """Return the first `limit` samples of a split; `trainables.tiny.load_split` documents the contract."""
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown tiny task {name!r}, expected one of {', '.join(TASKS)}{hint}")
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, expected one of {', '.join(SPLITS)}")
    if limit is not None and limit < 0:
        raise ValueError(f"limit must be at least 0, got {limit}")
    size = split_size(name, split)
    order = np.random.default_rng([_task_seed(name), _STREAM[split]]).permutation(size)
    samples = []
    for index in order[:limit]:
        image, prompt, answer = _draw(name, split, split, int(index))
        images = () if image is None else (image,)
        samples.append(Sample(id=f"{name}/{split}/{index}", prompt=prompt, answer=answer, images=images))
    return samples


def pretraining_items(name: str, start: int, stop: int) -> Iterator[Item]:
    """Yield pretraining items `start` to `stop` of a held-out task: train material only, other seeds.

    Raises:
        ValueError: The task is a target, which the base model must never see.
    """
    if TASKS[name].role != "held_out":
        raise ValueError(f"{name!r} is a target task: the base model must not be pretrained on it")
    for index in range(start, stop):
        yield _draw(name, "train", "pretrain", index)


def _draw(name: str, pool: Split, stream: str, index: int) -> Item:
    rng = np.random.default_rng([_task_seed(name), _STREAM[stream], index])
    return DRAW[name](pool, index, rng)


def _task_seed(name: str) -> int:
    return zlib.crc32(name.encode())
