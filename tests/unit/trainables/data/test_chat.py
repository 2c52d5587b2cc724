"""How templates on the hub end an answer, and what they put before it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from jinja2 import Environment
from tiny_multimodal import CLASSES, tokenizer

from trainables.data.chat import Chat
from trainables.data.samples import Sample


class Templated:
    """A processor whose chat template is all there is of it, and a tokenizer."""

    def __init__(self, template: str, eos: str = "</s>", bos: str | None = "<s>") -> None:
        self.chat_template = template
        self.tokenizer = tokenizer(eos, bos)

    def apply_chat_template(self, messages: Any, add_generation_prompt: bool = False, **_: Any) -> str:
        template = Environment().from_string(self.chat_template)
        return template.render(messages=messages, add_generation_prompt=add_generation_prompt)


def asked(prompt: str, *, images: int) -> Sample:
    return Sample(id="x", prompt=prompt, answer="", images=(b"",) * images)


# As LLaVA 1.5 writes: a space before the answer, and the end of the sequence after it.
VICUNA = (
    "{% for m in messages %}{{ m['role'] | upper }}: "
    "{% for part in m['content'] %}{{ '<image>\n' if part['type'] == 'image' else part['text'] + ' ' }}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def test_a_space_before_the_answer_belongs_to_it() -> None:
    chat = Chat.of(Templated(VICUNA))
    assert chat.prompt(asked("how many ?", images=1)) == "USER: <image>\nhow many ? ASSISTANT:"
    assert (chat.lead, chat.end) == (" ", "</s>")
    assert chat.answer("7") == " 7</s>"


def test_the_tokenizer_begins_a_sequence_that_the_template_does_not() -> None:
    assert Chat.of(Templated(VICUNA)).special
    assert not Chat.of(Templated("<s>" + VICUNA)).special


@pytest.mark.parametrize(
    ("name", "lead", "end"),
    [
        ("qwen2_5_vl", "", "<|im_end|>"),
        ("llava_next", "", "<|eot_id|>"),
        ("llava_onevision", "", "<|im_end|>"),
        ("idefics3", " ", "<end_of_utterance>"),
        ("gemma3", "", "<end_of_turn>"),  # whose sequences end by </s>
        ("paligemma", "", "</s>"),
    ],
)
def test_what_stands_around_an_answer(name: str, lead: str, end: str) -> None:
    chat = Chat.of(CLASSES[name].processor())
    assert (chat.lead, chat.end) == (lead, end)


def test_a_text_model_s_template_has_text_for_content() -> None:
    own = tokenizer("<|im_end|>")
    own.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    chat = Chat.of(own)
    assert chat.prompt(asked("hi", images=0)) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert (chat.answer("yo"), chat.special) == ("yo<|im_end|>", False)


def test_without_a_template_a_prompt_stands_alone() -> None:
    chat = Chat.of(tokenizer("</s>"))
    assert (chat.prompt(asked("hi", images=0)), chat.answer("yo"), chat.special) == ("hi", "yo</s>", True)


def test_an_answer_needs_an_end() -> None:
    with pytest.raises(ValueError, match="no end-of-sequence token"):
        Chat.of(SimpleNamespace(eos_token=None))
