"""The tiny LLaVA's architecture, tokenizer and processor, before any training.

A CLIP vision tower sees 32 x 32 pixels in patches of 8, so that an image becomes 16 tokens; a two-layer
projector hands them to a Llama decoder. Head and embedding are untied, so that each is a role of its own.
"""

from __future__ import annotations

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Punctuation, Sequence, WhitespaceSplit
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from trainables.tiny.canvas import SIZE
from trainables.tiny.vocabulary import ASSISTANT, BOS, EOS, IMAGE, PAD, SYSTEM, UNK, USER, VOCABULARY

PATCH = 8
IMAGE_TOKENS = (SIZE // PATCH) ** 2

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<assistant>"
    "{% elif message['role'] == 'system' %}<system>"
    "{% else %}<user>{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
"""`<s><user><image>question<assistant>answer</s>`: the marks are special tokens, so no word merges across."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the word-level tokenizer; words and marks are separated, unknown words become `<unk>`."""
    model = WordLevel({word: index for index, word in enumerate(VOCABULARY)}, unk_token=UNK)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = Sequence([WhitespaceSplit(), Punctuation("isolated")])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=UNK,
        image_token=IMAGE,
        extra_special_tokens=[USER, ASSISTANT, SYSTEM],
        padding_side="left",
        model_max_length=256,
        clean_up_tokenization_spaces=False,
    )


def build_processor() -> LlavaProcessor:
    """Return the processor: image pre-processing without torchvision, the tokenizer and the chat template."""
    image_processor = CLIPImageProcessorPil(
        size={"height": SIZE, "width": SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        do_center_crop=False,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=build_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
        image_token=IMAGE,
        num_additional_image_tokens=1,
    )


def build_model(seed: int = 0) -> LlavaForConditionalGeneration:
    """Return the untrained model in fp32."""
    ids = {word: index for index, word in enumerate(VOCABULARY)}
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=SIZE,
        patch_size=PATCH,
        projection_dim=128,
        hidden_act="gelu_pytorch_tanh",
    )
    text = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=160,
        intermediate_size=432,
        num_hidden_layers=4,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=256,
        bos_token_id=ids[BOS],
        eos_token_id=ids[EOS],
        pad_token_id=ids[PAD],
        tie_word_embeddings=False,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=ids[IMAGE],
        image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        bos_token_id=ids[BOS], eos_token_id=ids[EOS], pad_token_id=ids[PAD], do_sample=False, max_new_tokens=8
    )
    return model
