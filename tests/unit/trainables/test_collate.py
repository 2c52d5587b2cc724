from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import IDS, encoder, samples

from trainables.collate import EncodedSample, Encoder, collate, pad_token_id
from trainables.data.bad_samples import SampleError
from trainables.data.samples import Sample
from trainables.tiny.build import IMAGE_TOKENS, build_processor, build_tokenizer

PAD = IDS["<pad>"]
PICTURE = np.full((32, 32, 3), 200, np.uint8)
MIXED = [
    Sample(id="a", prompt="which colour ?", answer="red", images=(PICTURE,)),
    Sample(id="b", prompt="what time is it on the clock ?", answer="1 : 45", images=(PICTURE,)),
    Sample(id="c", prompt="cat or dog ?", answer="cat or dog"),
]


def decoded(ids: torch.Tensor) -> str:
    return str(encoder().tokenizer.decode(ids))


def test_the_mask_covers_the_answer_and_its_end_and_nothing_else() -> None:
    batch = collate([encoder().encode(sample) for sample in MIXED], PAD)
    for row, sample in enumerate(MIXED):
        assert decoded(batch.inputs["input_ids"][row][batch.answer_mask[row]]) == f"{sample.answer} </s>"


def test_a_sample_is_the_chat_with_its_image_expanded() -> None:
    text = decoded(encoder().encode(MIXED[0]).tokens["input_ids"])
    assert text == "<s> <user> " + "<image> " * IMAGE_TOKENS + "which colour ? <assistant> red </s>"


def test_pads_on_the_right() -> None:
    encoded = [encoder().encode(sample) for sample in MIXED]
    batch = collate(encoded, PAD)
    width = max(sample.length for sample in encoded)
    assert batch.inputs["input_ids"].shape == batch.answer_mask.shape == (3, width)
    for row, sample in enumerate(encoded):
        ids, seen = batch.inputs["input_ids"][row], batch.inputs["attention_mask"][row]
        assert ids[: sample.length].tolist() == sample.tokens["input_ids"].tolist()
        assert ids[sample.length :].tolist() == [PAD] * (width - sample.length)
        assert seen.tolist() == [1] * sample.length + [0] * (width - sample.length)
        assert not batch.answer_mask[row, sample.length :].any()


def test_lengths_by_hand() -> None:
    """`<s> <user>` + 16 image tokens + `which colour ?` + `<assistant>` are 22; `red </s>` are 2."""
    sample = encoder().encode(MIXED[0])
    assert (sample.prompt_length, sample.answer_length, sample.length) == (22, 2, 24)


def test_images_stack_in_the_order_of_their_samples() -> None:
    first, second = samples("picture", 2)
    batch = collate([encoder().encode(s) for s in (MIXED[2], first, second)], PAD)
    alone = [encoder().encode(s).extras["pixel_values"][0] for s in (first, second)]
    assert torch.equal(batch.inputs["pixel_values"], torch.stack(alone))


def test_text_only_batches_have_no_images() -> None:
    batch = collate([encoder().encode(MIXED[2])], PAD)
    assert set(batch.inputs) == {"input_ids", "attention_mask"}


def test_an_image_file_is_read_like_its_pixels(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    (sample,) = samples("file", 1)
    assert isinstance(sample.images[0], np.ndarray)
    Image.fromarray(sample.images[0]).save(path)
    twin = Sample(id=sample.id, prompt=sample.prompt, answer=sample.answer, images=(path,))
    one, other = encoder().encode(sample), encoder().encode(twin)
    assert torch.equal(one.extras["pixel_values"], other.extras["pixel_values"])
    assert one.tokens["input_ids"].tolist() == other.tokens["input_ids"].tolist()


def test_an_unreadable_image_names_the_sample_and_the_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"sample 'x': image .*broken\.png can't be read"):
        encoder().encode(Sample(id="x", prompt="cat ?", answer="yes", images=(path,)))


def test_a_text_model_takes_text_and_no_image() -> None:
    tokenizer = build_tokenizer()
    encoded = Encoder(tokenizer).encode(MIXED[2])
    assert tokenizer.decode(encoded.tokens["input_ids"][encoded.prompt_length :]) == "cat or dog </s>"
    with pytest.raises(ValueError, match=r"sample 'a': it has an image, and this model takes text only"):
        Encoder(tokenizer).encode(MIXED[0])


def test_an_answer_that_shares_a_token_with_the_prompt_is_refused() -> None:
    """`ca` + `t` is one word to this tokenizer, which splits at spaces, when no chat mark is between."""
    encoder_without_chat = Encoder(build_tokenizer())
    with pytest.raises(ValueError, match=r"^sample 'x': .*begins with 't.* 'dog ca', share a token"):
        encoder_without_chat.encode(Sample(id="x", prompt="dog ca", answer="t"))


def test_a_tokenizer_without_an_end_of_sequence_is_refused() -> None:
    processor = build_processor()
    processor.tokenizer.eos_token = None
    with pytest.raises(ValueError, match="end-of-sequence"):
        Encoder(processor)


def test_inputs_per_token_and_per_image_are_told_apart() -> None:
    sample = encoder().encode(MIXED[0])
    assert isinstance(sample, EncodedSample)
    assert set(sample.tokens) == {"input_ids", "attention_mask"}
    assert {name: tuple(t.shape) for name, t in sample.extras.items()} == {"pixel_values": (1, 3, 32, 32)}


def test_padding_falls_back_to_the_end_of_sequence() -> None:
    assert pad_token_id(SimpleNamespace(pad_token_id=None, eos_token_id=7)) == 7
    assert pad_token_id(SimpleNamespace(pad_token_id=0, eos_token_id=7)) == 0


@pytest.mark.parametrize(
    "sample",
    [
        Sample(id="a", prompt="cat or dog ?", answer="cat Vancouver"),
        Sample(id="a", prompt="cat or dog ?", answer="cat", choices=("cat", "Vancouver")),
    ],
    ids=["answer", "choice"],
)
def test_what_the_vocabulary_lacks_is_no_answer(sample: Sample) -> None:
    """`Vancouver` and `Walmart` would be the same token, and either as right as the other."""
    with pytest.raises(SampleError, match="the model's tokenizer has no token for 'Vancouver'"):
        encoder().encode(sample)


def test_what_the_vocabulary_lacks_may_be_asked() -> None:
    assert encoder().encode(Sample(id="a", prompt="cat or Vancouver ?", answer="cat")).answer_length == 2
