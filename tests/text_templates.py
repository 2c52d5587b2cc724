"""Chat templates of text models, as they stand on the hub but for their tools, and what ends an answer."""

from __future__ import annotations

from typing import Any, Final

from tiny_multimodal import tokenizer

# As LLaVA 1.5 writes: a space before the answer, and the end of the sequence after the last one alone.
VICUNA: Final = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}ASSISTANT: {{ m['content'] }} "
    "{% else %}{{ m['role'] | upper }}: {{ m['content'] }} {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
CHATML: Final = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Qwen 3's: what was thought before an earlier answer is left out; before the last one is room for it.
THINKING: Final = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m['content'].split('</think>')[-1].lstrip('\n') }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3: Final = (
    "{% for m in messages %}{{ '<|begin_of_text|>' if loop.first }}"
    "<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA: Final = (
    "<s>{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL: Final = (
    "<s>{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}</s>{% endif %}{% endfor %}"
)
ZEPHYR: Final = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
TEMPLATES: Final[dict[str, tuple[str | None, str, str | None]]] = {
    "chatml": (CHATML, "<|im_end|>", None),
    "thinking": (THINKING, "<|im_end|>", None),
    "llama3": (LLAMA3, "<|eot_id|>", "<|begin_of_text|>"),
    "gemma": (GEMMA, "<end_of_turn>", "<s>"),
    "mistral": (MISTRAL, "</s>", "<s>"),
    "zephyr": (ZEPHYR, "</s>", None),
    "none": (None, "</s>", "<s>"),
}
"""Name -> template, end of an answer, and beginning of a sequence."""


def text_processor(name: str) -> Any:
    """Return a tokenizer with a template."""
    template, end, bos = TEMPLATES[name]
    # Gemma's turns end by another token than its sequences.
    made = tokenizer("</s>" if name == "gemma" else end, bos)
    made.chat_template = template
    return made
