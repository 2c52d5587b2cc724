"""Chat: how a processor's template writes a question, and what stands around the answer to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
            user = _turn(processor, "user", "question", image=False)
            asked = processor.apply_chat_template([user], add_generation_prompt=True, tokenize=False)
            reply = _turn(processor, "assistant", "answer", image=False)
            told = processor.apply_chat_template([user, reply], tokenize=False)
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

    def prompt(self, text: str, *, image: bool) -> str:
        """Return a question with its markup, up to where the answer starts."""
        if getattr(self.processor, "chat_template", None) is None:
            return text
        turn = _turn(self.processor, "user", text, image=image)
        written: str = self.processor.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)
        return written

    def answer(self, text: str) -> str:
        """Return an answer with what the template puts around it."""
        return self.lead + text + self.end


def _turn(processor: Any, role: str, text: str, *, image: bool) -> dict[str, Any]:
    if not hasattr(processor, "tokenizer"):
        return {"role": role, "content": text}
    parts = [{"type": "image"}] if image else []
    return {"role": role, "content": [*parts, {"type": "text", "text": text}]}


def _special_at_start(tokenizer: Any, text: str) -> str | None:
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return max((token for token in special if text.startswith(token)), key=len, default=None)
