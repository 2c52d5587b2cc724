"""Conversations and several images as every family's processor encodes them.

What is learnt is read back from the tokens: those under the mask are the answers, each with its end.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from functools import cache
from itertools import groupby
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from text_templates import TEMPLATES, VICUNA, text_processor
from tiny_models import IDS as TINY_IDS
from tiny_models import encoder as tiny_encoder
from tiny_multimodal import CLASSES, samples, tokenizer

from trainables.collate import Encoder, collate, pad_token_id
from trainables.data.bad_samples import SampleError
from trainables.data.samples import Sample, Turn
from trainables.formats.dialogue import Dialogue, samples_of

CONVERSING = [name for name in CLASSES if name != "paligemma"]
ENDS = {name: each.end for name, each in CLASSES.items()} | {
    name: end for name, (_, end, _) in TEMPLATES.items()
}
PICTURES = tuple(sample.images[0] for sample in samples("pictures", 4))


@cache
def encoder(name: str) -> Encoder:
    return Encoder(CLASSES[name].processor() if name in CLASSES else text_processor(name), 2048)


def said(*texts: str) -> tuple[Turn, ...]:
    """Return turns of a user and an assistant."""
    return tuple(Turn(role=("user", "assistant")[place % 2], text=text) for place, text in enumerate(texts))


def sample(**fields: Any) -> Sample:
    return Sample(
        **{"id": "x", "prompt": "And now?", "answer": "a red cat", "where": "chats.jsonl:3", **fields}
    )


def taught(own: Encoder, samples: list[Sample]) -> list[list[str]]:
    """Return what is learnt of each sample, decoded from the tokens under the mask of their batch."""
    batch = collate([own.encode(each) for each in samples], pad_token_id(own.tokenizer))
    texts = []
    for ids, mask in zip(batch.inputs["input_ids"], batch.answer_mask.tolist(), strict=True):
        runs = [
            [i for i, _ in run] for learnt, run in groupby(enumerate(mask), lambda each: each[1]) if learnt
        ]
        texts.append([own.tokenizer.decode(ids[run]).strip() for run in runs])
    return texts


@pytest.mark.parametrize("name", [*CONVERSING, *TEMPLATES])
def test_every_answer_is_learnt_with_its_end(name: str) -> None:
    marks = "" if name in TEMPLATES else "<image>"
    long = sample(
        history=said(f"{marks}How many {marks}?", "7 dogs", "Why?", "No idea. Ask me\nlater!"),
        images=PICTURES[:2] if marks else (),
        teaches_history=True,
    )
    alone = sample(prompt=f"{marks}Which?", images=PICTURES[2:3] if marks else ())
    end = ENDS[name]
    assert taught(encoder(name), [long, alone]) == [
        [f"7 dogs{end}", f"No idea. Ask me\nlater!{end}", f"a red cat{end}"],
        [f"a red cat{end}"],
    ]
    scored = dataclasses.replace(long, teaches_history=False)
    assert taught(encoder(name), [scored]) == [[f"a red cat{end}"]]


@pytest.mark.parametrize("name", CONVERSING)
def test_images_between_answers_leave_none_out_and_none_twice(name: str) -> None:
    turns = said(
        "<image>1?", "one", "2?", "two", "<image>3<image>?", "three", "4?", "four", "<image>5?", "five"
    )
    made = samples_of(Dialogue(turns=turns), PICTURES, id="x", where="chats.jsonl:3", split="train")
    assert len(made) == 3
    learnt = Counter(text for texts in taught(encoder(name), made) for text in texts)
    assert learnt == {f"{text}{ENDS[name]}": 1 for text in ("one", "two", "three", "four", "five")}


@given(images=st.lists(st.integers(0, 2), min_size=1, max_size=4))
@settings(max_examples=12, deadline=None)
def test_whatever_turns_have_images_every_answer_is_learnt_once(images: list[int]) -> None:
    """Of the family whose template writes the last answer's beginning otherwise than the others'."""
    turns: list[str] = []
    for number, count in enumerate(images):
        turns += ["<image>" * count + f"{number}?", f"answer {number}"]
    pictures = (PICTURES * 2)[: sum(images)]
    made = samples_of(Dialogue(turns=said(*turns)), pictures, id="x", where="chats.jsonl:3", split="train")
    learnt = Counter(text for texts in taught(encoder("llava_onevision"), made) for text in texts)
    assert learnt == {f"answer {number}<|im_end|>": 1 for number in range(len(images))}


def test_the_embedded_model_learns_every_answer() -> None:
    own = tiny_encoder()
    chat = sample(
        history=said("<image> which colour ?", "red", "cat or dog ?", "cat"),
        prompt="how many ?",
        answer="7",
        images=PICTURES[:1],
        teaches_history=True,
    )
    assert taught(own, [chat]) == [["red </s>", "cat </s>", "7 </s>"]]
    assert set(TINY_IDS) >= {"red", "cat", "7"}


def test_a_template_that_ends_the_last_answer_alone_is_followed() -> None:
    own = tokenizer("</s>", "<s>")
    own.chat_template = VICUNA
    chat = sample(history=said("How many?", "7 dogs"), teaches_history=True)
    encoded = Encoder(own).encode(chat)
    assert own.decode(encoded.tokens["input_ids"]) == (
        "USER: How many? ASSISTANT: 7 dogs USER: And now? ASSISTANT: a red cat</s>"
    )
    assert taught(Encoder(own), [chat]) == [["7 dogs", "a red cat</s>"]]


def test_without_a_template_answers_follow_what_was_asked() -> None:
    chat = sample(history=(Turn(role="system", text="S"), *said("Q:", " one")), prompt="R:", answer=" two")
    ids = encoder("none").encode(chat).tokens["input_ids"]
    assert encoder("none").tokenizer.decode(ids) == "<s>S\nQ: one</s>\nR: two</s>"


@pytest.mark.parametrize("name", CONVERSING)
def test_several_images_are_what_the_template_s_own_processing_makes_of_them(name: str) -> None:
    chat = sample(
        history=(Turn(role="system", text="Be brief."), *said("<image>How<image>?", "7 dogs")),
        prompt="And <image>?",
        images=PICTURES[:3],
    )
    pictures = iter(Image.fromarray(picture) for picture in PICTURES)  # type: ignore[arg-type]
    messages = []
    for turn in (*chat.history, Turn(role="user", text=chat.prompt)):
        first, *others = turn.text.split("<image>")
        content = [{"type": "text", "text": first.strip()}] if first else []
        for text in others:
            content.append({"type": "image", "image": next(pictures)})
            content += [{"type": "text", "text": text.strip()}] if text else []
        messages.append({"role": turn.role, "content": content})
    own = (
        CLASSES[name]
        .processor()
        .apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
    )
    encoded = encoder(name).encode(chat)
    assert torch.equal(own["input_ids"][0], encoded.tokens["input_ids"][: encoded.prompt_length])
    assert encoded.extras
    assert all(torch.equal(own[key], tensor) for key, tensor in encoded.extras.items())


@pytest.mark.parametrize("name", [*CLASSES, *TEMPLATES])
def test_choices_are_what_would_follow_the_prompt(name: str) -> None:
    chosen = sample(
        answer="B", choices=("A", "B", "none of them"), images=PICTURES[:1] if name in CLASSES else ()
    )
    encoded = encoder(name).encode(chosen)
    decoded = [encoder(name).tokenizer.decode(choice) for choice in encoded.choices]
    assert [text.strip() for text in decoded] == ["A", "B", "none of them"]
    right = encoded.tokens["input_ids"][encoded.prompt_length :]
    assert torch.equal(right[: len(encoded.choices[1])], encoded.choices[1])


class TestPaliGemma:
    def test_several_images_come_before_the_text(self) -> None:
        marked = sample(prompt="<image><image>\nWhich?", images=PICTURES[:2])
        encoded = encoder("paligemma").encode(marked)
        ids = encoded.tokens["input_ids"]
        assert (ids == tokenizer().convert_tokens_to_ids("<image>")).sum() == 2 * 16
        assert encoder("paligemma").tokenizer.decode(ids[encoded.prompt_length :]) == "a red cat</s>"
        unmarked = encoder("paligemma").encode(dataclasses.replace(marked, prompt="Which?"))
        assert torch.equal(unmarked.tokens["input_ids"], ids)

    def test_what_it_can_t_take_is_told(self) -> None:
        with pytest.raises(SampleError, match=r"^chats\.jsonl:3: .* puts images before the text"):
            encoder("paligemma").encode(sample(prompt="From <image> to <image>?", images=PICTURES[:2]))
        with pytest.raises(SampleError, match=r"^chats\.jsonl:3: .* not a conversation"):
            encoder("paligemma").encode(sample(history=said("Hi", "Ho"), images=PICTURES[:1]))


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("qwen2_5_vl", "<|image_pad|>"),
        ("qwen3_vl", "<|video_pad|>"),
        ("internvl", "<IMG_CONTEXT>"),
        ("gemma3", "<start_of_image>"),
        ("gemma3", "<image_soft_token>"),
    ],
)
def test_a_text_that_holds_the_processor_s_own_mark_of_images_is_told(name: str, mark: str) -> None:
    for fields in ({"prompt": f"What is {mark}?"}, {"answer": mark}, {"history": said(mark, "Hm")}):
        with pytest.raises(SampleError, match=r"^chats\.jsonl:3: .* takes for an image") as error:
            encoder(name).encode(sample(images=PICTURES[:1], **fields))
        assert mark in str(error.value)


@pytest.mark.parametrize("name", ["llava_next", "idefics3", "paligemma"])
def test_an_answer_can_t_hold_an_image(name: str) -> None:
    with pytest.raises(SampleError, match=r"^chats\.jsonl:3: .* holds '<image>'"):
        encoder(name).encode(sample(answer="<image>", images=PICTURES[:1]))


def test_to_a_model_of_text_a_mark_is_text() -> None:
    encoded = encoder("chatml").encode(sample(prompt="What is <image> in SVG?"))
    assert "What is <image> in SVG?" in encoder("chatml").tokenizer.decode(encoded.tokens["input_ids"])
    with pytest.raises(SampleError, match=r"marks <image> in its texts: 1, and its images: 0"):
        encoder("qwen2_vl").encode(sample(prompt="What is <image> in SVG?"))


def test_what_a_template_refuses_is_told() -> None:
    with pytest.raises(SampleError, match=r"^chats\.jsonl:3: .*refuses.*: System role not supported$"):
        encoder("gemma").encode(sample(history=(Turn(role="system", text="S"),)))


def test_a_template_that_changes_an_earlier_answer_is_told() -> None:
    thought = said("How many?", "<think>dogs ...</think>7")
    with pytest.raises(SampleError, match="changes the earlier answer '<think>dogs"):
        encoder("thinking").encode(sample(history=thought, teaches_history=True))
    assert taught(encoder("thinking"), [sample(history=thought)]) == [["a red cat<|im_end|>"]]


def test_a_conversation_that_is_too_long_is_told_with_its_row() -> None:
    own = Encoder(text_processor("chatml"), 64)
    with pytest.raises(SampleError, match=r"^chats\.jsonl:3: it takes \d+ tokens, .* context has 64"):
        own.encode(sample(history=said("How many?", "7 dogs " * 9)))
