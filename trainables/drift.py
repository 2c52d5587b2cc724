"""Drift: how far a tuned model's output distribution moved away from its base's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def kl_divergence(base: Sequence[Tensor], tuned: Sequence[Tensor]) -> float:
    """Return KL(base || tuned) in nats per answer token, under teacher forcing on the reference answers.

    A drift probe that predicts forgetting: "RL's Razor" (arXiv 2509.04259).

    Args:
        base: The base's log-probabilities per sample, each `[answer tokens, V]`.
        tuned: The tuned model's, of the same shapes.

    Raises:
        ValueError: There is no sample, or the shapes differ.
    """
    if not base or [t.shape for t in base] != [t.shape for t in tuned]:
        raise ValueError("base and tuned log-probabilities must be of the same samples, at least one")
    total = sum(
        torch.nn.functional.kl_div(q, p, reduction="sum", log_target=True).item()
        for p, q in zip(base, tuned, strict=True)
    )
    return total / sum(len(p) for p in base)
