"""Batches of the pretraining corpus, drawn by (seed, step) alone, so that a resumed run goes on the same way.

Legend: B = conversations, I = those with an image, T = tokens of the longest, S = answer words at most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.tiny.corpus import SLOTS, TOKEN_ID, TaskCorpus, conversation
from trainables.tiny.vocabulary import ASSISTANT, PAD

IGNORED = -100


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One pretraining batch.

    Attributes:
        pixels: Normalised images `[I, 3, 32, 32]`.
        tokens: Conversations `[B, T]`, right-padded.
        labels: The token to predict *at* each position `[B, T]`; -100 outside answer and `</s>`.
        words: Answer words of the imaged conversations `[I, S]`; -100 where there is none.
        questions: Prompt token ids of the imaged conversations `[I, L]`.
        tasks: Index of each conversation's task `[B]`.
    """

    pixels: Tensor
    tokens: Tensor
    labels: Tensor
    words: Tensor
    questions: Tensor
    tasks: Tensor


def draw_batch(
    corpora: dict[str, TaskCorpus],
    weights: dict[str, float],
    size: int,
    seed: int,
    step: int,
    vision_only: bool,
) -> Batch:
    """Draw `size` items, each task in proportion to its weight; `vision_only` leaves out text-only tasks."""
    rng = np.random.default_rng([seed, step])
    names = [name for name in corpora if corpora[name].images is not None or not vision_only]
    shares = np.array([weights[name] for name in names])
    picked = np.sort(rng.choice(len(names), size, p=shares / shares.sum()))
    rows = [int(rng.integers(len(corpora[names[k]]))) for k in picked]
    tasks = np.array([list(corpora).index(names[k]) for k in picked])
    return collate([(corpora[names[k]], row) for k, row in zip(picked, rows, strict=True)], tasks, rng)


def collate(
    items: list[tuple[TaskCorpus, int]], tasks: np.ndarray, rng: np.random.Generator | None = None
) -> Batch:
    """Assemble items into a batch; with a generator, images are moved by up to one pixel."""
    pixels, words, questions, rows = [], [], [], []
    for corpus, row in items:
        rows.append(conversation(corpus.prompts[row], corpus.answers[row], corpus.images is not None))
        if corpus.images is not None:
            pixels.append(corpus.images[row])
            words.append(corpus.answers[row])
            questions.append(corpus.prompts[row])
    tokens = np.full((len(rows), max(map(len, rows))), TOKEN_ID[PAD])
    labels = np.full_like(tokens, IGNORED)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = row
        start = row.index(TOKEN_ID[ASSISTANT])
        labels[index, start : len(row) - 1] = row[start + 1 :]
    targets = np.asarray(words).reshape(-1, SLOTS)
    stack = np.asarray(pixels, np.uint8).reshape(-1, 32, 32, 3)
    if rng is not None:
        stack = _moved(stack, rng)
    normalised = torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 127.5 - 1
    return Batch(
        pixels=normalised,
        tokens=torch.from_numpy(tokens),
        labels=torch.from_numpy(labels),
        words=torch.from_numpy(np.where(targets == TOKEN_ID[PAD], IGNORED, targets)),
        questions=torch.from_numpy(np.asarray(questions).reshape(len(pixels), -1)),
        tasks=torch.from_numpy(np.asarray(tasks)),
    )


def _moved(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move each image by -1, 0 or 1 pixels in both directions, repeating its edge."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    offsets = rng.integers(0, 3, (len(images), 2))
    return (
        np.stack([padded[i, y : y + 32, x : x + 32] for i, (y, x) in enumerate(offsets)])
        if len(images)
        else images
    )
