"""Export to TRL: a script with an `SFTConfig` and, for adapters, a PEFT configuration."""

from __future__ import annotations

import pprint
from pathlib import Path
from typing import Any, Final

from search.exports.limits import limits_of, of_slices
from search.exports.patterns import patterns_of
from search.exports.source import Source
from search.exports.training import training_arguments
from search.exports.written import FILL_IN, Export, head
from trainables.files import write_atomically

TOOL: Final = "TRL"
VERSION: Final = "1.16.0"
WRITTEN_FOR: Final = f"{TOOL} {VERSION}"

_SCRIPT: Final = """{head}import re

import torch
from datasets import load_dataset
{imports}
from trl import SFTConfig, SFTTrainer

BASE = {base!r}
# Columns "prompt" and "completion", images in "images"; the loss is of the completion alone. A column
# "messages" would be trained whole, questions too.
DATA = {fill_in!r}

{choice}
ARGUMENTS = SFTConfig(
    output_dir={output!r},
    **{arguments},
)


def trainer(dataset):
    model = {auto}.from_pretrained(BASE, dtype=torch.{dtype})
{prepare}


if __name__ == "__main__":
    trainer(load_dataset(DATA, split="train")).train()
"""

# Its own defaults cut a sample after 1,024 tokens.
_DATA: Final = {"completion_only_loss": True, "max_length": None}

_FREEZE: Final = """    for name, parameter in model.named_parameters():
        parameter.requires_grad = TRAINED.fullmatch(name) is not None
    return SFTTrainer(model=model, args=ARGUMENTS, train_dataset=dataset)"""
_ADAPT: Final = (
    "    return SFTTrainer(model=model, args=ARGUMENTS, train_dataset=dataset, peft_config=ADAPTERS)"
)


def export(source: Source, folder: Path) -> Export:
    """Write the recipe as a script that trains with TRL."""
    limits = (*of_slices(source, TOOL), *limits_of(source, TOOL))
    adapted = source.recipe.method == "lora"
    auto = (
        "AutoModelForImageTextToText"
        if hasattr(source.skeleton.config, "vision_config")
        else "AutoModelForCausalLM"
    )
    imports = [f"from transformers import {auto}"]
    script = _SCRIPT.format(
        head=head(source, WRITTEN_FOR, limits),
        imports="\n".join(["from peft import LoraConfig", *imports] if adapted else imports),
        base=source.base,
        fill_in=FILL_IN,
        choice=_adapters(source) if adapted else _own_weights(source),
        output=f"outputs/{source.name}",
        arguments=_indented(training_arguments(source) | _DATA),
        auto=auto,
        dtype=source.model.dtype,
        prepare=_ADAPT if adapted else _FREEZE,
    )
    if adapted:
        script = script.replace("import re\n\n", "", 1)
    file = folder / "trl_train.py"
    write_atomically(file, script.encode())
    return Export(files=(file,), limits=limits, use=f"python {file}")


def _indented(values: dict[str, Any]) -> str:
    return pprint.pformat(values, sort_dicts=False, width=100).replace("\n", "\n    ")


def _own_weights(source: Source) -> str:
    patterns = patterns_of(source.manifest.names, source.names)
    lines = [f'    r"{"|" * bool(number)}{pattern}"' for number, pattern in enumerate(patterns)]
    return "\n".join(["TRAINED = re.compile(", *lines, ")"])


def _adapters(source: Source) -> str:
    recipe, adapters = source.recipe, source.manifest.adapters
    assert adapters is not None
    values = {
        "task_type": "CAUSAL_LM",
        # A regular expression that matches whole names.
        "target_modules": "|".join(patterns_of(adapters.modules, source.modules, subtrees=False)),
        "r": recipe.lora_rank,
        "lora_alpha": recipe.lora_alpha,
        "lora_dropout": recipe.lora_dropout,
        "use_rslora": recipe.lora_variant == "rslora",
        "use_dora": recipe.lora_variant == "dora",
    }
    return f"ADAPTERS = LoraConfig(\n    **{_indented(values)},\n)"
