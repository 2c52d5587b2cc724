"""The two pretraining objectives: answer words from pooled vision features, then the whole LLaVA.

The first teaches the vision tower what to see before a language model asks for it; without it the joint
training stays at guessing frequent answers for a long time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration

from trainables.tiny.batches import IGNORED, Batch
from trainables.tiny.corpus import SLOTS, TOKEN_ID
from trainables.tiny.vocabulary import PAD, VOCABULARY


class AnswerHead(nn.Module):
    """Predicts the words of the answer from mean patch features and a bag of the question's words."""

    def __init__(self, width: int = 128, hidden: int = 256) -> None:
        """Build the head for vision features of `width`."""
        super().__init__()
        self.question = nn.EmbeddingBag(len(VOCABULARY), 64, mode="sum", padding_idx=TOKEN_ID[PAD])
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width + 64, hidden)
        self.out = nn.Linear(hidden, SLOTS * len(VOCABULARY))

    def forward(self, features: Tensor, questions: Tensor) -> Tensor:
        """Return logits `[I, S, V]` for patch features `[I, P, width]`."""
        pooled = self.norm(features.mean(dim=1))
        joined = torch.cat([pooled, self.question(questions)], dim=-1)
        return self.out(F.gelu(self.hidden(joined))).view(len(features), SLOTS, -1)


def vision_loss(
    model: LlavaForConditionalGeneration, head: AnswerHead, batch: Batch
) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy over answer words and which images are answered right `[I]`."""
    features = model.model.vision_tower(batch.pixels).last_hidden_state[:, 1:]
    logits = head(features, batch.questions)
    loss = F.cross_entropy(logits.flatten(0, 1).float(), batch.words.flatten(), ignore_index=IGNORED)
    return loss, _right(logits, batch.words)


def language_loss(model: LlavaForConditionalGeneration, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy over answer tokens and which conversations are answered right `[B]`."""
    hidden = model.model(
        input_ids=batch.tokens, pixel_values=batch.pixels if len(batch.pixels) else None, use_cache=False
    ).last_hidden_state
    kept = batch.labels != IGNORED
    logits = model.lm_head(hidden[kept])
    labels = batch.labels[kept]
    wrong = torch.zeros(len(batch.tokens), dtype=torch.bool, device=labels.device)
    wrong[kept.nonzero()[:, 0][logits.argmax(-1) != labels]] = True
    return F.cross_entropy(logits.float(), labels), ~wrong


def _right(logits: Tensor, words: Tensor) -> Tensor:
    return ((logits.argmax(-1) == words) | (words == IGNORED)).all(dim=1)
