"""Labels: what a recipe is called, in a word, in a table and in a sentence."""

from __future__ import annotations

from search import wording
from spaces.recipe import Recipe
from spaces.space import RecipeSpace

_ADAPTERS = {"lora": "LoRA", "rslora": "rsLoRA", "dora": "DoRA", None: ""}


def group_label(recipe: Recipe) -> str:
    """Name what recipes must share to be compared at their own rates: `sa_proj last:1/2 lora`."""
    layers = [] if recipe.layers == "all" else [recipe.layers]
    method = [] if recipe.method == "selective" else [recipe.method]
    return " ".join([recipe.subset, *layers, *method])


def approach_label(recipe: Recipe) -> str:
    """Name all but the rate that sets a recipe apart: `sa_proj last:1/2 lora r=8`."""
    return " ".join([group_label(recipe), *_adapters(recipe), *_regularisers(recipe)])


def recipe_label(recipe: Recipe) -> str:
    """Name a recipe: `sa_proj last:1/2 lora r=8 lr 1.0e-4`."""
    return f"{approach_label(recipe)} lr {wording.rate(recipe.learning_rate)}"


def settings_label(recipe: Recipe, space: RecipeSpace) -> str:
    """Name the settings of the optimiser that the space searches: `batch 16, linear`."""
    texts = {
        "batch_size": f"batch {recipe.batch_size}",
        "schedule": recipe.schedule,
        "warmup_ratio": f"warm-up {recipe.warmup_ratio:g}",
        "weight_decay": f"decay {recipe.weight_decay:g}",
        "max_grad_norm": f"clip {recipe.max_grad_norm:g}",
    }
    return ", ".join(text for name, text in texts.items() if len(getattr(space, name)) > 1)


def approach_sentence(recipe: Recipe) -> str:
    """Say in words what is trained and how: `sa_proj in layers last:1/2 by LoRA (rank 8, alpha 16)`."""
    text = recipe.subset if recipe.layers == "all" else f"{recipe.subset} in layers {recipe.layers}"
    if adapters := adapters_sentence(recipe):
        text += f" by {adapters}"
    if kept := kept_sentence(recipe):
        text += f" under {kept}"
    return text


def adapters_sentence(recipe: Recipe) -> str:
    """Say which adapters are trained; empty where there are none."""
    if recipe.method != "lora":
        return ""
    text = f"{_ADAPTERS[recipe.lora_variant]} (rank {recipe.lora_rank}, alpha {recipe.lora_alpha:g}"
    return text + (f", dropout {recipe.lora_dropout:g})" if recipe.lora_dropout else ")")


def kept_sentence(recipe: Recipe) -> str:
    """Say what holds a recipe near the base, besides what it leaves untrained; empty where nothing does."""
    parts = []
    if recipe.lwf_weight:
        parts.append(f"distillation (weight {recipe.lwf_weight:g}, temperature {recipe.lwf_temperature:g})")
    if recipe.l2sp_weight:
        parts.append(f"L2-SP (weight {recipe.l2sp_weight:g})")
    if recipe.replay_ratio:
        parts.append(f"{100 * recipe.replay_ratio:g} % replay")
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _adapters(recipe: Recipe) -> list[str]:
    if recipe.method != "lora":
        return []
    assert recipe.lora_rank is not None
    parts = [f"r={recipe.lora_rank}"]
    if recipe.lora_alpha != 2 * recipe.lora_rank:
        parts.append(f"a={recipe.lora_alpha:g}")
    if recipe.lora_dropout:
        parts.append(f"drop={recipe.lora_dropout:g}")
    if recipe.lora_variant not in (None, "lora"):
        parts.append(recipe.lora_variant)
    return parts


def _regularisers(recipe: Recipe) -> list[str]:
    parts = []
    if recipe.lwf_weight:
        at = "" if recipe.lwf_temperature == 2 else f"@T{recipe.lwf_temperature:g}"
        parts.append(f"lwf={recipe.lwf_weight:g}{at}")
    if recipe.l2sp_weight:
        parts.append(f"l2sp={recipe.l2sp_weight:g}")
    if recipe.replay_ratio:
        parts.append(f"replay={recipe.replay_ratio:g}")
    return parts
