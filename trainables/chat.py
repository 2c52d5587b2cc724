"""Chat: how a processor's template writes a question, and what stands around the answer to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trainables.samples import IMAGE_MARK, Sample, Turn


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
        """Yield each answer of a sample's history: what is before it, and the answer with its markup."""
        for place, turn in enumerate(sample.history):
            if turn.role == "assistant":
                yield self._asked(sample, sample.history[:place]), self.answer(turn.text)

    def _asked(self, sample: Sample, turns: Sequence[Turn]) -> str:
        marked = sum(turn.text.count(IMAGE_MARK) for turn in (*sample.history, _question(sample)))
        if marked and marked != len(sample.images):
            raise ValueError(
                f"marks {IMAGE_MARK} in its texts: {marked}, and its images: {len(sample.images)}; "
                "there must be one for each image, or none"
            )
        if getattr(self.processor, "chat_template", None) is None:
            return "\n".join(turn.text for turn in turns)
        return _written(self.processor, turns, asks=True, unmarked=0 if marked else len(sample.images))

    def answer(self, text: str) -> str:
        """Return an answer with what the template puts around it."""
        return self.lead + text + self.end


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
    written: str = processor.apply_chat_template(messages, add_generation_prompt=asks, tokenize=False)
    return written


def _text(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}] if text else []


def _special_at_start(tokenizer: Any, text: str) -> str | None:
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return max((token for token in special if text.startswith(token)), key=len, default=None)
