"""From samples to batches, through the model's own processor and chat template.

Shapes: B samples, T tokens (prompt, image placeholders, answer, its end).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from trainables.data.bad_samples import SampleError
from trainables.data.chat import Chat, check_texts, image_marks
from trainables.data.samples import IMAGE_MARK, Sample
from trainables.model import context_length, load_config, load_processor
from trainables.sources.images import open_image


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """A sample as the model takes it.

    Attributes:
        tokens: Per-token inputs by name (`input_ids`, ...), each `[T]`.
        extras: Inputs that batch along their first dimension (`pixel_values`, ...).
        prompt_length: Number of tokens before the answer.
        earlier: Where answers of the history stand that are taught, too: first token and the one behind.
        choices: The tokens of each answer to choose from, without an end; none for a free answer.
    """

    tokens: dict[str, Tensor]
    extras: dict[str, Tensor]
    prompt_length: int
    earlier: tuple[tuple[int, int], ...] = ()
    choices: tuple[Tensor, ...] = ()

    @property
    def length(self) -> int:
        """Number of tokens T."""
        return len(self.tokens["input_ids"])

    @property
    def answer_length(self) -> int:
        """Number of the answer's tokens, its end included."""
        return self.length - self.prompt_length

    @property
    def taught_length(self) -> int:
        """Number of tokens that the loss is taken over."""
        return self.answer_length + sum(stop - start for start, stop in self.earlier)


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples padded on the right to a common length.

    Attributes:
        inputs: What the model's forward takes; `input_ids` is `[B, T]`.
        answer_mask: True where a token belongs to an answer that is taught, `[B, T]`.
    """

    inputs: dict[str, Tensor]
    answer_mask: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        return Batch(
            {name: tensor.to(device) for name, tensor in self.inputs.items()}, self.answer_mask.to(device)
        )


class Encoder:
    """Encodes samples with a model's processor (or, for a text model, its tokenizer).

    Args:
        processor: The processor.
        context: Tokens that the model takes at most; None if it sets no bound.
    """

    def __init__(self, processor: Any, context: int | None = None) -> None:
        self._processor = processor
        self._tokenizer = getattr(processor, "tokenizer", processor)
        self._takes_images = self._tokenizer is not processor
        # Such a processor writes prompt and answer by itself: PaliGemma's, whose prompt sees itself whole.
        self._takes_suffix = "suffix" in inspect.signature(processor.__call__).parameters
        self._context = context
        self._chat = Chat.of(processor)
        self._image_marks = image_marks(processor)

    @classmethod
    def load(cls, path: str, *, trust: bool = False) -> Encoder:
        """Return the encoder of a model.

        Args:
            path: Hub id, folder or embedded name of the model.
            trust: Whether code that the model brings may run.

        Raises:
            ModelError: The model or its processor can't be loaded.
            ValueError: Its tokenizer has no end-of-sequence token.
        """
        config = load_config(path, trust=trust)
        return cls(load_processor(path, trust=trust), context_length(config))

    @property
    def processor(self) -> Any:
        """The processor, or a text model's tokenizer."""
        return self._processor

    @property
    def tokenizer(self) -> Any:
        """The tokenizer inside the processor."""
        return self._tokenizer

    def prompt_text(self, sample: Sample) -> str:
        """Return the prompt with chat markup, up to where the answer starts."""
        return self._chat.prompt(sample)

    def encode(self, sample: Sample) -> EncodedSample:
        """Encode prompt, image, answer and its end.

        Raises:
            SampleError: The sample has an image and the model takes none, or its processor can't place one;
                the sample is too long for the model, or its answer's tokens can't be told from the prompt's.
        """
        if sample.images and not self._takes_images:
            raise SampleError(sample.label, "it has an image, and this model takes text only")
        try:
            check_texts(sample, self._image_marks)
            images = [open_image(image) for image in sample.images]
            full, spans = self._encoded(sample, images)
            choices = tuple(self._choice(sample, choice) for choice in sample.choices)
        except ValueError as error:
            raise SampleError(sample.label, str(error).strip().splitlines()[0]) from None
        tokens, extras = {}, {}
        for name, tensor in full.items():
            if tensor.shape == full["input_ids"].shape:
                tokens[name] = tensor[0]
            else:
                extras[name] = tensor
        *earlier, (prompt_length, _) = spans
        encoded = EncodedSample(tokens, extras, prompt_length, tuple(earlier), choices)
        self._check_known(sample, encoded)
        if self._context is not None and encoded.length > self._context:
            shorten = "shorten its text or shrink its image" if images else "shorten its text"
            raise SampleError(
                sample.label,
                f"it takes {encoded.length} tokens, and the model's context has {self._context}: {shorten}",
            )
        return encoded

    def _encoded(
        self, sample: Sample, images: list[Image.Image]
    ) -> tuple[dict[str, Tensor], list[tuple[int, int]]]:
        """Return the model's inputs, and where the answers stand that are taught; the sample's comes last."""
        if self._takes_suffix:
            return self._encoded_by_suffix(sample, images)
        if images and getattr(self._processor, "chat_template", None) is None:
            raise ValueError(
                "the model's processor has no chat template, which would say where in the prompt an image "
                "belongs; put one into the model's folder as chat_template.jinja"
            )
        prompt = self.prompt_text(sample)
        text = prompt + self._chat.answer(sample.answer)
        kwargs: dict[str, Any] = {"return_tensors": "pt", "add_special_tokens": self._chat.special}
        if self._takes_images:
            # Nested, as a template's own processing has them: of one sample, which takes several otherwise.
            given = {"images": [images]} if images else {}
            full = dict(self._processor(text=[text], **given, **kwargs))
        else:
            full = dict(self._tokenizer([text], **kwargs))
        self._check_end(full)
        # Placeholders of images are expanded by the processor alone, so answers are measured in plain text,
        # from its end.
        plain, ids = self._plain_ids(text), full["input_ids"][0].tolist()
        answers = [(prompt, text)]
        if sample.teaches_history:
            answers = [*self._chat.earlier(sample), *answers]
        spans = []
        for before, through in answers:
            prefix, whole = self._plain_ids(before), self._plain_ids(through)
            start, stop = len(prefix) - len(plain), len(whole) - len(plain)
            spans.append((len(ids) + start, len(ids) + stop))
            if plain[: len(whole)] != whole or whole[: len(prefix)] != prefix or ids[start:] != plain[start:]:
                raise ValueError(
                    f"an answer that begins with {through[len(before) :][:12]!r} and what stands before it, "
                    f"{before[-12:]!r}, share a token, so the loss could not be limited to the answer"
                )
        return full, spans

    def _choice(self, sample: Sample, choice: str) -> Tensor:
        prompt = self.prompt_text(sample)
        before, through = self._plain_ids(prompt), self._plain_ids(prompt + self._chat.lead + choice)
        if through[: len(before)] != before:
            raise ValueError(f"the prompt and the choice {choice!r} share a token")
        return torch.tensor(through[len(before) :])

    def _encoded_by_suffix(
        self, sample: Sample, images: list[Image.Image]
    ) -> tuple[dict[str, Tensor], list[tuple[int, int]]]:
        if not images:
            raise ValueError("there is no image, and this model's processor wants one")
        if sample.history:
            raise ValueError("this model's processor takes one question and its answer, not a conversation")
        asked = sample.prompt
        while asked.startswith(IMAGE_MARK):
            asked = asked.removeprefix(IMAGE_MARK).lstrip()
        marks = sample.prompt.count(IMAGE_MARK)
        if IMAGE_MARK in asked or marks not in (0, len(images)):
            raise ValueError(
                f"this model's processor puts images before the text: {marks} {IMAGE_MARK} can't be placed "
                f"for {len(images)} of them"
            )
        prompt = self._processor.image_token * len(images) + asked
        # It makes masks of them in numpy.
        arrays = self._processor(images=[images], text=[prompt], suffix=[sample.answer], return_tensors="np")
        full = {name: torch.as_tensor(array) for name, array in arrays.items()}
        # The model would take the mean loss of them, which is not the one that counts.
        del full["labels"]
        self._check_end(full)
        length = full["input_ids"].shape[1]
        return full, [(length - int(full["token_type_ids"].sum()), length)]

    def _check_end(self, full: Mapping[str, Tensor]) -> None:
        ids = full["input_ids"][0]
        if int(ids[-1]) != self._tokenizer.convert_tokens_to_ids(self._chat.end):
            raise ValueError(
                f"the answer is cut: its {len(ids)} tokens end without {self._chat.end!r}; "
                "turn off the truncation of the model's tokenizer"
            )

    def _check_known(self, sample: Sample, encoded: EncodedSample) -> None:
        """Refuse an answer that the vocabulary lacks: every other such answer would be as right as it."""
        unknown = self._tokenizer.unk_token_id
        if unknown is None:
            return
        ids = encoded.tokens["input_ids"]
        # Some models end an answer by the token that stands for what they do not know.
        taught = [
            ids[start : stop - 1] for start, stop in (*encoded.earlier, (encoded.prompt_length, len(ids)))
        ]
        if any(bool((each == unknown).any()) for each in (*taught, *encoded.choices)):
            texts = (sample.answer, *sample.choices, *(turn.text for turn in sample.history))
            words = [word for text in texts for word in text.split() if unknown in self._plain_ids(word)]
            what = repr(words[0]) if words else "what its answer says"
            raise SampleError(sample.label, f"the model's tokenizer has no token for {what}")

    def _plain_ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=self._chat.special)["input_ids"]
        return ids


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
        for start, stop in (*sample.earlier, (sample.prompt_length, sample.length)):
            answer_mask[row, start:stop] = True
    return Batch(inputs, answer_mask)


def stack_extras(samples: Sequence[EncodedSample]) -> dict[str, Tensor]:
    """Stack the inputs that batch along their first dimension, skipping samples without them.

    Where samples differ in another dimension, such as the number of an image's crops, the smaller are filled
    with 0 at their end: models find out which crops are an image's own.
    """
    names = {name: None for sample in samples for name in sample.extras}
    return {name: _cat_padded([s.extras[name] for s in samples if name in s.extras]) for name in names}


def _cat_padded(tensors: Sequence[Tensor]) -> Tensor:
    size = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    padded = []
    for tensor in tensors:
        whole = tensor.new_zeros((len(tensor), *size))
        whole[(slice(None), *map(slice, tensor.shape[1:]))] = tensor
        padded.append(whole)
    return torch.cat(padded)


def pad_token_id(tokenizer: Any) -> int:
    """Return what fills `input_ids`: the tokenizer's padding token, or its end of sequence if it has none."""
    pad = tokenizer.pad_token_id
    return int(tokenizer.eos_token_id if pad is None else pad)
