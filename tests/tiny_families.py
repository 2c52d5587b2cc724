"""A tiny random model of every supported family, and samples that it takes; built offline in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import torch
import transformers as hf
from torch import Tensor

from trainables.collate import EncodedSample

VOCABULARY = 48
PAD, IMAGE = 0, 47
SIDE, PATCH = 16, 4  # of the image and of its patches, in pixels

TEXT: Final[Mapping[str, Any]] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": PAD,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
SPARSE: Final[Mapping[str, Any]] = {"num_experts_per_tok": 2, "moe_intermediate_size": 8}
VISION: Final[Mapping[str, Any]] = {
    "hidden_size": 12,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": PATCH,
}
QWEN_VISION: Final[Mapping[str, Any]] = {
    "depth": 2,
    "hidden_size": 24,
    "out_hidden_size": 16,
    "intermediate_size": 20,
    "num_heads": 3,
    "patch_size": PATCH,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
# Head size 4: pairs of positions in time, height and width.
MROPE: Final = {
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 0]},
    "head_dim": 4,
}


@dataclass(frozen=True, kw_only=True)
class Family:
    """One class of models at tiny size.

    Attributes:
        model: The transformers class.
        config: Makes its configuration; keywords change the language model's.
        image_tokens: Placeholders of one image in a prompt; 0 for a model of text.
        pixels: Makes what the model takes for one image.
        kinds: Under which name it takes, per token, whether the token is an image's; None if it doesn't.
        notes: What else a user should know of its roles.
    """

    model: Any
    config: Callable[..., Any]
    image_tokens: int = 0
    pixels: Callable[[], dict[str, Tensor]] = field(default=dict)
    kinds: str | None = None
    notes: str = ""

    def build(self, seed: int = 0, device: str = "cpu", **changes: Any) -> Any:
        """Return a model as the workers hold a base: fp32, frozen, in evaluation mode, no element zero."""
        with torch.random.fork_rng(devices=[]), torch.device(device):
            torch.manual_seed(seed)
            model = self.model(self.config(**changes)).eval().requires_grad_(False)
            for parameter in model.parameters():
                # Biases and some norms would start at 0, where weight decay can't be seen.
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
        return model

    def sample(self, seed: int = 0, text: int = 8) -> EncodedSample:
        """Return a sample of random tokens, the last three of which are the answer."""
        random = torch.Generator().manual_seed(seed)
        words = torch.randint(3, IMAGE - 4, (text,), generator=random)
        ids = torch.cat([words[:1], torch.full((self.image_tokens,), IMAGE), words[1:]])
        tokens = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if self.kinds is not None:
            tokens[self.kinds] = (ids == IMAGE).long()
        return EncodedSample(tokens, self.pixels(), len(ids) - 3)


def text_config(config: Any, /, **own: Any) -> Callable[..., Any]:
    return lambda **changes: config(**{**TEXT, **own, **changes})


def shell(config: Any, text: Callable[..., Any], vision: Any, /, **own: Any) -> Callable[..., Any]:
    return lambda **changes: config(text_config=text(**changes), vision_config=vision, **own)


def gpt2_config(**changes: Any) -> Any:
    names = {
        "hidden_size": "n_embd",
        "intermediate_size": "n_inner",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "max_position_embeddings": "n_positions",
    }
    own = {**TEXT, **changes, "tie_word_embeddings": True}
    del own["num_key_value_heads"]
    return hf.GPT2Config(**{names.get(key, key): value for key, value in own.items()})


def image(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def plain_pixels(*leading: int) -> dict[str, Tensor]:
    return {"pixel_values": image(*leading, 3, SIDE, SIDE)}


def any_resolution_pixels(tiles: int) -> dict[str, Tensor]:
    """Return the whole image and its tiles, as LLaVA-NeXT takes them."""
    return {"pixel_values": image(1, tiles, 3, SIDE, SIDE), "image_sizes": torch.tensor([[SIDE, 2 * SIDE]])}


def qwen_pixels() -> dict[str, Tensor]:
    """Return flattened patches, each in two frames, and how many there are in time, height and width."""
    side = SIDE // PATCH
    return {
        "pixel_values": image(side**2, 3 * 2 * PATCH**2),
        "image_grid_thw": torch.tensor([[1, side, side]]),
    }


CLIP = hf.CLIPVisionConfig(**VISION)
SIGLIP = hf.SiglipVisionConfig(**VISION)
PIXTRAL = hf.PixtralVisionConfig(**{**VISION, "head_dim": 6})
LLAMA = text_config(hf.LlamaConfig)
QWEN2 = text_config(hf.Qwen2Config)
GEMMA3 = text_config(hf.Gemma3TextConfig, head_dim=8, tie_word_embeddings=True, sliding_window=8)

LANGUAGE: Final[Mapping[str, Family]] = {
    "llama": Family(model=hf.LlamaForCausalLM, config=LLAMA),
    "mistral": Family(model=hf.MistralForCausalLM, config=text_config(hf.MistralConfig)),
    "qwen2": Family(model=hf.Qwen2ForCausalLM, config=text_config(hf.Qwen2Config, tie_word_embeddings=True)),
    "qwen3": Family(model=hf.Qwen3ForCausalLM, config=text_config(hf.Qwen3Config, head_dim=8)),
    "gemma": Family(
        model=hf.GemmaForCausalLM, config=text_config(hf.GemmaConfig, head_dim=8, tie_word_embeddings=True)
    ),
    "gemma2": Family(
        model=hf.Gemma2ForCausalLM, config=text_config(hf.Gemma2Config, head_dim=8, tie_word_embeddings=True)
    ),
    "gemma3_text": Family(model=hf.Gemma3ForCausalLM, config=GEMMA3),
    "phi3": Family(model=hf.Phi3ForCausalLM, config=text_config(hf.Phi3Config)),
    "smollm3": Family(
        model=hf.SmolLM3ForCausalLM, config=text_config(hf.SmolLM3Config, tie_word_embeddings=True)
    ),
    "gpt_neox": Family(model=hf.GPTNeoXForCausalLM, config=text_config(hf.GPTNeoXConfig)),
    "gpt2": Family(model=hf.GPT2LMHeadModel, config=gpt2_config),
    "mixtral": Family(
        model=hf.MixtralForCausalLM,
        config=text_config(hf.MixtralConfig, num_local_experts=4, num_experts_per_tok=2),
    ),
    "qwen2_moe": Family(
        model=hf.Qwen2MoeForCausalLM,
        config=text_config(hf.Qwen2MoeConfig, num_experts=4, shared_expert_intermediate_size=12, **SPARSE),
        notes="the shared expert has gate, up and down, too",
    ),
    "qwen3_moe": Family(
        model=hf.Qwen3MoeForCausalLM,
        # Every second layer is dense.
        config=text_config(hf.Qwen3MoeConfig, num_experts=4, head_dim=8, decoder_sparse_step=2, **SPARSE),
        notes="layers without experts have gate, up and down as usual",
    ),
    "gpt_oss": Family(
        model=hf.GptOssForCausalLM,
        config=text_config(
            hf.GptOssConfig,
            num_local_experts=4,
            num_experts_per_tok=2,
            head_dim=8,
            rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        ),
        notes="attention sinks are `norm`",
    ),
}

_llava = partial(shell, hf.LlavaConfig, image_token_index=IMAGE, image_token_id=IMAGE)
_PATCHES: Final = (SIDE // PATCH) ** 2
_QWEN_FAMILY: Final = {
    "image_tokens": _PATCHES // 4,
    "pixels": qwen_pixels,
    "kinds": "mm_token_type_ids",
    "notes": "the tower's qkv is `vision.attn` as a whole; its mergers are `projector`",
}
MULTIMODAL: Final[Mapping[str, Family]] = {
    "llava": Family(
        model=hf.LlavaForConditionalGeneration,
        config=_llava(LLAMA, CLIP, vision_feature_layer=-1),
        image_tokens=_PATCHES,
        pixels=partial(plain_pixels, 1),
    ),
    "llava (phi3, siglip)": Family(
        model=hf.LlavaForConditionalGeneration,
        notes="SigLIP's pooling head is in the tower (`vision`), though nothing takes its result",
        config=_llava(
            text_config(hf.Phi3Config), SIGLIP, vision_feature_layer=-1, vision_feature_select_strategy="full"
        ),
        image_tokens=_PATCHES,
        pixels=partial(plain_pixels, 1),
    ),
    "llava (mistral, pixtral)": Family(
        model=hf.LlavaForConditionalGeneration,
        config=_llava(
            text_config(hf.MistralConfig),
            PIXTRAL,
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
        ),
        image_tokens=_PATCHES,
        pixels=lambda: {**plain_pixels(1), "image_sizes": torch.tensor([[SIDE, SIDE]])},
    ),
    "llava_next": Family(
        notes="`image_newline` is `projector`",
        model=hf.LlavaNextForConditionalGeneration,
        config=shell(
            hf.LlavaNextConfig,
            LLAMA,
            CLIP,
            image_token_index=IMAGE,
            image_token_id=IMAGE,
            image_grid_pinpoints=[[SIDE, 2 * SIDE]],
        ),
        # The whole image, and two tiles side by side with a new line after each of their rows.
        image_tokens=3 * _PATCHES + SIDE // PATCH,
        pixels=partial(any_resolution_pixels, 3),
    ),
    "llava_onevision": Family(
        notes="SigLIP's pooling head as above; `image_newline` is `projector`",
        model=hf.LlavaOnevisionForConditionalGeneration,
        config=shell(
            hf.LlavaOnevisionConfig,
            QWEN2,
            SIGLIP,
            image_token_index=IMAGE,
            image_token_id=IMAGE,
            image_grid_pinpoints=[[SIDE, 2 * SIDE]],
        ),
        image_tokens=3 * _PATCHES + SIDE // PATCH,
        pixels=partial(any_resolution_pixels, 3),
    ),
    "qwen2_vl": Family(
        model=hf.Qwen2VLForConditionalGeneration,
        config=shell(
            hf.Qwen2VLConfig,
            text_config(dict, **MROPE),
            # Its `hidden_size` is the language model's.
            {**QWEN_VISION, "embed_dim": 24, "hidden_size": 16, "mlp_ratio": 2},
            image_token_id=IMAGE,
        ),
        **_QWEN_FAMILY,
    ),
    "qwen2_5_vl": Family(
        model=hf.Qwen2_5_VLForConditionalGeneration,
        config=shell(
            hf.Qwen2_5_VLConfig,
            text_config(dict, **MROPE),
            {**QWEN_VISION, "window_size": 8, "fullatt_block_indexes": [1]},
            image_token_id=IMAGE,
        ),
        **_QWEN_FAMILY,
    ),
    "qwen3_vl": Family(
        model=hf.Qwen3VLForConditionalGeneration,
        config=shell(
            hf.Qwen3VLConfig,
            text_config(dict, **MROPE),
            {**QWEN_VISION, "num_position_embeddings": _PATCHES, "deepstack_visual_indexes": [0]},
            image_token_id=IMAGE,
        ),
        **_QWEN_FAMILY,
    ),
    "qwen3_vl_moe": Family(
        model=hf.Qwen3VLMoeForConditionalGeneration,
        config=shell(
            hf.Qwen3VLMoeConfig,
            text_config(dict, num_experts=4, **SPARSE, **MROPE),
            {**QWEN_VISION, "num_position_embeddings": _PATCHES, "deepstack_visual_indexes": [0]},
            image_token_id=IMAGE,
        ),
        **_QWEN_FAMILY,
    ),
    "internvl": Family(
        notes="scales of residual branches are `vision.norm`",
        model=hf.InternVLForConditionalGeneration,
        config=shell(
            hf.InternVLConfig,
            QWEN2,
            hf.InternVLVisionConfig(
                **{**VISION, "image_size": [SIDE, SIDE], "patch_size": [PATCH, PATCH]},
                attention_bias=True,
                use_qk_norm=True,
                use_mask_token=True,
            ),
            image_token_id=IMAGE,
            tie_word_embeddings=False,
        ),
        image_tokens=_PATCHES // 4,
        pixels=partial(plain_pixels, 1),
    ),
    "idefics3": Family(
        model=hf.Idefics3ForConditionalGeneration,
        config=shell(hf.Idefics3Config, LLAMA, dict(VISION), image_token_id=IMAGE, scale_factor=2),
        image_tokens=_PATCHES // 4,
        pixels=partial(plain_pixels, 1, 1),
    ),
    "smolvlm": Family(
        model=hf.SmolVLMForConditionalGeneration,
        config=shell(hf.SmolVLMConfig, LLAMA, dict(VISION), image_token_id=IMAGE, scale_factor=2),
        image_tokens=_PATCHES // 4,
        pixels=partial(plain_pixels, 1, 1),
    ),
    "paligemma": Family(
        model=hf.PaliGemmaForConditionalGeneration,
        config=shell(
            hf.PaliGemmaConfig,
            text_config(hf.GemmaConfig, head_dim=8, tie_word_embeddings=True),
            hf.SiglipVisionConfig(**VISION, vision_use_head=False),
            image_token_index=IMAGE,
            image_token_id=IMAGE,
            projection_dim=16,
        ),
        image_tokens=_PATCHES,
        pixels=partial(plain_pixels, 1),
        kinds="token_type_ids",
    ),
    "gemma3": Family(
        model=hf.Gemma3ForConditionalGeneration,
        config=shell(
            hf.Gemma3Config,
            GEMMA3,
            hf.SiglipVisionConfig(**VISION, vision_use_head=False),
            image_token_index=IMAGE,
            image_token_id=IMAGE,
            mm_tokens_per_image=4,
        ),
        image_tokens=4,
        pixels=partial(plain_pixels, 1),
        kinds="token_type_ids",
    ),
}
FAMILIES: Final[Mapping[str, Family]] = {**LANGUAGE, **MULTIMODAL}
