"""The algebra of subsets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces.roles import ROLES
from spaces.subsets import SUBSETS, parse_subset, roles_of


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


EVERY_NAME = (
    "attn.k, attn.o, attn.q, attn.v, down, embed, full, gate_up, head, llm, mlp, mlp.down, mlp.gate, "
    "mlp.router, mlp.up, norm, position, projector, qkv, qkv_gate_up, sa_gate_up, sa_proj, vision, "
    "vision.attn, vision.embed, vision.mlp, vision.norm, vision_attn, vision_mlp, vision_projector, vo"
)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sa_projj", "unknown subset 'sa_projj': did you mean 'sa_proj'?"),
        ("attn", f"unknown subset 'attn': expected one of: {EVERY_NAME}"),
        ("attn.qq", "unknown subset 'attn.qq': did you mean 'attn.q'?"),
        ("zzz", f"unknown subset 'zzz': expected one of: {EVERY_NAME}"),
        ("gate-up", "unknown subset 'gate' in 'gate-up': did you mean 'gate_up'?"),
        ("sa_proj+mpl", "unknown subset 'mpl' in 'sa_proj+mpl': did you mean 'mlp'?"),
        ("", "subset '' has no name at all"),
        ("-down", "subset '-down' has no name before '-'"),
        ("mlp-", "subset 'mlp-' has no name after '-'"),
        ("mlp-+down", "subset 'mlp-+down' has no name after '-'"),
        (
            "sa_proj-down",
            "subset 'sa_proj-down': 'down' takes nothing away from attn.q, attn.k, attn.v, attn.o",
        ),
        ("mlp-down-down", "subset 'mlp-down-down': 'down' takes nothing away from mlp.gate, mlp.up"),
        ("down-mlp", "subset 'down-mlp': nothing is left without 'mlp'"),
        ("random()", "subset '' has no name at all"),
        ("random(sa_projj)", "unknown subset 'sa_projj': did you mean 'sa_proj'?"),
        *(
            (
                wrong,
                f"subset {wrong!r}: a random control stands alone, as random(sa_proj) or random(sa_proj,1); "
                "a list in a YAML file needs quotes around one with a comma",
            )
            for wrong in ("random(sa_proj", "random(mlp)+vo", "random(mlp,x)", "random(random(mlp))")
        ),
    ],
)
def test_wrong(name: str, message: str) -> None:
    with pytest.raises(ValueError, match="subset") as caught:
        parse_subset(name)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("expression", "roles"),
    [
        ("sa_proj+gate_up", roles_of("sa_gate_up")),
        ("mlp-down", roles_of("gate_up")),
        ("attn.v+attn.o", roles_of("vo")),
        # From left to right: what is taken away may be added again.
        ("mlp-gate_up+mlp.up", {"mlp.down", "mlp.up"}),
        ("llm-embed-head", roles_of("llm") - {"embed", "head"}),
        (" sa_proj + gate_up ", roles_of("sa_gate_up")),
    ],
)
def test_expressions(expression: str, roles: set[str]) -> None:
    assert roles_of(expression) == roles


NAMES = st.sampled_from([*SUBSETS, *ROLES])


@given(NAMES, NAMES, NAMES)
def test_laws_of_union_and_difference(a: str, b: str, c: str) -> None:
    assert roles_of(f"{a}+{b}") == roles_of(f"{b}+{a}") == roles_of(a) | roles_of(b)
    assert roles_of(f"{a}+{b}+{c}") == roles_of(f"{b}+{c}") | roles_of(a)
    assert roles_of(f"{a}+{a}") == roles_of(a)


@given(NAMES, NAMES)
def test_a_difference_takes_something_leaves_something_or_is_refused(a: str, b: str) -> None:
    whole, taken = roles_of(a), roles_of(b)
    if whole & taken and whole - taken:
        assert roles_of(f"{a}-{b}") == whole - taken
        assert roles_of(f"{a}-{b}+{b}") == whole | taken
    else:
        with pytest.raises(ValueError, match="nothing"):
            roles_of(f"{a}-{b}")


@pytest.mark.parametrize(
    ("text", "seed"),
    [("sa_proj", None), ("random(sa_proj)", 0), ("random(sa_proj,17)", 17), ("random( vo , 2 )", 2)],
)
def test_the_seed_of_a_random_control(text: str, seed: int | None) -> None:
    assert parse_subset(text).seed == seed


@pytest.mark.parametrize(
    "subset", ["sa_proj", "norm", "vision_attn", "vision_projector", "full", "random(vo)"]
)
def test_a_layer_range_can_limit(subset: str) -> None:
    assert parse_subset(subset).has_layers


@pytest.mark.parametrize("subset", ["projector", "embed+head", "projector+vision.embed"])
def test_no_layer_range_can_limit(subset: str) -> None:
    assert not parse_subset(subset).has_layers
