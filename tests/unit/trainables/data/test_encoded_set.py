"""Encoded samples on storage: what is read is what was encoded, bit for bit, without a copy."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
import tiny_multimodal
import torch
from tiny_models import encoder, samples
from tiny_multimodal import CLASSES

from trainables.collate import EncodedSample, Encoder, collate, pad_token_id
from trainables.data import encoded_writer
from trainables.data.encoded_set import EncodedSet, EncodedSetError, SetIndex
from trainables.data.encoded_writer import encode_part, write_part
from trainables.data.samples import Sample, Turn

EACH_CLASS = pytest.mark.parametrize("name", CLASSES)


@cache
def of_class(name: str) -> tuple[Encoder, tuple[EncodedSample, ...]]:
    """Return samples with images of several sizes, and some without where the model allows it."""
    own = Encoder(CLASSES[name].processor(), 512)
    text_only = 0 if name == "paligemma" else 2
    made = tiny_multimodal.samples("stored", 6, text_only=text_only)
    return own, tuple(own.encode(sample) for sample in made)


def stored(
    folder: Path,
    encoded: Sequence[EncodedSample],
    dtype: torch.dtype = torch.float32,
    *,
    streamed: bool = False,
) -> EncodedSet:
    part = write_part(folder / "part-0.arrow", encoded, dtype, streamed=streamed)
    SetIndex((part,), streamed=streamed).write(folder)
    return EncodedSet.open(folder)


def assert_same(one: EncodedSample, other: EncodedSample) -> None:
    """Assert that two samples are equal in every bit and type."""
    assert (one.prompt_length, one.earlier) == (other.prompt_length, other.earlier)
    for mine, theirs in ((one.tokens, other.tokens), (one.extras, other.extras)):
        assert list(mine) == list(theirs)
        for name in mine:
            assert (mine[name].dtype, mine[name].shape) == (theirs[name].dtype, theirs[name].shape)
            assert torch.equal(mine[name], theirs[name]), name
    assert len(one.choices) == len(other.choices)
    assert all(map(torch.equal, one.choices, other.choices))


@EACH_CLASS
def test_a_set_holds_what_the_encoder_gave(name: str, tmp_path: Path) -> None:
    _, encoded = of_class(name)
    assert any(sample.extras for sample in encoded)
    found = stored(tmp_path, encoded)
    assert len(found) == len(encoded)
    for one, other in zip(found, encoded, strict=True):
        assert_same(one, other)


@EACH_CLASS
def test_in_bfloat16_images_are_stored_as_what_the_model_makes_of_them(name: str, tmp_path: Path) -> None:
    own, encoded = of_class(name)
    model = tiny_multimodal.build(name).to(torch.bfloat16)
    narrow = stored(tmp_path, encoded, torch.bfloat16)
    assert narrow[0].extras["pixel_values"].dtype == torch.bfloat16
    for one, other in zip(narrow, encoded, strict=True):
        said, expected = (
            model(**collate([sample], pad_token_id(own.tokenizer)).inputs).logits for sample in (one, other)
        )
        assert torch.equal(said, expected)


def test_keeps_choices_and_the_answers_of_a_history(tmp_path: Path) -> None:
    (picture,) = samples("history", 1)
    sample = Sample(
        id="x",
        prompt="cat ?",
        answer="yes",
        choices=("yes", "no"),
        history=(Turn(role="user", text="dog ?"), Turn(role="assistant", text="no")),
        teaches_history=True,
        images=picture.images,
    )
    encoded = encoder().encode(sample)
    assert len(encoded.choices) == 2
    assert len(encoded.earlier) == 1
    assert_same(stored(tmp_path, [encoded])[0], encoded)


def test_tensors_of_every_kind_come_back(tmp_path: Path) -> None:
    kinds = (torch.bool, torch.uint8, torch.int32, torch.int64, torch.float32, torch.bfloat16)
    extras = {str(kind): torch.tensor([[1, 0, 1]]).to(kind) for kind in kinds}
    extras |= {"none": torch.empty(0, 3), "scalar": torch.tensor(7)}
    sample = EncodedSample({"input_ids": torch.tensor([1, 2, 3])}, extras, 2)
    assert_same(stored(tmp_path, [sample])[0], sample)


def test_an_image_that_many_samples_ask_about_is_stored_once(tmp_path: Path) -> None:
    (first, *_), (other, *_) = samples("one", 2), samples("two", 2, seed=5)
    same = [
        Sample(id=answer, prompt="cat ?", answer=answer, images=first.images) for answer in ("yes", "yes no")
    ]
    encoded = [encoder().encode(sample) for sample in (other, *same, first)]
    image = encoded[0].extras["pixel_values"].nbytes
    alone = stored(tmp_path / "alone", encoded[:2])
    assert image > 500
    found = stored(tmp_path / "all", encoded)
    for one, expected in zip(found, encoded, strict=True):
        assert_same(one, expected)
    sizes = [(tmp_path / name / "part-0.arrow").stat().st_size for name in ("alone", "all")]
    assert sizes[1] - sizes[0] < 2 * image, "two more samples of an image that is there"
    assert len(alone) == 2


def test_a_set_of_several_parts_and_batches_is_read_by_index_and_slice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = [encoder().encode(sample) for sample in samples("parts", 11)]
    monkeypatch.setattr(encoded_writer, "_BATCH", 1)  # each sample in a batch of its own
    parts = tuple(
        write_part(tmp_path / f"{number}.arrow", encoded[rows], torch.float32)
        for number, rows in enumerate((slice(4), slice(4, 4), slice(4, 11)))
    )
    assert [part.rows for part in parts] == [4, 0, 7]
    SetIndex(parts).write(tmp_path)
    found = EncodedSet.open(tmp_path)
    for index in (*range(11), -1, -11):
        assert_same(found[index], encoded[index])
    for rows in (slice(1, None, 2), slice(3, 9), slice(None, None, -3)):
        assert len(found[rows]) == len(encoded[rows])
        for one, other in zip(found[rows], encoded[rows], strict=True):
            assert_same(one, other)
    assert_same(found[1::2][2:][1], encoded[1::2][2:][1])
    with pytest.raises(IndexError):
        found[11]


def test_writing_to_a_sample_changes_neither_file_nor_other_sets(tmp_path: Path) -> None:
    expected = copy.deepcopy(encoder().encode(samples("kept", 1)[0]))
    found = stored(tmp_path, [expected])
    found[0].tokens["input_ids"].zero_()
    assert_same(EncodedSet.open(tmp_path)[0], expected)


def test_what_is_streamed_has_tokens_and_the_shapes_of_its_images(tmp_path: Path) -> None:
    _, encoded = of_class("qwen2_vl")
    whole, thin = stored(tmp_path / "whole", encoded), stored(tmp_path / "thin", encoded, streamed=True)
    sizes = [(tmp_path / name / "part-0.arrow").stat().st_size for name in ("whole", "thin")]
    images = sum(sample.extras["pixel_values"].nbytes for sample in encoded if sample.extras)
    assert sizes[0] - sizes[1] >= images
    for one, other in zip(thin, whole, strict=True):
        assert torch.equal(one.tokens["input_ids"], other.tokens["input_ids"])
        assert list(one.extras) == list(other.extras)
        if other.extras:
            assert one.extras["pixel_values"].is_meta
            assert one.extras["pixel_values"].shape == other.extras["pixel_values"].shape
            assert torch.equal(one.extras["image_grid_thw"], other.extras["image_grid_thw"])


def test_a_sample_that_can_not_be_encoded_is_told_and_left_out(tmp_path: Path) -> None:
    good = samples("good", 3)
    broken = Sample(id="broken", prompt="cat ?", answer="yes", images=(tmp_path / "gone.png",))
    processor = tiny_multimodal.save("llava_next", tmp_path / "model")
    followed: list[int] = []
    part, bad = encode_part(
        str(processor),
        (good[0], broken, *good[1:]),
        tmp_path / "set" / "part.arrow",
        torch.float32,
        follow=lambda: followed.append(1),
    )
    assert (part.rows, len(followed)) == (3, 4)
    ((position, reason),) = bad
    assert position == 1
    assert "gone.png" in reason
    index = SetIndex((part,), tuple(bad))
    index.write(tmp_path / "set")
    assert SetIndex.read(tmp_path / "set") == index
    assert_same(EncodedSet.open(tmp_path / "set")[1], Encoder.load(str(processor)).encode(good[1]))


@pytest.mark.parametrize("damage", ["truncated", "part gone", "index gone", "index cut", "no arrow"])
def test_a_damaged_set_is_refused(tmp_path: Path, damage: str) -> None:
    stored(tmp_path, [encoder().encode(sample) for sample in samples("damaged", 3)])
    part, index = tmp_path / "part-0.arrow", tmp_path / "set.json"
    match damage:
        case "truncated":
            part.write_bytes(part.read_bytes()[:-100])
        case "part gone":
            part.unlink()
        case "index gone":
            index.unlink()
        case "index cut":
            index.write_bytes(index.read_bytes()[:20])
        case "no arrow":
            part.write_bytes(bytes(part.stat().st_size))
    with pytest.raises(EncodedSetError, match=str(tmp_path)):
        EncodedSet.open(tmp_path)


def test_an_interrupted_part_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> object:
        yield encoder().encode(samples("cut", 1)[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_part(tmp_path / "part.arrow", interrupted(), torch.float32)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
