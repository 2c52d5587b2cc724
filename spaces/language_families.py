"""Role maps of language models, below the decoder's own prefix.

What holds for many models is written once: a template that matches nothing in a model does no harm, so that
`_DECODER` covers biases, norms of queries and keys, norms after a block and experts wherever a model of this
build has them. Attention sinks are logits in the softmax's denominator; they count as a norm, so that the
attention's subsets train its projections alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from spaces.role_map import Fused, RoleMap, merged

_LAYER: Final = "layers.{layer}."
_DECODER: Final = RoleMap(
    name="decoder",
    roles={
        "attn.q": (_LAYER + "self_attn.q_proj.{weight|bias}",),
        "attn.k": (_LAYER + "self_attn.k_proj.{weight|bias}",),
        "attn.v": (_LAYER + "self_attn.v_proj.{weight|bias}",),
        "attn.o": (_LAYER + "self_attn.o_proj.{weight|bias}",),
        "mlp.gate": (_LAYER + "mlp.gate_proj.{weight|bias}",),
        "mlp.up": (_LAYER + "mlp.up_proj.{weight|bias}",),
        "mlp.down": (_LAYER + "mlp.down_proj.{weight|bias}",),
        "norm": (
            _LAYER + "{input|post_attention|pre_feedforward|post_feedforward}_layernorm.weight",
            _LAYER + "self_attn.{q|k}_norm.weight",
            "norm.weight",
        ),
        "embed": ("embed_tokens.weight",),
    },
)
# Rows are queries, keys and values, each with all its heads; then gate and up.
_PHI3: Final = RoleMap(
    name="phi3",
    roles={
        "attn.o": (_LAYER + "self_attn.o_proj.weight",),
        "mlp.down": (_LAYER + "mlp.down_proj.weight",),
        "norm": (_LAYER + "{input|post_attention}_layernorm.weight", "norm.weight"),
        "embed": ("embed_tokens.weight",),
    },
    fused=(
        Fused(
            names=(_LAYER + "self_attn.qkv_proj.weight",),
            parts=(
                ("attn.q", "num_attention_heads"),
                ("attn.k", "num_key_value_heads"),
                ("attn.v", "num_key_value_heads"),
            ),
        ),
        Fused(names=(_LAYER + "mlp.gate_up_proj.weight",), parts=(("mlp.gate", 1), ("mlp.up", 1))),
    ),
)
_QKV: Final = (("attn.q", 1), ("attn.k", 1), ("attn.v", 1))
# Head by head: the rows of its query, key and value.
_GPT_NEOX: Final = RoleMap(
    name="gpt_neox",
    roles={
        "attn.o": (_LAYER + "attention.dense.{weight|bias}",),
        "mlp.up": (_LAYER + "mlp.dense_h_to_4h.{weight|bias}",),
        "mlp.down": (_LAYER + "mlp.dense_4h_to_h.{weight|bias}",),
        "norm": (
            _LAYER + "{input|post_attention}_layernorm.{weight|bias}",
            "final_layer_norm.{weight|bias}",
        ),
        "embed": ("embed_in.weight",),
    },
    fused=(
        Fused(
            names=(_LAYER + "attention.query_key_value.{weight|bias}",),
            parts=_QKV,
            repeats="num_attention_heads",
        ),
    ),
)
# Its matrices are `[in, out]`, so queries, keys and values lie side by side in columns.
_GPT2: Final = RoleMap(
    name="gpt2",
    roles={
        "attn.o": ("h.{layer}.attn.c_proj.{weight|bias}",),
        "mlp.up": ("h.{layer}.mlp.c_fc.{weight|bias}",),
        "mlp.down": ("h.{layer}.mlp.c_proj.{weight|bias}",),
        "norm": ("h.{layer}.{ln_1|ln_2}.{weight|bias}", "ln_f.{weight|bias}"),
        "embed": ("wte.weight",),
        "position": ("wpe.weight",),
    },
    fused=(Fused(names=("h.{layer}.attn.c_attn.{weight|bias}",), parts=_QKV, axis=-1),),
)
# `[experts, gate and up, in]`: the first half of the rows of each expert is its gate.
_EXPERTS: Final = RoleMap(
    name="experts",
    roles={
        "mlp.router": (_LAYER + "mlp.gate.weight", _LAYER + "mlp.shared_expert_gate.weight"),
        "mlp.gate": (_LAYER + "mlp.shared_expert.gate_proj.weight",),
        "mlp.up": (_LAYER + "mlp.shared_expert.up_proj.weight",),
        "mlp.down": (_LAYER + "mlp.experts.down_proj", _LAYER + "mlp.shared_expert.down_proj.weight"),
    },
    fused=(
        Fused(names=(_LAYER + "mlp.experts.gate_up_proj",), axis=1, parts=(("mlp.gate", 1), ("mlp.up", 1))),
    ),
)
# `[experts, in, gate and up]`: columns of gate and up take turns.
_GPT_OSS_EXPERTS: Final = RoleMap(
    name="gpt_oss experts",
    roles={
        "mlp.router": (_LAYER + "mlp.router.{weight|bias}",),
        "mlp.down": (_LAYER + "mlp.experts.{down_proj|down_proj_bias}",),
        "norm": (_LAYER + "self_attn.sinks",),
    },
    fused=(
        Fused(
            names=(_LAYER + "mlp.experts.{gate_up_proj|gate_up_proj_bias}",),
            axis=-1,
            parts=(("mlp.gate", 1), ("mlp.up", 1)),
            repeats="intermediate_size",
        ),
    ),
)
_SPARSE: Final = merged("decoder with experts", (_DECODER, _EXPERTS))

LANGUAGE_MODELS: Final[Mapping[str, RoleMap]] = {
    **dict.fromkeys(
        (
            *("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma", "gemma2", "gemma3_text"),
            *("qwen2_vl_text", "qwen2_5_vl_text", "qwen3_vl_text"),
        ),
        _DECODER,
    ),
    **dict.fromkeys(("mixtral", "qwen2_moe", "qwen3_moe", "qwen3_vl_moe_text"), _SPARSE),
    "gpt_oss": merged("gpt_oss", (_DECODER, _GPT_OSS_EXPERTS)),
    "phi3": _PHI3,
    "gpt_neox": _GPT_NEOX,
    "gpt2": _GPT2,
}
"""Value of `model_type` -> roles of what is below the decoder's prefix."""

PREFIXES: Final[Mapping[str, str]] = {"gpt2": "transformer.", "gpt_neox": "gpt_neox."}
"""The decoder's prefix in a model of text alone, where it is not `model.`."""
