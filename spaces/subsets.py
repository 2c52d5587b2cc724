"""Subsets: what a recipe trains, as named sets of roles and expressions over them.

An expression joins names by `+` and `-`, read from left to right: `sa_proj+gate_up`, `mlp-down`. A name is a
subset's or a role's. `random(sa_proj)` is a control: as many elements, drawn by chance from the same layers;
`random(sa_proj,1)` draws others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from spaces.nearest import near_miss
from spaces.roles import ATTENTION, LANGUAGE, MLP, ROLES, VISION

SUBSETS: dict[str, frozenset[str]] = {
    "full": frozenset(ROLES),
    "llm": frozenset(LANGUAGE),
    "vision": frozenset(VISION),
    "vision_attn": frozenset({"vision.attn"}),
    "vision_mlp": frozenset({"vision.mlp"}),
    "projector": frozenset({"projector"}),
    "vision_projector": frozenset({*VISION, "projector"}),
    "sa_proj": frozenset(ATTENTION),
    "qkv": frozenset({"attn.q", "attn.k", "attn.v"}),
    "vo": frozenset({"attn.v", "attn.o"}),
    "mlp": frozenset(MLP),
    "gate_up": frozenset({"mlp.gate", "mlp.up"}),
    "down": frozenset({"mlp.down"}),
    "sa_gate_up": frozenset({*ATTENTION, "mlp.gate", "mlp.up"}),
    "qkv_gate_up": frozenset({"attn.q", "attn.k", "attn.v", "mlp.gate", "mlp.up"}),
}

_OUTSIDE_OF_LAYERS: Final = frozenset({"embed", "head", "position", "projector", "vision.embed"})
_RANDOM: Final = re.compile(r"random\((?P<of>[^(),]*)(?:,(?P<seed>\d+))?\)")


@dataclass(frozen=True, slots=True)
class Term:
    """A name in an expression.

    Attributes:
        sign: `+` or `-`: whether its roles are added or taken away.
        name: The subset's or role's name.
        roles: The roles that it stands for.
    """

    sign: str
    name: str
    roles: frozenset[str]


@dataclass(frozen=True, slots=True)
class Subset:
    """An expression, read.

    Attributes:
        terms: Its names in their order; the first one is added.
        seed: Of a random control the seed of the draw, else None.
    """

    terms: tuple[Term, ...]
    seed: int | None = None

    @property
    def roles(self) -> frozenset[str]:
        """The roles that are trained; for a random control, those that it is as large as."""
        roles: frozenset[str] = frozenset()
        for term in self.terms:
            roles = roles | term.roles if term.sign == "+" else roles - term.roles
        return roles

    @property
    def has_layers(self) -> bool:
        """Whether anything of it belongs to a layer, so that a layer range can limit it."""
        return not self.roles <= _OUTSIDE_OF_LAYERS


def parse_subset(text: str) -> Subset:
    """Read an expression; blanks don't matter.

    Raises:
        ValueError: A name is unknown or missing, a subtraction takes nothing away or leaves nothing, or
            `random` does not stand alone.
    """
    plain = "".join(text.split())
    if "random(" not in plain:
        return Subset(_terms(plain))
    match = _RANDOM.fullmatch(plain)
    if match is None:
        raise ValueError(
            f"subset {text!r}: a random control stands alone, as random(sa_proj) or random(sa_proj,1); "
            "a list in a YAML file needs quotes around one with a comma"
        )
    return Subset(_terms(match["of"]), seed=int(match["seed"] or 0))


def roles_of(subset: str) -> frozenset[str]:
    """Return the roles that an expression trains; see `parse_subset` and `Subset.roles`."""
    return parse_subset(subset).roles


def _terms(text: str) -> tuple[Term, ...]:
    names = re.split(r"[+-]", text)
    signs = ["+", *re.findall(r"[+-]", text)]
    terms: tuple[Term, ...] = ()
    for position, (sign, name) in enumerate(zip(signs, names, strict=True)):
        if not name:
            where = f"after {sign!r}" if position else f"before {signs[1]!r}" if len(signs) > 1 else "at all"
            raise ValueError(f"subset {text!r} has no name {where}")
        term = Term(sign, name, _named(name, text))
        if sign == "-":
            _check_subtraction(Subset(terms).roles, term, text)
        terms += (term,)
    return terms


def _named(name: str, text: str) -> frozenset[str]:
    if name in SUBSETS:
        return SUBSETS[name]
    if name in ROLES:
        return frozenset({name})
    where = "" if name == text else f" in {text!r}"
    known = {*SUBSETS, *ROLES}
    # What reads as a subtraction may be one name with a slip in it, such as `gate-up`.
    near = near_miss(name, known) or near_miss(text, known)
    hint = f"did you mean {near!r}?" if near else f"expected one of: {', '.join(sorted(known))}"
    raise ValueError(f"unknown subset {name!r}{where}: {hint}")


def _check_subtraction(before: frozenset[str], term: Term, text: str) -> None:
    if not before & term.roles:
        held = ", ".join(role for role in ROLES if role in before)
        raise ValueError(f"subset {text!r}: {term.name!r} takes nothing away from {held}")
    if before <= term.roles:
        raise ValueError(f"subset {text!r}: nothing is left without {term.name!r}")
