"""Training slices of fused parameters takes the same steps as training matrices that were never fused.

The model that is compared with is Llama for Phi-3, which differs from it in nothing but fusion; the others'
fused parameters are put together of parameters of their own in each forward pass, as the models' code takes
them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from tiny_families import LANGUAGE, PAD
from tiny_models import recipe
from torch import Tensor, nn
from torch.nn.utils import parametrize

from spaces.own_roles import own_role_map
from spaces.parts import Slice
from trainables.loop import fine_tune
from trainables.manifest import OWN_ROLES, build_manifest
from trainables.weights.slices import sliced

STEPS = 3
HEADS = 4


class Joined(nn.Module):
    """Makes a fused parameter of several, and several of a fused one."""

    def __init__(self, split: Callable[[Tensor], tuple[Tensor, ...]], join: Callable[..., Tensor]) -> None:
        super().__init__()
        self._split, self._join = split, join

    def right_inverse(self, fused: Tensor) -> tuple[Tensor, ...]:
        return tuple(part.contiguous() for part in self._split(fused))

    def forward(self, *parts: Tensor) -> Tensor:
        return self._join(*parts)


def columns(fused: Tensor) -> tuple[Tensor, ...]:
    return fused.split(16, dim=-1)


def heads(fused: Tensor) -> tuple[Tensor, ...]:
    """Take GPT-NeoX's rows apart: of each head query, key and value."""
    return fused.unflatten(0, (HEADS, 3, 4)).unbind(1)


def halves(fused: Tensor) -> tuple[Tensor, ...]:
    return fused.chunk(2, dim=1)


def in_turns(fused: Tensor) -> tuple[Tensor, ...]:
    return fused[..., ::2], fused[..., 1::2]


@dataclass(frozen=True)
class Fusion:
    """One fused module of a family.

    Attributes:
        module: The end of its name; its parameters are those in `parameters`.
        parameters: Names of its fused parameters.
        roles: What they are put together of.
        split: Takes a fused parameter apart.
        join: Puts it together.
    """

    module: str
    parameters: tuple[str, ...]
    roles: tuple[str, ...]
    split: Callable[[Tensor], tuple[Tensor, ...]]
    join: Callable[..., Tensor]


QKV, GATE_UP = ("attn.q", "attn.k", "attn.v"), ("mlp.gate", "mlp.up")
FUSIONS = {
    "gpt2": Fusion("attn.c_attn", ("weight", "bias"), QKV, columns, lambda *qkv: torch.cat(qkv, -1)),
    "gpt_neox": Fusion(
        "query_key_value",
        ("weight", "bias"),
        QKV,
        heads,
        lambda *qkv: torch.stack(qkv, dim=1).flatten(0, 2),
    ),
    "mixtral": Fusion(
        "mlp.experts", ("gate_up_proj",), GATE_UP, halves, lambda *both: torch.cat(both, dim=1)
    ),
    "qwen2_moe": Fusion(
        "mlp.experts", ("gate_up_proj",), GATE_UP, halves, lambda *both: torch.cat(both, dim=1)
    ),
    "gpt_oss": Fusion(
        "mlp.experts",
        ("gate_up_proj", "gate_up_proj_bias"),
        GATE_UP,
        in_turns,
        lambda *both: torch.stack(both, dim=-1).flatten(-2),
    ),
}


def unfused(name: str) -> tuple[nn.Module, dict[tuple[str, str], str]]:
    """Return a family's model with nothing fused, and (fused name, role) -> the name of the part."""
    if name == "phi3":
        return llama_of_phi3()
    model, fusion = LANGUAGE[name].build(), FUSIONS[name]
    names: dict[tuple[str, str], str] = {}
    roles: dict[str, list[str]] = {role: [] for role in fusion.roles}
    for prefix, module in list(model.named_modules()):
        if not prefix.endswith(fusion.module):
            continue
        for parameter in fusion.parameters:
            joined = Joined(fusion.split, fusion.join)
            parametrize.register_parametrization(module, parameter, joined, unsafe=True)
            for index, role in enumerate(fusion.roles):
                own = f"{prefix}.parametrizations.{parameter}.original{index}"
                names[f"{prefix}.{parameter}", role] = own
                roles[role].append(own.replace(".0.", ".{layer}.", 1).replace(".1.", ".{layer}.", 1))
    setattr(model, OWN_ROLES, own_role_map({role: sorted(set(found)) for role, found in roles.items()}))
    return model.requires_grad_(False), names


def llama_of_phi3() -> tuple[nn.Module, dict[tuple[str, str], str]]:
    weights = LANGUAGE["phi3"].build().state_dict()
    names: dict[tuple[str, str], str] = {}
    for layer in range(2):
        prefix = f"model.layers.{layer}."
        fused = f"{prefix}self_attn.qkv_proj.weight"
        # 4 heads of 4 rows are queries, 2 of 4 keys and as many values.
        for kind, rows in zip("qkv", weights.pop(fused).split([16, 8, 8]), strict=True):
            names[fused, f"attn.{kind}"] = own = f"{prefix}self_attn.{kind}_proj.weight"
            weights[own] = rows
        fused = f"{prefix}mlp.gate_up_proj.weight"
        for kind, rows in zip(("gate", "up"), weights.pop(fused).chunk(2), strict=True):
            names[fused, f"mlp.{kind}"] = own = f"{prefix}mlp.{kind}_proj.weight"
            weights[own] = rows
    model = LANGUAGE["llama"].build(rms_norm_eps=LANGUAGE["phi3"].config().rms_norm_eps)
    model.load_state_dict(weights)
    return model, names


