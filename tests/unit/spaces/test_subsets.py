"""The algebra of subsets."""

from __future__ import annotations

import pytest

from spaces.roles import ROLES
from spaces.subsets import SUBSETS, roles_of


@pytest.mark.parametrize(
    ("whole", "parts"),
    [
        ("full", ["llm", "vision", "projector"]),
        ("vision_projector", ["vision", "projector"]),
        ("sa_proj", ["qkv", {"attn.o"}]),
        ("vo", [{"attn.v"}, {"attn.o"}]),
        ("mlp", ["gate_up", "down"]),
        ("sa_gate_up", ["sa_proj", "gate_up"]),
        ("llm", ["sa_proj", "mlp", {"mlp.router"}, {"norm"}, {"embed"}, {"position"}, {"head"}]),
    ],
)
def test_a_whole_is_its_parts_and_they_do_not_overlap(whole: str, parts: list[str | set[str]]) -> None:
    roles = [roles_of(part) if isinstance(part, str) else part for part in parts]
    assert roles_of(whole) == set().union(*roles)
    assert sum(map(len, roles)) == len(roles_of(whole))


def test_full_is_every_role() -> None:
    assert roles_of("full") == set(ROLES)
    assert len(ROLES) == len(set(ROLES))


def test_every_role_is_in_a_smaller_subset_than_full() -> None:
    smaller = [roles for name, roles in SUBSETS.items() if name != "full"]
    assert frozenset().union(*smaller) == roles_of("full")


@pytest.mark.parametrize("name", sorted(SUBSETS))
def test_no_subset_is_empty_or_holds_an_unknown_role(name: str) -> None:
    assert roles_of(name)
    assert roles_of(name) <= set(ROLES)


def test_no_two_subsets_are_the_same() -> None:
    assert len(set(SUBSETS.values())) == len(SUBSETS)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sa_projj", "unknown subset 'sa_projj': did you mean 'sa_proj'?"),
        ("gate-up", "unknown subset 'gate-up': did you mean 'gate_up'?"),
        (
            "zzz",
            "unknown subset 'zzz': expected one of: down, full, gate_up, llm, mlp, projector, qkv, "
            "sa_gate_up, sa_proj, vision, vision_projector, vo",
        ),
    ],
)
def test_unknown(name: str, message: str) -> None:
    with pytest.raises(ValueError, match="unknown subset") as caught:
        roles_of(name)
    assert str(caught.value) == message
