"""Presets: the published recipes and their baselines, queued before the sampler proposes its own.

They are those of "How to Teach Large Multimodal Models New Skills" (arXiv 2510.08564), as its code sets them.
Of its baselines, WiSE-FT is no training of its own: it is a point of another preset's trial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from spaces.points import Interpolation, Transform
from spaces.recipe import Method
from spaces.space import Bounds, RecipeSpace


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A published recipe.

    Attributes:
        subset: What it trains.
        layers: `all`, or how a layer range begins, which names no number: it depends on the model.
        method: How.
        distilled: Whether it distils from the base.
        values: What else was published, by the names of a recipe's fields.
    """

    subset: str
    layers: str = "all"
    method: Method = "selective"
    distilled: bool = False
    values: Mapping[str, Any] = field(default_factory=dict)


PRESETS: Final[dict[str, Preset]] = {
    "paper_full": Preset(subset="full"),
    "paper_llm": Preset(subset="llm"),
    "paper_sa_proj": Preset(subset="sa_proj"),
    "paper_qkv": Preset(subset="qkv"),
    "paper_vo": Preset(subset="vo"),
    "paper_mlp": Preset(subset="mlp"),
    "paper_gate_up": Preset(subset="gate_up"),
    "paper_down": Preset(subset="down"),
    "paper_sa_gate_up": Preset(subset="sa_gate_up"),
    "paper_qkv_gate_up": Preset(subset="qkv_gate_up"),
    "paper_projector": Preset(subset="projector"),
    "paper_vision": Preset(subset="vision"),
    "paper_vision_attn": Preset(subset="vision_attn"),
    "paper_vision_mlp": Preset(subset="vision_mlp"),
    "paper_last_layers": Preset(subset="llm", layers="last:"),
    "paper_freeze_last_layers": Preset(subset="llm", layers="first:"),
    "paper_lora": Preset(
        subset="mlp",
        method="lora",
        values={"lora_rank": 256, "lora_alpha": 32.0, "lora_dropout": 0.05, "lora_variant": "lora"},
    ),
    "paper_lwf": Preset(subset="llm", distilled=True, values={"lwf_weight": 1.0, "lwf_temperature": 2.0}),
}

ADAPTED: Final = "_adapted"
"""What the name of a preset ends with whose published values the space does not offer."""

POINT_PRESETS: Final[dict[str, tuple[str, Transform]]] = {
    # The paper's code mixes 0.1 of the old weights into MLPs that were tuned.
    "paper_wise_ft": ("paper_mlp", Interpolation(0.9)),
}
"""Name -> the preset whose trial it is made of, and the transform."""


def preset_params(space: RecipeSpace, learning_rate: float | None = None) -> dict[str, dict[str, Any]]:
    """Return the presets that lie in a space, as values that `RecipeSpace.recipe` reads.

    A preset lies in it if the space has its subset, layer range and method, and a weight of the distillation
    or none. Any other value that the space does not offer is replaced by the first that it does; if that is
    a value that was published, or the recipe gets an L2-SP or a replay that the published one has not, it
    is no longer that recipe, and is named so: `paper_lora_adapted`.

    Args:
        space: The space of the study.
        learning_rate: The rate of every preset, clipped to its bounds. None takes the geometric mean of the
            bounds, since a rate published for a 7 B model means nothing on another one.

    Returns:
        Name -> parameter values, for each preset that lies in the space.
    """
    queued: dict[str, dict[str, Any]] = {}
    for name, preset in PRESETS.items():
        layers = next(
            (each for each in space.layers_of(preset.subset) if each.startswith(preset.layers)), None
        )
        weights = [weight for weight in space.lwf_weight if (weight > 0) is preset.distilled]
        if preset.subset not in space.subsets or preset.method not in space.methods:
            continue
        if layers is None or not weights:
            continue
        published = {**dict.fromkeys(("l2sp_weight", "replay_ratio"), 0.0), **preset.values}
        wanted = {
            "lwf_weight": weights[0],
            **{key: value for key, value in published.items() if value in getattr(space, key)},
            "subset": preset.subset,
            "layers": layers,
            "method": preset.method,
        }
        drawn = _Drawn(wanted, learning_rate)
        space.suggest(drawn)
        recipe = space.recipe(drawn.params)
        is_published = all(getattr(recipe, key) == value for key, value in published.items())
        queued[name if is_published else f"{name}{ADAPTED}"] = drawn.params
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
