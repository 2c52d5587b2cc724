"""Where there is a GPU: what a step takes there, beside what was planned for it."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from spaces.recipe import Recipe
from trainables.collate import EncodedSample
from trainables.cost.memory import Estimator, Load
from trainables.cost.sample_shape import SampleShape
from trainables.loop import fine_tune
from trainables.manifest import build_manifest
from trainables.weights.restore import borrowed

pytestmark = pytest.mark.gpu
TOKENS, ANSWER, BATCH = 512, 64, 4


def config() -> LlamaConfig:
    """A model of about 0.4 billion parameters, large enough that the allocator's rounding does not count."""
    return LlamaConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=12,
        num_attention_heads=16,
        num_key_value_heads=16,
        vocab_size=32000,
        tie_word_embeddings=False,
    )


def sample(length: int) -> EncodedSample:
    ids = torch.randint(0, 32000, (length,))
    return EncodedSample({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, {}, length - ANSWER)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("subset", ["full", "qkv", "gate_up"])
def test_a_step_takes_no_more_than_planned_and_not_much_less(subset: str, dtype: torch.dtype) -> None:
    with torch.device("meta"):
        skeleton = LlamaForCausalLM(config()).to(dtype)
    trained = build_manifest(skeleton, subset)
    shape = SampleShape(tokens=TOKENS, answer_tokens=ANSWER)
    planned = Estimator(skeleton, shape, "cuda").estimate(trained, Load(micro_batch=BATCH))
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    model = LlamaForCausalLM(config()).to("cuda", dtype).eval().requires_grad_(False)
    recipe = Recipe(subset=subset, learning_rate=1e-5, steps=2, batch_size=BATCH)
    # One sample is shorter, so that a mask is needed.
    data = [sample(TOKENS) for _ in range(BATCH - 1)] + [sample(TOKENS - 9)]
    with borrowed(model, trained, seed=0):
        for _ in fine_tune(model, trained, recipe, data, seed=0, rungs=(2,), pad_token_id=0):
            pass
    torch.cuda.synchronize()
    taken = torch.cuda.max_memory_allocated()
    held = planned.resident + planned.activations
    print(f"{subset} {dtype}: planned {held:,} bytes, taken {taken:,}: {taken / held:.3f}")
    assert 0.6 * held < taken <= held * 1.02
    assert torch.cuda.max_memory_reserved() <= planned.total
