"""Folders of base models and of selected weights that are wrong, met by `run` and `evaluate`."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from tiny_models import save_llama

from hostile_input.cases import ESCAPE, Case, shared_folder, write_study
from spaces.recipe import Recipe
from trainables.checkpoint import export_delta, save_checkpoint
from trainables.model import load_skeleton, model_fingerprint
from trainables.weights.trained import trained_manifest

WEIGHTS: Final = "model.safetensors"


class Touch:
    """What unpickles to a file named `hacked` in the working directory."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("hacked", "w"))


def header(described: Any, content: bytes = b"") -> bytes:
    """Return a safetensors file of a header as it may not be."""
    text = described if isinstance(described, bytes) else json.dumps(described).encode()
    return struct.pack("<Q", len(text)) + text + content


def tensor(start: int, end: int, shape: Sequence[int] = (4,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


# Name -> what stands in the place of a file of tensors.
FILES: Final[dict[str, bytes]] = {
    "empty": b"",
    "seven-bytes": b"1234567",
    "text": b"weights",
    "header-of-a-gigabyte": struct.pack("<Q", 2**30) + b"{}",
    "header-of-all-memory": struct.pack("<Q", 2**64 - 1) + b"{}",
    "header-not-json": header(b"{{{{{{{{"),
    "header-a-list": header([1, 2]),
    "header-deep": header(b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
    "offsets-overlap": header({"a": tensor(0, 16), "b": tensor(8, 24)}, b"\0" * 24),
    "offsets-beyond": header({"a": tensor(0, 2**40, (2**38,))}, b"\0" * 16),
    "offsets-falling": header({"a": tensor(16, 0)}, b"\0" * 16),
    "offsets-with-a-gap": header({"a": tensor(0, 16), "b": tensor(32, 48)}, b"\0" * 48),
    "shape-not-of-offsets": header({"a": tensor(0, 16, (400,))}, b"\0" * 16),
    "shape-overflows": header({"a": tensor(0, 16, (2**40, 2**40))}, b"\0" * 16),
    "shape-negative": header({"a": tensor(0, 16, (-4,))}, b"\0" * 16),
    "type-unknown": header({"a": tensor(0, 16, (4,), "F33")}, b"\0" * 16),
    "pickle": pickle.dumps(Touch()),
    "zip-of-torch": b"PK\x03\x04" + b"\0" * 100,
}


@cache
def model() -> Path:
    """Return a small text model, made once."""
    return save_llama(shared_folder("base") / "model")


@cache
def selected() -> Path:
    """Return selected weights of it, made once."""
    home = shared_folder("weights")
    skeleton = load_skeleton(str(model()), dtype=torch.float32)
    manifest = trained_manifest(skeleton, Recipe(subset="norm", learning_rate=1e-3, steps=1, batch_size=1))
    shapes = {name: parameter.shape for name, parameter in skeleton.named_parameters()}
    tensors = {f"parameter/{each.key}": torch.zeros(shapes[each.key]) for each in manifest.tensors}
    pointer = save_checkpoint(home / "weights.safetensors", tensors, 1)
    assert pointer is not None
    export_delta(Path(pointer.path), manifest.to_dict(), model_fingerprint(str(model())), home / "selected")
    return home / "selected"


def study(folder: Path, base: Path) -> Path:
    tasks = {
        "birds": {"train": "train.jsonl", "search": "search.jsonl"},
        "bees": {"search": "bees.jsonl"},
    }
    (folder / "bees.jsonl").write_text('{"prompt": "bee?", "answer": "yes"}\n')
    return write_study(folder, tasks=tasks, held_out=["bees"], model={"path": str(base)})


def of_model(damage: Callable[[Path], object]) -> Callable[[Path], Sequence[str | Path]]:
    def make(folder: Path) -> Sequence[str | Path]:
        base = folder / "model"
        shutil.copytree(model(), base)
        damage(base)
        return ("run", study(folder, base))

    return make


def of_selected(damage: Callable[[Path], object]) -> Callable[[Path], Sequence[str | Path]]:
    def make(folder: Path) -> Sequence[str | Path]:
        weights = folder / "selected"
        shutil.copytree(selected(), weights)
        damage(weights)
        return ("evaluate", weights, study(folder, model()))

    return make


def written(name: str, content: bytes | str) -> Callable[[Path], object]:
    return lambda home: (home / name).write_bytes(content.encode() if isinstance(content, str) else content)


def _json(name: str, **changes: Any) -> Callable[[Path], object]:
    def change(home: Path) -> None:
        file = home / name
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def pickled(home: Path) -> None:
    """Leave weights as older models have them, which write a file when they are loaded."""
    (home / WEIGHTS).unlink()
    (home / "pytorch_model.bin").write_bytes(pickle.dumps(Touch()))
    torch.save({"lm_head.weight": Touch()}, home / "model.pt")


CODE: Final = """
open("hacked", "w").close()
from transformers import LlamaConfig, LlamaForCausalLM
from transformers import PreTrainedTokenizerFast


class OwnConfig(LlamaConfig):
    model_type = "own_code"


class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig


class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""


def own_code(home: Path) -> None:
    """Make it a model of an architecture that its own code defines."""
    (home / "own.py").write_text(CODE)
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    _json("config.json", model_type="own_code", architectures=["OwnModel"], auto_map=classes)(home)


def own_tokenizer(home: Path) -> None:
    """Let its own code define the tokenizer."""
    (home / "own.py").write_text(CODE)
    classes = {"AutoTokenizer": [None, "own.OwnTokenizer"]}
    _json("tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map=classes)(home)


def with_sum(content: bytes) -> Callable[[Path], object]:
    """Leave other weights, whose checksum the manifest tells: who damages one can write the other."""
    import hashlib

    def change(home: Path) -> None:
        (home / "delta.safetensors").write_bytes(content)
        _json("manifest.json", sha256=hashlib.sha256(content).hexdigest())(home)

    return change


def _other_shapes(home: Path) -> None:
    tensors = {name: torch.zeros(3) for name in load_file(home / "delta.safetensors")}
    save_file(tensors, home / "other.safetensors")
    with_sum((home / "other.safetensors").read_bytes())(home)


_MODELS: Final[dict[str, tuple[Callable[[Path], object], tuple[str, ...]]]] = {
    **{
        f"weights-{name}": (written(WEIGHTS, content), ("model", "can't be loaded"))
        for name, content in FILES.items()
    },
    "weights-pickled": (pickled, ("pickled", "convert them to safetensors")),
    "weights-a-folder": (
        lambda home: ((home / WEIGHTS).unlink(), (home / WEIGHTS).mkdir()),
        ("can't be loaded",),
    ),
    "weights-gone": (lambda home: (home / WEIGHTS).unlink(), ("can't be loaded",)),
    "weights-of-another": (written(WEIGHTS, header({"a": tensor(0, 16)}, b"\0" * 16)), ("do not fit",)),
    "own-code": (own_code, ("brings code of its own", "model.trust_remote_code: true")),
    "own-tokenizer": (own_tokenizer, ("brings code of its own", "model.trust_remote_code: true")),
    "config-gone": (lambda home: (home / "config.json").unlink(), ("can't be loaded",)),
    "config-empty": (written("config.json", ""), ("can't be loaded",)),
    "config-list": (written("config.json", "[]"), ("can't be loaded",)),
    "config-bytes": (written("config.json", bytes(range(128, 256))), ("can't be loaded",)),
    "config-deep": (written("config.json", "[" * 100_000), ("can't be loaded",)),
    "config-unknown-type": (_json("config.json", model_type="lama"), ("lama",)),
    "config-type-escape": (_json("config.json", model_type=ESCAPE), ("model",)),
    "config-wrong-types": (_json("config.json", hidden_size="big"), ("model",)),
    "config-negative": (_json("config.json", hidden_size=-4), ("model",)),
    "config-heads-zero": (_json("config.json", num_attention_heads=0), ("model",)),
    "tokenizer-empty": (written("tokenizer.json", ""), ("processor", "can't be loaded")),
    "tokenizer-list": (written("tokenizer.json", "[]"), ("processor", "can't be loaded")),
    "tokenizer-bytes": (written("tokenizer.json", bytes(range(128, 256))), ("processor", "can't be loaded")),
    "tokenizer-gone": (
        lambda home: [file.unlink() for file in home.glob("tokenizer*")],
        ("processor", "there is no tokenizer"),
    ),
}

_SELECTED: Final[dict[str, tuple[Callable[[Path], object], tuple[str, ...]]]] = {
    **{f"{name}": (with_sum(content), ("delta.safetensors",)) for name, content in FILES.items()},
    "cut": (lambda home: os.truncate(home / "delta.safetensors", 100), ("delta.safetensors", "damaged")),
    "one-bit": (
        lambda home: (home / "delta.safetensors").write_bytes(
            (home / "delta.safetensors").read_bytes()[:-1] + b"\x01"
        ),
        ("delta.safetensors", "damaged"),
    ),
    "other-tensors": (with_sum(header({"a": tensor(0, 16)}, b"\0" * 16)), ("delta.safetensors", "'a'")),
    "other-shapes": (_other_shapes, ("delta.safetensors", "does not fit")),
    "manifest-gone": (lambda home: (home / "manifest.json").unlink(), ("does not hold selected weights",)),
    "manifest-empty": (written("manifest.json", ""), ("does not hold selected weights",)),
    "manifest-list": (written("manifest.json", "[]"), ("does not hold selected weights",)),
    "manifest-empty-object": (written("manifest.json", "{}"), ("does not hold selected weights",)),
    "manifest-deep": (written("manifest.json", "[" * 100_000), ("does not hold selected weights",)),
    "manifest-bytes": (written("manifest.json", bytes(range(128, 256))), ("does not hold selected weights",)),
    "manifest-tensors-text": (_json("manifest.json", parameters="a"), ("does not hold selected weights",)),
    "manifest-sum-number": (_json("manifest.json", sha256=3), ("damaged",)),
    "manifest-other-base": (_json("manifest.json", base_fingerprint="0" * 64), ("another base",)),
}

CASES: Final = [
    *(Case(name=f"model-{name}", make=of_model(d), says=says) for name, (d, says) in _MODELS.items()),
    *(Case(name=f"selected-{name}", make=of_selected(d), says=says) for name, (d, says) in _SELECTED.items()),
]
