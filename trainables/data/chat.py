"""Chat: how a processor's template writes a question, and what stands around the answer to it."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jinja2 import TemplateError
from tokenizers import AddedToken

from trainables.data.samples import IMAGE_MARK, Sample, Turn

_ANSWER_MARK: Final = "\ue000answer\ue001"
"""Stands for an answer; of characters for private use, which no data should have."""


@dataclass(frozen=True, slots=True)
class Chat:
    """The markup of one processor.

    Attributes:
        processor: A processor, or a text model's tokenizer.
        lead: White space that the template puts before an answer.
        end: Token that ends an answer.
        special: Whether the tokenizer adds special tokens of its own, since the template writes none.
    """

    processor: Any
    lead: str
    end: str
    special: bool

    @classmethod
    def of(cls, processor: Any) -> Chat:
        """Learn a processor's markup from what its template writes around a question and its answer.

        The end of a turn may be another token than the end of a sequence, as Gemma's is: a model that was
        trained on the template ends its answers by the former.

        Raises:
            ValueError: There is no template, and the tokenizer has no end-of-sequence token.
        """
        tokenizer = getattr(processor, "tokenizer", processor)
        lead, end, special = "", tokenizer.eos_token, True
        if getattr(processor, "chat_template", None) is not None:
            question, reply = Turn(role="user", text="question"), Turn(role="assistant", text="answer")
            asked = _written(processor, [question], asks=True)
            told = _written(processor, [question, reply], asks=False)
            before, _, after = told.rpartition("answer")
            between = before.removeprefix(asked) if before.startswith(asked) else ""
            lead = between if between.isspace() else ""
            end = _special_at_start(tokenizer, after.lstrip()) or end
            # As `transformers` does it where a template is applied and tokenized at once.
            starts = tokenizer.bos_token is not None and asked.startswith(tokenizer.bos_token)
            special = tokenizer is not processor and not starts
        if end is None:
            raise ValueError("the tokenizer has no end-of-sequence token, so no answer could end")
        return cls(processor, lead, end, special)

    def prompt(self, sample: Sample) -> str:
        """Return a sample's conversation with its markup, up to where the answer starts.

        Raises:
            ValueError: The texts mark places for more or fewer images than there are.
        """
        return self._asked(sample, (*sample.history, _question(sample)))

    def earlier(self, sample: Sample) -> Iterator[tuple[str, str]]:
        """Yield the answers of a sample's history after its last image: the text before each, and through it.

        The text before ends where the model starts to speak, and that through it behind the answer's end,
        where the template writes one.

        Raises:
            ValueError: The template writes an answer otherwise than it was given.
        """
        turns = (*sample.history, _question(sample))
        last_image = max((place for place, turn in enumerate(turns) if IMAGE_MARK in turn.text), default=-1)
        answers = [place for place, turn in enumerate(turns) if turn.role == "assistant"]
        if not answers:
            return
        # The same conversation with a mark for each answer tells what the template writes around them.
        marked = list(turns)
        for place in answers:
            marked[place] = Turn(role="assistant", text=_ANSWER_MARK)
        around = self._asked(sample, marked).split(_ANSWER_MARK)
        whole, before = self._asked(sample, turns), around[0]
        if len(around) != len(answers) + 1:
            raise ValueError("the chat template leaves out earlier answers, so none of them can be learnt")
        for place, after in zip(answers, around[1:], strict=True):
            text = turns[place].text
            # Some templates trim what is said.
            told = next(
                (each for each in (text, text.strip()) if whole.startswith(before + each + after)), None
            )
            if told is None:
                raise ValueError(f"the chat template changes the earlier answer {reprlib.repr(text)}")
            ended = before + told
            space = len(after) - len(after.lstrip())
            through = ended + (after[:space] + self.end if after[space:].startswith(self.end) else "")
            if place > last_image:
                yield before.removesuffix(self.lead), through
            before = ended + after

    def _asked(self, sample: Sample, turns: Sequence[Turn]) -> str:
        marked = sum(turn.text.count(IMAGE_MARK) for turn in (*sample.history, _question(sample)))
        # To a model of text a mark is text.
        if marked and marked != len(sample.images) and hasattr(self.processor, "tokenizer"):
            raise ValueError(
                f"marks {IMAGE_MARK} in its texts: {marked}, and its images: {len(sample.images)}; "
                "there must be one for each image, or none"
            )
        if getattr(self.processor, "chat_template", None) is None:
            return self._plain(turns)
        return _written(self.processor, turns, asks=True, unmarked=0 if marked else len(sample.images))

    def _plain(self, turns: Sequence[Turn]) -> str:
        """Write a conversation without a template: answers follow what was asked, all else a line break."""
        written = ""
        for turn in turns:
            if turn.role == "assistant":
                written += self.answer(turn.text)
            else:
                written += ("\n" if written else "") + turn.text
        return written

    def answer(self, text: str) -> str:
        """Return an answer with what the template puts around it."""
        return self.lead + text + self.end


def image_marks(processor: Any) -> frozenset[str]:
    """Return the tokens that a processor takes for images and videos wherever a text holds them."""
    holders = (processor, getattr(processor, "tokenizer", None))
    names = ("image_token", "video_token", "boi_token")
    tokens = [getattr(holder, name, None) for holder in holders for name in names]
    return frozenset(str(token) for token in tokens if isinstance(token, (str, AddedToken)))


def check_texts(sample: Sample, marks: Iterable[str]) -> None:
    """Refuse texts that hold a processor's own marks of images.

    Raises:
        ValueError: A text holds such a mark.
    """
    asked = [turn.text.replace(IMAGE_MARK, "") for turn in (*sample.history, _question(sample))]
    for text in (*asked, sample.answer, *sample.choices):
        if (mark := next((mark for mark in marks if mark in text), None)) is not None:
            raise ValueError(
                f"{reprlib.repr(text)} holds {mark!r}, which the model's processor takes for an image"
            )


def _question(sample: Sample) -> Turn:
    return Turn(role="user", text=sample.prompt)


def _written(processor: Any, turns: Sequence[Turn], *, asks: bool, unmarked: int = 0) -> str:
    """Return a conversation as the template writes it.

    Args:
        processor: Whose template.
        turns: What is said.
        asks: Whether the model is to speak next.
        unmarked: Images that come before all that the user says.
    """
    messages: list[dict[str, Any]] = []
    for turn in turns:
        if not hasattr(processor, "tokenizer"):
            messages.append({"role": turn.role, "content": turn.text})
            continue
        first, *others = turn.text.split(IMAGE_MARK)
        # White space around a mark is the template's to write.
        content = _text(first.strip() if others else first)
        for text in others:
            content += [{"type": "image"}, *_text(text.strip())]
        if turn.role == "user":
            content = [{"type": "image"}] * unmarked + content
            unmarked = 0
        messages.append({"role": turn.role, "content": content})
    try:
        written: str = processor.apply_chat_template(messages, add_generation_prompt=asks, tokenize=False)
    except TemplateError as error:
        raise ValueError(f"the model's chat template refuses the conversation: {error}") from None
    return written


def _text(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}] if text else []


def _special_at_start(tokenizer: Any, text: str) -> str | None:
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return max((token for token in special if text.startswith(token)), key=len, default=None)
