"""The tables of docs/families.md, made of the families that the tests train.

`PYTHONPATH=.:tests python tests/family_tables.py` writes them into the page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tiny_families import LANGUAGE, MULTIMODAL, Family

from spaces.families import parts_of, role_map_of
from spaces.language_families import PREFIXES
from spaces.multimodal_families import SHELLS
from spaces.parts import Part
from spaces.role_map import Fused

PAGE = Path(__file__).resolve().parents[1] / "docs" / "families.md"
_GENERATED = re.compile(r"(?<=<!-- made by tests/family_tables.py -->\n\n).*?(?=\n\n<!-- end -->)", re.DOTALL)


def page_with_tables(page: str) -> str:
    """Return the page with its tables made anew."""
    made = f"{_table(LANGUAGE, _language_row)}\n\n{_table(MULTIMODAL, _multimodal_row)}"
    found = _GENERATED.search(page)
    assert found, "the page has no place for its tables"
    return page[: found.start()] + made + page[found.end() :]


def _table(families: Mapping[str, Family], row: Callable[[Family], dict[str, str]]) -> str:
    rows = [row(family) for family in families.values()]
    headings = list(rows[0])
    lines = [headings, ["---"] * len(headings), *([*each.values()] for each in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _language_row(family: Family) -> dict[str, str]:
    model, parts = _divided(family)
    roles = {part.role for part in parts}
    notes = [
        *(["no gate"] if "mlp.gate" not in roles else []),
        *(["learned positions"] if "position" in roles else []),
        *([f"router: {_code(_tails(parts, 'mlp.router'))}"] if "mlp.router" in roles else []),
        *([family.notes] if family.notes else []),
    ]
    return {
        "`model_type`": f"`{model.config.model_type}`",
        "class": f"`{family.model.__name__}`",
        "decoder": f"`{PREFIXES.get(model.config.model_type, 'model.')}`",
        "fused, and how it is cut": _fused(model) or "nothing",
        "head, as tested": "its own" if "head" in roles else "the table of words",
        "notes": "; ".join(notes),
    }


def _multimodal_row(family: Family) -> dict[str, str]:
    model, parts = _divided(family)
    shell = SHELLS[model.config.model_type]
    projector = dict.fromkeys(_module(part.name, shell.vision) for part in parts if part.role == "projector")
    return {
        "`model_type`": f"`{model.config.model_type}`",
        "class": f"`{family.model.__name__}`",
        "language model": f"`{model.config.text_config.model_type}` in `{shell.language}`",
        "vision tower": f"`{model.config.vision_config.model_type}` in `{shell.vision}`",
        "projector": _code(projector),
        "notes": family.notes,
    }


def _divided(family: Family) -> tuple[Any, tuple[Part, ...]]:
    model = family.build(device="meta")
    return model, parts_of(_shapes(model), model.config.to_dict())[1]


def _shapes(model: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def _fused(model: Any) -> str:
    """Say of each fused parameter of a model where its roles lie."""
    return "; ".join(_cut(fused) for fused in role_map_of(model.config.to_dict()).fused)


def _cut(fused: Fused) -> str:
    where = {0: "rows", 1: "rows of each expert", -1: "columns"}[fused.axis]
    roles = [role if type(share) is int else f"{role} x `{share}`" for role, share in fused.parts]
    times = "" if fused.repeats == 1 else f", `{fused.repeats}` times"
    return f"{_code(map(_tail, fused.names))}: {where} are {', '.join(roles)}{times}"


def _tails(parts: Iterable[Part], role: str) -> list[str]:
    return list(dict.fromkeys(_tail(part.name) for part in parts if part.role == role))


def _tail(name: str) -> str:
    """Return what is below the layer of a name or template without weight and bias; of a choice the first."""
    below = re.sub(r"^.*?\.(\{layer\}|\d+)\.", "", name)
    module = re.sub(r"\.(\{weight\|bias\}|weight|bias)$", "", below)
    return re.sub(r"\{(\w+)\|[\w|]+\}", r"\1", module)


def _module(name: str, tower: str) -> str:
    """Return the module that a projector's parameter is in, such as `model.visual.merger`."""
    depth = 3 if name.startswith(tower) else 2
    return ".".join(name.split(".")[:depth])


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    PAGE.write_text(page_with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
