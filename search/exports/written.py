"""Writing what another tool reads: YAML with a head that says what it can't express."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from search.exports.source import Source
from search.labels import recipe_label
from trainables.files import write_atomically

_WIDTH = 100
_ALWAYS = (
    "As with all trainers built on transformers: the first step of a warm-up has a learning rate of 0, a "
    "dropout that the model's configuration sets is on, and the tool's own template writes the samples."
)
FILL_IN = "FILL_IN"
"""Stands where only the user knows the value, such as the name of a data set."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """What was written for a tool.

    Attributes:
        files: The files.
        limits: What of the recipe the tool can't express, one sentence each.
        use: How the tool takes the files, one line.
    """

    files: tuple[Path, ...]
    limits: tuple[str, ...]
    use: str


def head(source: Source, tool: str, limits: Sequence[str]) -> str:
    """Return a file's first lines, as comments.

    Args:
        source: The recipe.
        tool: What the tool is called, with the version that the file is written for.
        limits: What it can't express.
    """
    lines = [f"{recipe_label(source.recipe)}, selected by recipe-search; written for {tool}."]
    lines.append(
        f"{FILL_IN} stands for what only you know. The batch of {source.recipe.batch_size} samples is made "
        "on one device: divide the accumulation by the number of devices, and raise the samples per device."
    )
    if limits:
        lines.append("Not expressed here:")
        lines += [f"- {limit}" for limit in limits]
    lines.append(_ALWAYS)
    wrapped = [
        line
        for text in lines
        for line in textwrap.wrap(
            " ".join(text.split()),
            _WIDTH,
            subsequent_indent="  " * text.startswith("-"),
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]
    return "".join(f"# {line}\n" for line in wrapped)


def write_yaml(file: Path, comment: str, content: Mapping[str, Any]) -> Path:
    """Write settings under a comment; return the file."""
    text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=10_000)
    write_atomically(file, (comment + text).encode())
    return file


def lora_alpha(source: Source) -> tuple[int, tuple[str, ...]]:
    """Return alpha as a whole number, for tools that take no other, and what is lost by it."""
    alpha = source.recipe.lora_alpha
    assert alpha is not None
    whole = max(1, round(alpha))
    return whole, () if whole == alpha else (f"alpha {alpha:g}: a whole number is taken, {whole}",)
