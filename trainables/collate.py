"""From samples to batches, through the model's own processor and chat template.

Shapes: B samples, T tokens (prompt, image placeholders, answer, end of sequence).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trainables.samples import Sample


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """A sample as the model takes it.

    Attributes:
        tokens: Per-token inputs by name (`input_ids`, ...), each `[T]`.
        extras: Inputs that batch along their first dimension (`pixel_values`, ...).
        prompt_length: Number of leading tokens that are not the answer's.
    """

    tokens: dict[str, Tensor]
    extras: dict[str, Tensor]
    prompt_length: int

    @property
    def length(self) -> int:
        """Number of tokens T."""
        return len(self.tokens["input_ids"])

    @property
    def answer_length(self) -> int:
        """Number of answer tokens, the end of sequence included."""
        return self.length - self.prompt_length


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples padded on the right to a common length.

    Attributes:
        inputs: What the model's forward takes; `input_ids` is `[B, T]`.
        answer_mask: True where a token belongs to an answer, `[B, T]`.
    """

    inputs: dict[str, Tensor]
    answer_mask: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        return Batch(
            {name: tensor.to(device) for name, tensor in self.inputs.items()}, self.answer_mask.to(device)
        )


class Encoder:
    """Encodes samples with a model's processor (or, for a text model, its tokenizer)."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._tokenizer = getattr(processor, "tokenizer", processor)
        self._takes_images = self._tokenizer is not processor
        if self._tokenizer.eos_token is None:
            raise ValueError("the tokenizer has no end-of-sequence token, so no answer could end")

    @property
    def tokenizer(self) -> Any:
        """The tokenizer inside the processor."""
        return self._tokenizer

    def prompt_text(self, sample: Sample) -> str:
        """Return the prompt with chat markup, up to where the answer starts."""
        if getattr(self._processor, "chat_template", None) is None:
            return sample.prompt
        content: Any = sample.prompt
        if self._takes_images:
            content = [{"type": "text", "text": sample.prompt}]
            if sample.image is not None:
                content.insert(0, {"type": "image"})
        text: str = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return text

    def encode(self, sample: Sample) -> EncodedSample:
        """Encode prompt, image, answer and end of sequence.

        Raises:
            ValueError: The sample has an image and the model takes none, or the answer's tokens can't be
                told from the prompt's.
        """
        if sample.image is not None and not self._takes_images:
            raise ValueError(f"sample {sample.id!r} has an image, and this model takes text only")
        prompt = self.prompt_text(sample)
        text = prompt + sample.answer + self._tokenizer.eos_token
        # Placeholders of images are expanded by the processor alone, so the answer is measured in plain text.
        plain_prompt, plain = self._plain_ids(prompt), self._plain_ids(text)
        answer = plain[len(plain_prompt) :]
        full = self._process(text, sample)
        ids = full["input_ids"][0]
        if plain[: len(plain_prompt)] != plain_prompt or ids[len(ids) - len(answer) :].tolist() != answer:
            raise ValueError(
                f"sample {sample.id!r}: the chat template lets prompt and answer share a token, "
                "so the loss could not be limited to the answer"
            )
        tokens, extras = {}, {}
        for name, tensor in full.items():
            if tensor.shape[:2] == full["input_ids"].shape:
                tokens[name] = tensor[0]
            else:
                extras[name] = tensor
        return EncodedSample(tokens, extras, len(ids) - len(answer))

    @property
    def _special(self) -> dict[str, Any]:
        # A chat template writes the special tokens itself.
        return {"add_special_tokens": getattr(self._processor, "chat_template", None) is None}

    def _plain_ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, **self._special)["input_ids"]
        return ids

    def _process(self, text: str, sample: Sample) -> dict[str, Tensor]:
        kwargs: dict[str, Any] = {"return_tensors": "pt", **self._special}
        if sample.image is not None:
            return dict(self._processor(images=[_open(sample)], text=[text], **kwargs))
        if self._takes_images:
            return dict(self._processor(text=[text], **kwargs))
        return dict(self._tokenizer([text], **kwargs))


def collate(samples: Sequence[EncodedSample], pad_token_id: int) -> Batch:
    """Pad samples on the right and stack them.

    Args:
        samples: At least one sample.
        pad_token_id: Fills `input_ids` beyond a sample's end; every other per-token input is filled with 0.
    """
    width = max(sample.length for sample in samples)
    inputs: dict[str, Tensor] = {}
    for name, first in samples[0].tokens.items():
        fill = pad_token_id if name == "input_ids" else 0
        padded = torch.full((len(samples), width), fill, dtype=first.dtype)
        for row, sample in enumerate(samples):
            padded[row, : sample.length] = sample.tokens[name]
        inputs[name] = padded
    inputs |= stack_extras(samples)
    answer_mask = torch.zeros(len(samples), width, dtype=torch.bool)
    for row, sample in enumerate(samples):
        answer_mask[row, sample.prompt_length : sample.length] = True
    return Batch(inputs, answer_mask)


def stack_extras(samples: Sequence[EncodedSample]) -> dict[str, Tensor]:
    """Stack the inputs that batch along their first dimension, skipping samples without them."""
    names = {name: None for sample in samples for name in sample.extras}
    return {name: torch.cat([s.extras[name] for s in samples if name in s.extras]) for name in names}


def pad_token_id(tokenizer: Any) -> int:
    """Return what fills `input_ids`: the tokenizer's padding token, or its end of sequence if it has none."""
    pad = tokenizer.pad_token_id
    return int(tokenizer.eos_token_id if pad is None else pad)


def _open(sample: Sample) -> Image.Image:
    if isinstance(sample.image, np.ndarray):
        return Image.fromarray(sample.image)
    assert sample.image is not None
    try:
        with Image.open(sample.image) as image:
            return image.convert("RGB")
    except OSError as error:
        raise ValueError(f"sample {sample.id!r}: image {sample.image} can't be read: {error}") from None
