"""Recipe files that are wrong, met by `export` and `apply`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from hostile_input.cases import ESCAPE, Case, write_study
from spaces.recipe import Recipe

RECIPE: Final = Recipe(subset="gate_up", learning_rate=1e-3, steps=8, batch_size=2).to_dict()
DOCUMENT: Final[Mapping[str, Any]] = {
    "format": 1,
    "verdict": "use this recipe",
    "recipe": RECIPE,
    "model": {"path": "tiny-llava", "dtype": "float32"},
}
_GOOD: Final = yaml.safe_dump(dict(DOCUMENT), sort_keys=False)


def _point(transform: str, **more: Any) -> dict[str, Any]:
    return {"point": {"trial": 0, "step": 8, "transform": transform, **more}}


# Name -> what replaces keys of the document, and what the line says.
_KEYS: Final[dict[str, tuple[dict[str, Any], tuple[str, ...]]]] = {
    "format-future": ({"format": 9}, ("format", "reads format 1", "9")),
    "format-text": ({"format": "one"}, ("format", "'one'")),
    "unknown-key": ({"recpie": {}}, ("unknown key 'recpie'", "did you mean 'recipe'")),
    "unknown-key-escape": ({ESCAPE: {}}, ("unknown key",)),
    "verdict-unknown": ({"verdict": "use it"}, ("verdict", "'use this recipe'")),
    "verdict-contradicts": ({"verdict": "keep the base"}, ("verdict", "with a recipe")),
    "recipe-null": ({"recipe": None}, ("verdict", "with no recipe")),
    "recipe-list": ({"recipe": []}, ("recipe", "section")),
    "recipe-text": ({"recipe": "full"}, ("recipe", "section")),
    "recipe-empty": ({"recipe": {}}, ("recipe.yaml",)),
    "field-unknown": (
        {"recipe": {**RECIPE, "subsett": "full"}},
        ("unknown recipe field 'subsett'", "'subset'"),
    ),
    "subset-unknown": ({"recipe": {**RECIPE, "subset": "gate_upp"}}, ("subset", "did you mean 'gate_up'")),
    "subset-number": ({"recipe": {**RECIPE, "subset": 3}}, ("recipe.yaml", "subset")),
    "subset-list": ({"recipe": {**RECIPE, "subset": ["full"]}}, ("recipe.yaml", "subset")),
    "subset-traversal": ({"recipe": {**RECIPE, "subset": "../../x"}}, ("subset",)),
    "layers-falling": ({"recipe": {**RECIPE, "layers": [9, 1]}}, ("recipe.yaml", "layers")),
    "layers-text": ({"recipe": {**RECIPE, "layers": "last-x"}}, ("recipe.yaml", "layers")),
    "layers-huge": ({"recipe": {**RECIPE, "layers": [10**30, 10**31]}}, ("recipe.yaml",)),
    "method-unknown": ({"recipe": {**RECIPE, "method": "lorra"}}, ("method", "lora")),
    "method-list": ({"recipe": {**RECIPE, "method": ["lora"]}}, ("recipe.yaml", "method")),
    "lora-without-rank": ({"recipe": {**RECIPE, "method": "lora"}}, ("lora_rank",)),
    "rank-huge": (
        {
            "recipe": {
                **RECIPE,
                "method": "lora",
                "lora_rank": 10**12,
                "lora_alpha": 1.0,
                "lora_dropout": 0.0,
                "lora_variant": "lora",
            }
        },
        ("recipe.yaml", "lora_rank"),
    ),
    "rate-nan": ({"recipe": {**RECIPE, "learning_rate": float("nan")}}, ("learning_rate", "nan")),
    "rate-inf": ({"recipe": {**RECIPE, "learning_rate": float("inf")}}, ("learning_rate", "inf")),
    "rate-of-400-digits": ({"recipe": {**RECIPE, "learning_rate": 10**400}}, ("learning_rate", "number")),
    "rate-negative": ({"recipe": {**RECIPE, "learning_rate": -1.0}}, ("learning_rate",)),
    "rate-text": ({"recipe": {**RECIPE, "learning_rate": "fast"}}, ("learning_rate", "'fast'")),
    "rate-list": ({"recipe": {**RECIPE, "learning_rate": [1e-3]}}, ("learning_rate",)),
    "steps-zero": ({"recipe": {**RECIPE, "steps": 0}}, ("steps", "0")),
    "steps-text": ({"recipe": {**RECIPE, "steps": "8"}}, ("steps",)),
    "steps-huge": ({"recipe": {**RECIPE, "steps": 10**30}}, ("steps",)),
    "steps-bool": ({"recipe": {**RECIPE, "steps": True}}, ("steps",)),
    "batch-null": ({"recipe": {**RECIPE, "batch_size": None}}, ("batch_size",)),
    "batch-huge": ({"recipe": {**RECIPE, "batch_size": 10**30}}, ("batch_size",)),
    "schedule-unknown": ({"recipe": {**RECIPE, "schedule": "cosin"}}, ("schedule", "cosin")),
    "warmup-nan": ({"recipe": {**RECIPE, "warmup_ratio": float("nan")}}, ("warmup_ratio",)),
    "decay-nan": ({"recipe": {**RECIPE, "weight_decay": float("nan")}}, ("weight_decay",)),
    "point-list": ({"point": []}, ("point", "section")),
    "point-unknown-transform": (_point("interpolatoin", alpha=0.5), ("transform", "interpolation")),
    "point-transform-list": (
        _point("identity") | {"point": {"trial": 0, "step": 8, "transform": []}},
        ("unknown transform",),
    ),
    "point-alpha-missing": (_point("interpolation"), ("recipe.yaml", "alpha")),
    "point-alpha-nan": (_point("interpolation", alpha=float("nan")), ("recipe.yaml", "alpha")),
    "point-alpha-of-400-digits": (_point("interpolation", alpha=10**400), ("recipe.yaml", "alpha")),
    "point-step-of-400-digits": (
        {"point": {"trial": 0, "step": 10**400, "transform": "identity"}},
        ("step",),
    ),
    "point-alpha-two": (_point("interpolation", alpha=2.0), ("recipe.yaml", "alpha")),
    "point-alpha-text": (_point("interpolation", alpha="half"), ("recipe.yaml", "alpha")),
    "point-step-beyond": ({"point": {"trial": 0, "step": 99, "transform": "identity"}}, ("step 99",)),
    "point-trial-text": (
        {"point": {"trial": "a", "step": 8, "transform": "identity"}},
        ("recipe.yaml", "trial"),
    ),
    "point-unknown-key": (_point("identity", aplha=1), ("recipe.yaml", "aplha")),
    "soup-without-recipes": (
        _point("soup", members=[{"trial": 0, "step": 8}, {"trial": 1, "step": 8}]),
        ("soup_recipes", "missing"),
    ),
    "soup-of-texts": (_point("soup", members=["a", "b"]), ("recipe.yaml",)),
    "soup-members-number": (_point("soup", members=3), ("recipe.yaml",)),
    "soup-recipes-wrong": ({"soup_recipes": {0: {"subset": 1}}}, ("soup_recipes.0",)),
    "soup-recipes-text-key": ({"soup_recipes": {"a": RECIPE}}, ("soup_recipes",)),
    "evidence-list": ({"evidence": []}, ("evidence", "section")),
    "evidence-seed-text": ({"evidence": {"seed": "a"}}, ("evidence.seed",)),
    "evidence-nan": ({"evidence": {"targets": {"a": {"base": 1, "tuned": 2}}}}, ("evidence.targets.a.n",)),
    "trials-negative": ({"trials": {"COMPLETE": -1}}, ("trials.COMPLETE",)),
    "data-numbers": ({"data": {"a/train": 3}}, ("data",)),
    "model-dtype": ({"model": {"path": "tiny-llava", "dtype": "float8"}}, ("model.dtype",)),
    "model-text": ({"model": "tiny-llava"}, ("model", "section")),
    "model-traversal": ({"model": {"path": "../../../nowhere", "dtype": "float32"}}, ("model", "nowhere")),
    "model-url": ({"model": {"path": "http://127.0.0.1:9/m", "dtype": "float32"}}, ("model",)),
    "model-escape": ({"model": {"path": ESCAPE, "dtype": "float32"}}, ("model",)),
    "model-roles-wrong": (
        {"model": {"path": "tiny-llava", "dtype": "float32", "roles": {"x": 1}}},
        ("recipe.yaml", "roles"),
    ),
    "applied-list": ({"applied": []}, ("applied", "section")),
    "reason-number": ({"reason": 3}, ("reason", "string")),
}

_CONTENT: Final[dict[str, tuple[str | bytes, tuple[str, ...]]]] = {
    "empty": ("", ("a recipe is a mapping of keys",)),
    "list": ("- a\n", ("a recipe is a mapping of keys", "list")),
    "cut": (_GOOD[: len(_GOOD) // 2] + "  - [", ("not valid YAML",)),
    "bytes": (bytes(range(128, 256)), ("not valid YAML",)),
    "utf-16": (_GOOD.encode("utf-16"), ("not valid YAML",)),
    "duplicate": (_GOOD + "recipe: null\n", ("'recipe'", "already")),
    "python": ("recipe: !!python/object/apply:os.system ['touch hacked']\n", ("not valid YAML",)),
    "bomb": (
        "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)),
        ("stand for more than",),
    ),
    "deep": ("recipe: " + "[" * 5000, ("nested too deeply",)),
    "another-kind": ("name: lesson\ntargets: [a]\n", ("unknown key",)),
    "json-report": ('{"trials": 3}', ("recipe.yaml",)),
}

_PLACES: Final[dict[str, tuple[Callable[[Path], object], tuple[str, ...]]]] = {
    "missing": (lambda path: path.with_name("recipes.yaml").write_text(""), ("did you mean 'recipes.yaml'",)),
    "empty-folder": (lambda path: path.mkdir(), ("no such recipe",)),
    "fifo": (lambda path: os.mkfifo(path), ("no regular file",)),
    "device": (lambda path: path.symlink_to("/dev/zero"), ("no regular file",)),
    "unreadable": (lambda path: path.symlink_to("/proc/self/mem"), ("can't be read",)),
    "of-a-study": (
        lambda path: (path.mkdir(), (path / "study.yaml").write_text("")),
        ("recipe-search select", "writes it anew"),
    ),
}

_ARGUMENTS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "tool": (("--to", "axolotol"), ("--to", "did you mean 'axolotl'")),
    "tool-traversal": (("--to", "../peft"), ("--to",)),
    "tool-escape": (("--to", ESCAPE), ("--to",)),
    "output-in-a-file": (("--to", "trl", "--output", "/proc/self/status/x"), ("can't be written",)),
    "model-gone": (("--to", "trl", "--model", "/nowhere"), ("'/nowhere'", "can't be loaded")),
    "weights-missing": (("--to", "transformers"), ("weights",)),
}

_SETTINGS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "field-unknown": (("recipe.stepps=3",), ("recipe", "'stepps'", "did you mean 'steps'")),
    "field-wrong": (("recipe.steps=none",), ("recipe", "steps")),
    "field-huge": (("recipe.learning_rate=1e999",), ("recipe", "learning_rate")),
    "training": (("training.steps=3",), ("recipe.steps=3",)),
    "seed-text": (("--seed", "one"), ("--seed", "'one'")),
    "seed-huge": (("--seed", "9" * 30), ("--seed",)),
    "seed-superscript": (("--seed", "\u00b2"), ("--seed",)),
    "python": (("recipe.steps=!!python/name:os.system",), ("not valid YAML",)),
}


def _left(folder: Path, content: str | bytes) -> Path:
    file = folder / "recipe.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def _keys(changes: Mapping[str, Any], command: str) -> Callable[[Path], Sequence[str | Path]]:
    text = yaml.safe_dump({**DOCUMENT, **changes}, sort_keys=False)
    return _content(text, command)


def _content(content: str | bytes, command: str) -> Callable[[Path], Sequence[str | Path]]:
    def make(folder: Path) -> Sequence[str | Path]:
        file = _left(folder, content)
        return (
            ("export", file, "--to", "trl") if command == "export" else ("apply", file, write_study(folder))
        )

    return make


def _place(leave: Callable[[Path], object]) -> Callable[[Path], Sequence[str | Path]]:
    def make(folder: Path) -> Sequence[str | Path]:
        leave(folder / "recipe.yaml")
        return ("export", folder / "recipe.yaml", "--to", "trl")

    return make


def _arguments(words: Sequence[str]) -> Callable[[Path], Sequence[str | Path]]:
    return lambda folder: ("export", _left(folder, _GOOD), *words)


def _settings(words: Sequence[str]) -> Callable[[Path], Sequence[str | Path]]:
    return lambda folder: ("apply", _left(folder, _GOOD), write_study(folder), *words)


CASES: Final = [
    *(Case(name=f"key-{n}", make=_keys(c, "export"), says=says) for n, (c, says) in _KEYS.items()),
    *(Case(name=f"content-{n}", make=_content(c, "apply"), says=says) for n, (c, says) in _CONTENT.items()),
    *(Case(name=f"place-{n}", make=_place(leave), says=says) for n, (leave, says) in _PLACES.items()),
    *(Case(name=f"argument-{n}", make=_arguments(w), says=says) for n, (w, says) in _ARGUMENTS.items()),
    *(Case(name=f"setting-{n}", make=_settings(w), says=says) for n, (w, says) in _SETTINGS.items()),
]
