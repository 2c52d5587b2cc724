"""Architectures without a role map, and maps that a user would write for them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import torch
import yaml
from tiny_models import IDS
from transformers import BloomConfig, BloomForCausalLM, OPTConfig, OPTForCausalLM

from trainables.tiny.build import build_tokenizer
from trainables.tiny.vocabulary import BOS, EOS, PAD

_TOKENS: Final = {
    "vocab_size": len(IDS),
    "bos_token_id": IDS[BOS],
    "eos_token_id": IDS[EOS],
    "pad_token_id": IDS[PAD],
}
_PAGE = (Path(__file__).resolve().parents[1] / "docs" / "families.md").read_text(encoding="utf-8")
_BLOCKS = re.findall(r"^( *)```yaml\n(.+?)^ *```", _PAGE, flags=re.MULTILINE | re.DOTALL)

# As the documentation shows them.
OPT_ROLES: Final[dict[str, Any]] = yaml.safe_load(_BLOCKS[0][1])["model"]["roles"]
BLOOM_ROLES: Final[dict[str, Any]] = {
    **yaml.safe_load(_BLOCKS[1][1]),
    "embed": "transformer.word_embeddings.weight",
    "attn.o": "transformer.h.{layer}.self_attention.dense.{weight|bias}",
    "mlp.up": "transformer.h.{layer}.mlp.dense_h_to_4h.{weight|bias}",
    "mlp.down": "transformer.h.{layer}.mlp.dense_4h_to_h.{weight|bias}",
    "norm": [
        "transformer.h.{layer}.{input|post_attention}_layernorm.{weight|bias}",
        "transformer.{word_embeddings_layernorm|ln_f}.{weight|bias}",
    ],
}


def save_opt(folder: Path) -> Path:
    """Save a configuration alone, as a plan needs it."""
    OPTConfig(
        **_TOKENS,
        hidden_size=16,
        ffn_dim=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        word_embed_proj_dim=16,
        architectures=[OPTForCausalLM.__name__],
    ).save_pretrained(folder)
    return folder


def save_bloom(folder: Path) -> Path:
    """Save a random model and its tokenizer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BloomForCausalLM(BloomConfig(**_TOKENS, hidden_size=16, n_layer=2, n_head=4))
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder
