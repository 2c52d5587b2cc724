"""The shapes of the models that the shipped studies name: configurations and image sizes, no weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers as tf
from tiny_multimodal import CLASSES


def _qwen2(**fields: Any) -> dict[str, Any]:
    """Return the language model of Qwen2 7B and Qwen2.5 7B."""
    return {
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": False,
        **fields,
    }


def _qwen2_5_vl() -> tuple[Any, Any]:
    config = tf.Qwen2_5_VLConfig(
        text_config=_qwen2(
            max_position_embeddings=128000,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [16, 24, 24],
            },
        ),
        vision_config={"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584},
    )
    processor = CLASSES["qwen2_5_vl"].processor()
    processor.image_processor = tf.Qwen2VLImageProcessorPil(
        size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 16384}
    )
    return config, processor


def _llava_next() -> tuple[Any, Any]:
    config = tf.LlavaNextConfig(
        text_config=tf.LlamaConfig(
            vocab_size=128320,
            hidden_size=4096,
            intermediate_size=14336,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
            max_position_embeddings=8192,
        ),
        image_token_index=128256,
    )
    processor = CLASSES["llava_next"].processor()
    processor.patch_size = 14
    processor.image_processor = tf.LlavaNextImageProcessorPil(
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    )
    return config, processor


def _llava_onevision() -> tuple[Any, Any]:
    config = tf.LlavaOnevisionConfig(text_config=tf.Qwen2Config(**_qwen2(vocab_size=152000)))
    processor = CLASSES["llava_onevision"].processor()
    processor.num_image_tokens, processor.vision_aspect_ratio = 729, "anyres_max_9"
    processor.image_processor = tf.LlavaOnevisionImageProcessorPil()
    return config, processor


SHAPES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "qwen2_5_vl": _qwen2_5_vl,
    "llava_next": _llava_next,
    "llava_onevision": _llava_onevision,
}
"""Name of a class -> what makes its configuration and its processor, whose tokenizer knows bytes alone."""


def save(name: str, folder: Path) -> Path:
    """Save configuration and processor as a model's folder without weights."""
    config, processor = SHAPES[name]()
    config.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
