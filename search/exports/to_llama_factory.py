"""Export to LLaMA-Factory: a YAML file for `llamafactory-cli train`."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from search.exports.limits import LONGEST, limits_of, of_long_samples, of_slices
from search.exports.llama_factory_rules import PARTS, forbidden_parts, freezing, nearest_settings
from search.exports.patterns import short_names
from search.exports.source import Source
from search.exports.training import training_arguments
from search.exports.written import FILL_IN, Export, head, lora_alpha, write_yaml

TOOL: Final = "LLaMA-Factory"
VERSION: Final = "0.9.5"
WRITTEN_FOR: Final = f"{TOOL} {VERSION}"


def export(source: Source, folder: Path) -> Export:
    """Write the recipe as LLaMA-Factory reads it."""
    method, limits = _adapters(source) if source.recipe.method == "lora" else _own_weights(source)
    limits = (*limits, *limits_of(source, TOOL), of_long_samples(TOOL, "cutoff_len"))
    content = {
        "model_name_or_path": source.base,
        "stage": "sft",
        "do_train": True,
        **method,
        "dataset": FILL_IN,
        "template": FILL_IN,
        "cutoff_len": LONGEST,
        "output_dir": f"saves/{source.name}",
        **training_arguments(source),
    }
    file = write_yaml(folder / "llama_factory.yaml", head(source, WRITTEN_FOR, limits), content)
    return Export(files=(file,), limits=limits, use=f"llamafactory-cli train {file}")


def _adapters(source: Source) -> tuple[dict[str, Any], tuple[str, ...]]:
    recipe, adapters = source.recipe, source.manifest.adapters
    assert adapters is not None
    model_type = source.manifest.model_type
    frozen = freezing(adapters.modules, model_type)
    alpha, limits = lora_alpha(source)
    return {
        "finetuning_type": "lora",
        "lora_target": ",".join(_targets(source, adapters.modules, frozen)),
        "lora_rank": recipe.lora_rank,
        "lora_alpha": alpha,
        "lora_dropout": recipe.lora_dropout,
        "use_rslora": recipe.lora_variant == "rslora",
        "use_dora": recipe.lora_variant == "dora",
        **frozen,
    }, (*limits, *of_slices(source, TOOL))


def _targets(source: Source, modules: Collection[str], frozen: dict[str, bool]) -> tuple[str, ...]:
    """Return the shortest names by which it finds these modules and no others; a part of a name suffices."""
    forbidden = forbidden_parts(frozen, source.manifest.model_type) if frozen else ()
    open_ = [name for name in source.modules if not any(part in name for part in forbidden)]
    short = short_names(modules, open_)
    matched = {name for name in open_ if any(part in name for part in short)}
    return short if matched == set(modules) else tuple(name for name in source.modules if name in modules)


def _own_weights(source: Source) -> tuple[dict[str, Any], tuple[str, ...]]:
    sizes = {name: math.prod(p.shape) for name, p in source.skeleton.named_parameters()}
    chosen = set(source.manifest.names)
    model_type = source.manifest.model_type
    text = source.skeleton.config.get_text_config()
    settings, trained = nearest_settings(chosen, sizes, model_type, text.num_hidden_layers)
    limits = [
        *_differing(sizes, sorted(trained - chosen), "trains too what the recipe leaves frozen"),
        *_differing(sizes, sorted(chosen - trained), "leaves frozen what the recipe trains"),
        *of_slices(source, TOOL),
    ]
    if model_type not in PARTS and any(name.startswith("model.visual") for name in sizes):
        limits.append(f"the switches that freeze a vision tower: it has none for {model_type!r}")
    return settings, tuple(limits)


def _differing(sizes: dict[str, int], names: list[str], what: str) -> list[str]:
    if not names:
        return []
    count = sum(sizes[name] for name in names)
    return [
        f"the choice of modules: {TOOL} goes by whole blocks of a layer, and {what}, {len(names)} tensors "
        f"such as {names[0]} ({count:,} elements)"
    ]
