"""Presets: the published recipes, queued before the sampler proposes its own.

The subsets compared in "How to Teach Large Multimodal Models New Skills" (arXiv 2510.08564).
"""

from __future__ import annotations

from typing import Any, Final

from spaces.space import RecipeSpace

PRESETS: Final[dict[str, str]] = {
    "paper_full": "full",
    "paper_llm": "llm",
    "paper_sa_proj": "sa_proj",
    "paper_mlp": "mlp",
    "paper_gate_up": "gate_up",
    "paper_projector": "projector",
    "paper_vision": "vision",
}


def preset_params(space: RecipeSpace, learning_rate: float | None = None) -> dict[str, dict[str, Any]]:
    """Return the presets that lie in a space, as values that `RecipeSpace.recipe` reads.

    Args:
        space: The space of the study.
        learning_rate: The rate of every preset, clipped to its subset's bounds. None takes the geometric
            mean of the bounds, since a rate published for a 7 B model means nothing on another one.

    Returns:
        Preset name -> parameter values, for each preset whose subset the space searches.
    """
    queued: dict[str, dict[str, Any]] = {}
    for name, subset in PRESETS.items():
        if subset not in space.subsets:
            continue
        bounds = space.bounds(subset)
        rate = bounds.middle if learning_rate is None else min(max(learning_rate, bounds.low), bounds.high)
        params: dict[str, Any] = {"subset": subset, "learning_rate": rate}
        if len(space.warmup_ratio) > 1:
            params["warmup_ratio"] = space.warmup_ratio[0]
        queued[name] = params
    return queued
