"""Export to Axolotl: a YAML file for `axolotl train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from search.exports.limits import LONGEST, limits_of, of_long_samples, of_slices
from search.exports.patterns import patterns_of
from search.exports.source import Source
from search.exports.training import training_arguments
from search.exports.written import FILL_IN, Export, head, lora_alpha, write_yaml

TOOL: Final = "Axolotl"
VERSION: Final = "0.19.0"
WRITTEN_FOR: Final = f"{TOOL} {VERSION}"


def export(source: Source, folder: Path) -> Export:
    """Write the recipe as Axolotl reads it."""
    method, limits = _adapters(source) if source.recipe.method == "lora" else (_own_weights(source), ())
    limits = (
        *limits,
        *of_slices(source, TOOL),
        *limits_of(source, TOOL),
        of_long_samples(TOOL, "sequence_len"),
    )
    arguments = training_arguments(source)
    renamed = {"per_device_train_batch_size": "micro_batch_size", "lr_scheduler_type": "lr_scheduler"}
    renamed["optim"] = "optimizer"
    content = {
        "base_model": source.base,
        **_multimodal(source),
        **method,
        "datasets": [{"path": FILL_IN, "type": "chat_template"}],
        "sequence_len": LONGEST,
        "train_on_inputs": False,
        "output_dir": f"outputs/{source.name}",
        **{renamed.get(name, name): value for name, value in arguments.items()},
    }
    file = write_yaml(folder / "axolotl.yaml", head(source, WRITTEN_FOR, limits), content)
    return Export(files=(file,), limits=limits, use=f"axolotl train {file}")


def _multimodal(source: Source) -> dict[str, Any]:
    if not hasattr(source.skeleton.config, "vision_config"):
        return {}
    return {
        "processor_type": "AutoProcessor",
        "skip_prepare_dataset": True,
        "remove_unused_columns": False,
        "sample_packing": False,
    }


def _adapters(source: Source) -> tuple[dict[str, Any], tuple[str, ...]]:
    recipe, adapters = source.recipe, source.manifest.adapters
    assert adapters is not None
    alpha, limits = lora_alpha(source)
    return {
        "adapter": "lora",
        # PEFT takes a regular expression that matches whole names.
        "lora_target_modules": "|".join(patterns_of(adapters.modules, source.modules, subtrees=False)),
        "lora_r": recipe.lora_rank,
        "lora_alpha": alpha,
        "lora_dropout": recipe.lora_dropout,
        "peft_use_rslora": recipe.lora_variant == "rslora",
        "peft_use_dora": recipe.lora_variant == "dora",
    }, limits


def _own_weights(source: Source) -> dict[str, Any]:
    # Axolotl escapes the dots itself and matches from the start.
    patterns = patterns_of(source.manifest.names, source.names)
    return {"unfrozen_parameters": [f"^{pattern.replace(chr(92) + '.', '.')}$" for pattern in patterns]}
