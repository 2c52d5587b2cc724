"""Presets: the published recipes, queued before the sampler proposes its own.

The subsets compared in "How to Teach Large Multimodal Models New Skills" (arXiv 2510.08564).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from spaces.space import Bounds, RecipeSpace

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
        drawn = _Drawn({"subset": subset}, learning_rate)
        space.suggest(drawn)
        queued[name] = drawn.params
    return queued


class _Drawn:
    """A trial that draws what a preset wants; what the space does not offer is its first value.

    It names exactly what the space searches for that recipe, or the sampler would draw the rest anew.
    """

    def __init__(self, wanted: Mapping[str, Any], learning_rate: float | None) -> None:
        self._wanted = wanted
        self._learning_rate = learning_rate
        self.params: dict[str, Any] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        wanted = self._wanted.get(name)
        self.params[name] = wanted if wanted in choices else choices[0]
        return self.params[name]

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        rate = self._learning_rate
        self.params[name] = Bounds(low, high).middle if rate is None else min(max(rate, low), high)
        return self.params[name]