def trained(model: nn.Module, subset: str) -> dict[tuple[str, str, str], Tensor]:
    """Return (what, parameter, role) -> values and moments after some steps, flat."""
    manifest = build_manifest(model, subset)
    data = [LANGUAGE["llama"].sample(seed, text=6 + seed) for seed in range(4)]
    how = recipe(subset, steps=STEPS, batch_size=3, learning_rate=1e-2, weight_decay=0.1, max_grad_norm=1.0)
    (end,) = fine_tune(model, manifest, how, data, seed=0, rungs=(STEPS,), pad_token_id=PAD)
    found = {}
    for what in ("parameter", "exp_avg", "exp_avg_sq"):
        for part in manifest.parameters:
            cut: Slice | None = None
            if (value := end.state.get(f"{what}/{part.name}[{part.role}]")) is None:
                value, cut = end.state[f"{what}/{part.name}"], part.slice
            found[what, part.name, part.role] = sliced(value, cut).reshape(-1).clone()
    return found


@pytest.mark.parametrize(
    "subset", ["full", "sa_proj", "qkv", "vo", "attn.q", "mlp", "gate_up", "mlp.up", "down"]
)
@pytest.mark.parametrize("name", ["phi3", *FUSIONS])
def test_slices_take_the_same_steps(name: str, subset: str) -> None:
    model = LANGUAGE[name].build()
    other, names = unfused(name)
    before = dict(other.named_parameters())
    base = {key: value.detach().clone() for key, value in before.items()}
    fused, apart = trained(model, subset), trained(other, subset)
    matched = {(what, names.get((key, role), key), role): value for (what, key, role), value in fused.items()}
    assert set(matched) == set(apart)
    for key, value in matched.items():
        if name == "gpt2" and "bias" in key[1] and key[2] == "attn.k":
            continue  # Its gradient is 0, as tested below, and AdamW blows up the rounding errors.
        torch.testing.assert_close(value, apart[key], rtol=1e-4, atol=1e-6)
    # Weight decay alone would move each by 3 x 0.1 % of itself; the gradient moves it by about 3 %.
    moved = [
        (apart[k] - base[k[1]].reshape(-1)).abs().max()
        for k in apart
        if k[0] == "parameter" and "bias" not in k[1]
    ]
    assert min(moved) > 0.01


def logits(model: nn.Module) -> Tensor:
    ids = LANGUAGE["llama"].sample().tokens["input_ids"][None]
    with torch.no_grad():
        return model(input_ids=ids).logits


def scaled(model: nn.Module, factors: dict[str, float]) -> Tensor:
    """Return the logits with what has a role scaled, biases of what ends a block apart."""
    parameters = dict(model.named_parameters())
    for part in build_manifest(model, "full").parameters:
        if not (part.role in ("attn.o", "mlp.down") and part.name.endswith("bias")):
            sliced(parameters[part.name].data, part.slice).mul_(factors.get(part.role, 1.0))
    return logits(model)


@pytest.mark.parametrize("name", ["phi3", "gpt2", "gpt_neox", "mixtral", "qwen2_moe"])
def test_the_slices_are_what_they_are_called(name: str) -> None:
    """Scores are q k, outputs o v: twice the one and half the other is the same, and nothing else is.

    So are up and down around a gate, which is not linear.
    """
    same = logits(LANGUAGE[name].build())
    pairs = [("attn.q", "attn.k"), ("attn.v", "attn.o"), ("mlp.up", "mlp.down"), ("mlp.gate", "mlp.down")]
    equal = {
        pair: torch.allclose(
            scaled(LANGUAGE[name].build(), dict(zip(pair, (2.0, 0.5), strict=True))), same, atol=1e-6
        )
        for pair in pairs
    }
    gated = name not in ("gpt2", "gpt_neox")
    assert equal == dict(zip(pairs, (True, True, gated, False), strict=True))
    for role in ("attn.q", "attn.k", "attn.v", "mlp.up"):
        assert not torch.allclose(scaled(LANGUAGE[name].build(), {role: 2.0}), same, atol=1e-6), role


@pytest.mark.parametrize(("name", "free"), [("gpt2", slice(0, 4)), ("gpt_neox", slice(2, 8))])
def test_keys_are_told_from_queries(name: str, free: slice) -> None:
    """What is added to all keys adds the same to all scores of a query, which the softmax does not see.

    GPT-NeoX turns the first quarter of each head by its position, so that holds for the others.
    """
    changes = {"num_attention_heads": 2} if name == "gpt_neox" else {}
    same = logits(LANGUAGE[name].build(**changes))
    for role, equal in (("attn.k", True), ("attn.q", False)):
        model = LANGUAGE[name].build(**changes)
        parameters = dict(model.named_parameters())
        for part in build_manifest(model, role).parameters:
            if part.name.endswith("bias"):
                size = 8 if name == "gpt_neox" else 4
                sliced(parameters[part.name].data, part.slice).unflatten(-1, (-1, size))[..., free].add_(0.5)
        assert torch.allclose(logits(model), same, atol=1e-6) == equal, role


def test_columns_of_gpt_oss_take_turns() -> None:
    """Its experts give (up + 1) x a function of the gate: at up = -1, nothing is left for down to pass on."""

    def silenced(role: str) -> tuple[Tensor, Tensor]:
        model = LANGUAGE["gpt_oss"].build()
        parameters = dict(model.named_parameters())
        for part in build_manifest(model, role).parameters:
            value = -1.0 if part.name.endswith("bias") else 0.0
            sliced(parameters[part.name].data, part.slice).fill_(value)
        return logits(model), scaled(model, {"mlp.down": 5.0})

    once, five_times = silenced("mlp.up")
    assert torch.equal(once, five_times)
    once, five_times = silenced("mlp.gate")
    assert not torch.allclose(once, five_times)
