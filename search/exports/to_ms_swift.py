"""Export to ms-swift: a YAML file for `swift sft`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from search.exports.limits import limits_of, of_slices
from search.exports.patterns import patterns_of
from search.exports.source import Source
from search.exports.training import training_arguments
from search.exports.written import FILL_IN, Export, head, lora_alpha, write_yaml

TOOL: Final = "ms-swift"
VERSION: Final = "4.6.0"
WRITTEN_FOR: Final = f"{TOOL} {VERSION} (before 4.0, tuner_type was called train_type)"


def export(source: Source, folder: Path) -> Export:
    """Write the recipe as ms-swift reads it."""
    method, limits = _adapters(source) if source.recipe.method == "lora" else (_own_weights(source), ())
    limits = (*limits, *of_slices(source, TOOL), *limits_of(source, TOOL))
    arguments = training_arguments(source)
    bf16 = arguments.pop("bf16")
    content = {
        "model": source.base,
        **method,
        "dataset": FILL_IN,
        "torch_dtype": "bfloat16" if bf16 else "float32",
        "output_dir": f"output/{source.name}",
        **arguments,
    }
    file = write_yaml(folder / "ms_swift.yaml", head(source, WRITTEN_FOR, limits), content)
    return Export(files=(file,), limits=limits, use=f"swift sft {file}")


def _adapters(source: Source) -> tuple[dict[str, Any], tuple[str, ...]]:
    recipe, adapters = source.recipe, source.manifest.adapters
    assert adapters is not None
    alpha, limits = lora_alpha(source)
    return {
        "tuner_type": "lora",
        # PEFT takes a regular expression that matches whole names.
        "target_regex": "|".join(patterns_of(adapters.modules, source.modules, subtrees=False)),
        "lora_rank": recipe.lora_rank,
        "lora_alpha": alpha,
        "lora_dropout": recipe.lora_dropout,
        "use_rslora": recipe.lora_variant == "rslora",
        "use_dora": recipe.lora_variant == "dora",
    }, limits


def _own_weights(source: Source) -> dict[str, Any]:
    # What is named trainable wins over what is frozen, here all.
    return {
        "tuner_type": "full",
        "freeze_parameters_ratio": 1.0,
        "trainable_parameters_regex": f"^({'|'.join(patterns_of(source.manifest.names, source.names))})$",
    }
