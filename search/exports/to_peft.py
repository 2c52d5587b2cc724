"""Export to PEFT: the adapters' own files, or for own weights a list of what is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from search.exports.limits import limits_of, of_slices
from search.exports.patterns import patterns_of
from search.exports.source import Source, adapters_kept
from search.exports.training import training_arguments
from search.exports.written import Export, head
from trainables.files import copy_atomically, write_atomically
from trainables.weights.lora import peft_config
from trainables.weights.peft_files import CONFIG_FILE, WEIGHTS_FILE

TOOL: Final = "PEFT"
VERSION: Final = "0.21.2"
WRITTEN_FOR: Final = f"{TOOL} {VERSION}"

_SNIPPET: Final = '''{head}
# PEFT adds adapters to a model and has nothing that trains a model's own weights. transformers has:
import re
from pathlib import Path

TRAINED = re.compile("|".join(Path(__file__).with_name("trainable_parameters.txt").read_text().split()))


def freeze_all_but_trained(model):
    """Have a model train what the recipe trains, before it is given to a Trainer."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad = TRAINED.fullmatch(name) is not None
    return model
'''


def export(source: Source, folder: Path) -> Export:
    """Write adapters as `peft.PeftModel.from_pretrained` reads them, with their weights if they are kept."""
    arguments = folder / "training_arguments.json"
    write_atomically(arguments, (json.dumps(training_arguments(source), indent=2) + "\n").encode())
    if source.recipe.method != "lora":
        return _own_weights(source, folder, arguments)
    adapters = source.manifest.adapters
    assert adapters is not None
    described = peft_config(adapters).to_dict() | {
        "base_model_name_or_path": source.base,
        "target_modules": list(adapters.modules),
    }
    config, weights = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    limits = [*of_slices(source, TOOL), *limits_of(source, TOOL)]
    files = [config, arguments]
    if source.selected is not None and adapters_kept(source):
        if (source.selected / WEIGHTS_FILE).is_file():
            described["inference_mode"] = True
            copy_atomically(source.selected / WEIGHTS_FILE, weights)
            files.insert(1, weights)
        else:
            limits.append(
                "the trained weights, since some rows alone of a layer's adapter were trained, for which "
                "PEFT has no name; `--to transformers` writes them"
            )
    elif source.selected is not None:
        limits.append("the selected weights, which are no adapters any more; `--to transformers` writes them")
    write_atomically(config, (json.dumps(described, indent=2, default=_plain) + "\n").encode())
    use = f"peft.PeftModel.from_pretrained(base, {str(folder)!r})"
    if weights not in files:
        use = f"peft.get_peft_model(base, peft.PeftConfig.from_pretrained({str(folder)!r}))"
    return Export(files=tuple(files), limits=tuple(limits), use=use)


def _own_weights(source: Source, folder: Path, arguments: Path) -> Export:
    limits = (
        "training a model's own weights: PEFT adds adapters; a list of the trained parameters and a snippet "
        "for transformers take its place",
        *of_slices(source, "transformers"),
        *limits_of(source, "transformers"),
    )
    patterns, snippet = folder / "trainable_parameters.txt", folder / "freeze.py"
    lines = patterns_of(source.manifest.names, source.names)
    write_atomically(patterns, "".join(f"{line}\n" for line in lines).encode())
    write_atomically(snippet, _SNIPPET.format(head=head(source, WRITTEN_FOR, limits)).encode())
    return Export(
        files=(patterns, snippet, arguments),
        limits=limits,
        use="from freeze import freeze_all_but_trained, and TrainingArguments(**training_arguments.json)",
    )


def _plain(value: object) -> object:
    """Return a set as a list and an enumeration's member as its value, for JSON."""
    return sorted(value) if isinstance(value, set | frozenset) else str(value)
