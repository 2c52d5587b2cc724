"""PEFT's own files of trained adapters, for `peft.PeftModel.from_pretrained` and all that reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from torch import Tensor

from trainables.files import write_atomically, written_atomically
from trainables.manifest import Adapters
from trainables.weights.lora import peft_config
from trainables.weights.safetensors_stream import write_safetensors
from trainables.weights.trained import ADAPTER

CONFIG_FILE: Final = "adapter_config.json"
WEIGHTS_FILE: Final = "adapter_model.safetensors"


def write_peft_files(folder: Path, adapters: Adapters, tensors: Mapping[str, Tensor]) -> None:
    """Write adapters as PEFT does.

    Args:
        folder: Where the two files go.
        adapters: The adapters.
        tensors: Their tensors by their names in the model, all of them whole.
    """
    described = peft_config(adapters).to_dict() | {
        "target_modules": list(adapters.modules),
        "inference_mode": True,
    }
    write_atomically(folder / CONFIG_FILE, (json.dumps(described, indent=2, default=str) + "\n").encode())
    with written_atomically(folder / WEIGHTS_FILE) as stream:
        write_safetensors(stream, {_peft_name(name): tensor for name, tensor in tensors.items()})


def _peft_name(name: str) -> str:
    """Return a tensor's name without the adapter's, below PEFT's two wrappers of the model."""
    name = name.replace(f"lora_magnitude_vector.{ADAPTER}.weight", "lora_magnitude_vector")
    return "base_model.model." + name.replace(f".{ADAPTER}.", ".")
