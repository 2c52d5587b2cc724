"""Tiny random models of the multimodal classes that users bring, with processors built offline.

Each is saved as a folder that `from_pretrained` loads like one from the hub: the same classes, the same
special tokens and chat markup, an image processor with small sizes, a tokenizer that knows single bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn

from trainables.data.samples import Sample
from trainables.model import images_only

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
SPECIALS = (
    "<pad> <s> </s> <image> <video> <|im_start|> <|im_end|> <|vision_start|> <|vision_end|> <|image_pad|> "
    "<|video_pad|> <|begin_of_text|> <|eot_id|> <|start_header_id|> <|end_header_id|> "
    "<fake_token_around_image> <end_of_utterance> <global-img> <img> </img> <IMG_CONTEXT> "
    "<start_of_turn> <end_of_turn> <start_of_image> <end_of_image> <image_soft_token>"
).split() + [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
IDS = {token: index for index, token in enumerate([*SPECIALS, *BYTES])}
# PaliGemma's processor adds locations and segments, 1024 + 128, beyond.
SIZE = len(IDS)

_CHATML = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nHelp.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# The mark of the assistant differs in white space from the mark that asks for an answer, as on the hub.
_ONEVISION = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} "
    "{% for part in message['content'] if part['type'] == 'image' %}<image>{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ '\n' + part['text'] }}{% endfor %}"
    "<|im_end|>{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_LLAMA3 = (
    "{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] | trim }}{% endfor %}"
    "<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
_IDEFICS = (
    "<s>{% for message in messages %}{{ message['role'] | capitalize }}:"
    "{% if message['content'][0]['type'] != 'image' %} {% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
_GEMMA = (
    "<s>{% for message in messages %}<start_of_turn>"
    "{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<start_of_image>"
    "{% else %}{{ part['text'] | trim }}{% endif %}{% endfor %}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def tokenizer(eos: str = "<|im_end|>", bos: str | None = None, **named: str) -> tf.PreTrainedTokenizerFast:
    """Return a tokenizer of single bytes and special tokens.

    Args:
        eos: The end of a sequence.
        bos: The beginning of one, if there is any, which the tokenizer then writes unless told not to.
        named: Further special tokens by their names, such as `image_token`.
    """
    own = Tokenizer(models.BPE(vocab=IDS, merges=[]))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    own.decoder = decoders.ByteLevel()
    own.add_special_tokens(SPECIALS)
    if bos is not None:
        own.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A $B:1", special_tokens=[(bos, IDS[bos])]
        )
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=own,
        eos_token=eos,
        bos_token=bos,
        pad_token="<pad>",
        extra_special_tokens=named,
        model_max_length=100_000,
        clean_up_tokenization_spaces=False,
    )


def _text(**fields: Any) -> dict[str, Any]:
    return {
        "vocab_size": SIZE,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 512,
        "bos_token_id": IDS["<s>"],
        "eos_token_id": IDS["</s>"],
        "pad_token_id": IDS["<pad>"],
        **fields,
    }


def _vision(**fields: Any) -> dict[str, Any]:
    return {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 4,
        **fields,
    }


def _square(side: int = 16) -> dict[str, Any]:
    return {"size": {"height": side, "width": side}}


# Of a matrix's elements; wide enough that images and positions tell in what a model says.
SPREAD = 0.2


@dataclass(frozen=True, kw_only=True)
class Class:
    """A tiny model's configuration and the parts of its processor.

    Attributes:
        config: Makes the configuration.
        processor: Makes the processor.
        end: What ends an answer.
    """

    config: Callable[[], Any]
    processor: Callable[[], Any]
    end: str


def _qwen_vl(name: str, vision: Mapping[str, Any], rope: Mapping[str, Any]) -> Class:
    def config() -> Any:
        return getattr(tf, f"{name}Config")(
            text_config=_text(rope_parameters={"rope_type": "default", "rope_theta": 1e4, **rope})
            | ({"head_dim": 8} if name == "Qwen3VL" else {}),
            vision_config={
                "depth": 2,
                "num_heads": 2,
                "patch_size": 4,
                "spatial_merge_size": 2,
                "temporal_patch_size": 2,
                **vision,
            },
            image_token_id=IDS["<|image_pad|>"],
            video_token_id=IDS["<|video_pad|>"],
            vision_start_token_id=IDS["<|vision_start|>"],
            vision_end_token_id=IDS["<|vision_end|>"],
        )

    def processor() -> Any:
        # An image of at least 2 x 2 and at most 6 x 6 merged patches.
        images = tf.Qwen2VLImageProcessorPil(
            patch_size=4, merge_size=2, size={"shortest_edge": 16 * 16, "longest_edge": 48 * 48}
        )
        kind = images_only(getattr(tf, f"{name}Processor"))
        picture = "<|vision_start|><|image_pad|><|vision_end|>"
        return kind(images, tokenizer(), chat_template=_CHATML.replace("IMAGE", picture))

    return Class(config=config, processor=processor, end="<|im_end|>")


def _llava_next() -> Class:
    grid = [[16, 32], [32, 16], [32, 32], [48, 16], [16, 48]]

    def config() -> Any:
        return tf.LlavaNextConfig(
            vision_config=tf.CLIPVisionConfig(**_vision(), projection_dim=16),
            text_config=tf.LlamaConfig(**_text()),
            image_token_index=IDS["<image>"],
            image_grid_pinpoints=grid,
            image_seq_length=16,
        )

    def processor() -> Any:
        return tf.LlavaNextProcessor(
            tf.LlavaNextImageProcessorPil(
                size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}, image_grid_pinpoints=grid
            ),
            tokenizer("<|eot_id|>", "<|begin_of_text|>"),
            patch_size=4,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=_LLAMA3,
        )

    return Class(config=config, processor=processor, end="<|eot_id|>")


def _llava_onevision() -> Class:
    grid = [[16 * rows, 16 * columns] for rows in (1, 2, 3) for columns in (1, 2, 3)]

    def config() -> Any:
        return tf.LlavaOnevisionConfig(
            vision_config=tf.SiglipVisionConfig(**_vision(), vision_use_head=False),
            text_config=tf.Qwen2Config(**_text()),
            image_token_index=IDS["<image>"],
            video_token_index=IDS["<video>"],
            image_grid_pinpoints=grid,
            vision_aspect_ratio="anyres_max_4",
        )

    def processor() -> Any:
        kind = images_only(tf.LlavaOnevisionProcessor)
        return kind(
            tf.LlavaOnevisionImageProcessorPil(**_square(), image_grid_pinpoints=grid),
            tokenizer(),
            num_image_tokens=16,
            vision_feature_select_strategy="full",
            vision_aspect_ratio="anyres_max_4",
            chat_template=_ONEVISION,
        )

    return Class(config=config, processor=processor, end="<|im_end|>")


def _idefics(name: str) -> Class:
    def config() -> Any:
        return getattr(tf, f"{name}Config")(
            vision_config=_vision(), text_config=tf.LlamaConfig(**_text()), image_token_id=IDS["<image>"]
        )

    def processor() -> Any:
        kind = images_only(getattr(tf, f"{name}Processor"))
        images = getattr(tf, f"{name}ImageProcessorPil")(
            size={"longest_edge": 48}, max_image_size={"longest_edge": 16}
        )
        return kind(images, tokenizer("<end_of_utterance>", "<s>"), image_seq_len=4, chat_template=_IDEFICS)

    return Class(config=config, processor=processor, end="<end_of_utterance>")


def _internvl() -> Class:
    def config() -> Any:
        return tf.InternVLConfig(
            vision_config=_vision(image_size=[16, 16], patch_size=[4, 4]),
            text_config=tf.Qwen2Config(**_text()),
            image_token_id=IDS["<IMG_CONTEXT>"],
            image_seq_length=4,
            tie_word_embeddings=False,
        )

    def processor() -> Any:
        marks = {
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        }
        return images_only(tf.InternVLProcessor)(
            tf.GotOcr2ImageProcessorPil(**_square(), max_patches=4, crop_to_patches=True),
            tokenizer(**marks),
            image_seq_length=4,
            chat_template=_CHATML.replace("IMAGE", "<IMG_CONTEXT>\n"),
        )

    return Class(config=config, processor=processor, end="<|im_end|>")


def _paligemma() -> Class:
    def config() -> Any:
        size = SIZE + 1024 + 128
        return tf.PaliGemmaConfig(
            vision_config=tf.SiglipVisionConfig(**_vision(), vision_use_head=False),
            text_config=tf.GemmaConfig(**_text(vocab_size=size, head_dim=8)),
            image_token_index=IDS["<image>"],
            vocab_size=size,
            projection_dim=16,
            hidden_size=16,
        )

    def processor() -> Any:
        images = tf.SiglipImageProcessorPil(**_square())
        images.image_seq_length = 16
        own = tokenizer("</s>", image_token="<image>")
        own.bos_token = "<s>"  # which the processor writes
        return tf.PaliGemmaProcessor(images, own)

    return Class(config=config, processor=processor, end="</s>")


def _gemma3() -> Class:
    def config() -> Any:
        return tf.Gemma3Config(
            vision_config=_vision(vision_use_head=False),
            text_config=_text(
                head_dim=8,
                sliding_window=16,
                query_pre_attn_scalar=8,
                layer_types=["sliding_attention", "full_attention"],
            ),
            image_token_index=IDS["<image_soft_token>"],
            boi_token_index=IDS["<start_of_image>"],
            eoi_token_index=IDS["<end_of_image>"],
            mm_tokens_per_image=4,
        )

    def processor() -> Any:
        marks = {
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        }
        return tf.Gemma3Processor(
            tf.Gemma3ImageProcessorPil(**_square()),
            tokenizer("</s>", "<s>", **marks),
            image_seq_length=4,
            chat_template=_GEMMA,
        )

    return Class(config=config, processor=processor, end="<end_of_turn>")


_QWEN2_VISION = {"embed_dim": 16, "hidden_size": 16, "mlp_ratio": 2}
_QWEN25_VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "out_hidden_size": 16,
    "window_size": 16,
    "fullatt_block_indexes": [1],
}
_QWEN3_VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "out_hidden_size": 16,
    "num_position_embeddings": 16,
    "deepstack_visual_indexes": [0],
}
_SECTION = {"mrope_section": [2, 1, 1]}

CLASSES: dict[str, Class] = {
    "qwen2_5_vl": _qwen_vl("Qwen2_5_VL", _QWEN25_VISION, _SECTION),
    "llava_next": _llava_next(),
    "llava_onevision": _llava_onevision(),
    "qwen2_vl": _qwen_vl("Qwen2VL", _QWEN2_VISION, _SECTION),
    "qwen3_vl": _qwen_vl("Qwen3VL", _QWEN3_VISION, {**_SECTION, "mrope_interleaved": True}),
    "idefics3": _idefics("Idefics3"),
    "internvl": _internvl(),
    "paligemma": _paligemma(),
    "gemma3": _gemma3(),
}


def build(name: str, seed: int = 0) -> Any:
    """Return a random model as the workers hold a base: fp32, frozen, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = tf.AutoModelForImageTextToText.from_config(CLASSES[name].config())
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.data.normal_(std=SPREAD)
    return model.eval().requires_grad_(False)


def save(name: str, folder: Path, seed: int = 0) -> Path:
    """Save model and processor as a folder that can be a study file's `model.path`."""
    build(name, seed).save_pretrained(folder)
    CLASSES[name].processor().save_pretrained(folder)
    return folder


# Width and height; small and large, wide and high.
SIZES = ((20, 20), (48, 16), (16, 40), (33, 47), (90, 60), (16, 16))


def samples(
    name: str, n: int, *, answers: Sequence[str] = ("7", "red cat", "no"), text_only: int = 0
) -> list[Sample]:
    """Return samples whose images differ in size; the last `text_only` of them have none."""
    rng = np.random.default_rng((0, *name.encode()))
    made = []
    for index in range(n):
        width, height = SIZES[index % len(SIZES)]
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        made.append(
            Sample(
                id=f"{name}/{index}",
                prompt="What is " + "it " * int(rng.integers(1, 4)) + "?",
                answer=answers[index % len(answers)],
                images=() if index >= n - text_only else (image,),
            )
        )
    return made
