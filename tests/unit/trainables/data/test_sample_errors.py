"""Samples that a model can't take are told apart in one line, before any worker starts."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_multimodal
from PIL import Image
from tiny_models import task
from tiny_multimodal import CLASSES

from trainables.collate import Encoder
from trainables.cost.sample_shape import largest_sample
from trainables.data.samples import Sample
from trainables.model import ModelError, images_only, load_processor

PICTURE = np.full((96, 96, 3), 120, np.uint8)


def sample(**fields: Any) -> Sample:
    return Sample(**{"id": "x", "prompt": "how many ?", "answer": "7", "images": (PICTURE,), **fields})


def test_an_image_too_large_for_the_context_says_how_long_it_is() -> None:
    processor = CLASSES["qwen2_5_vl"].processor()
    length = Encoder(processor).encode(sample()).length
    assert Encoder(processor, length).encode(sample()).length == length
    message = (
        f"^sample 'x': it takes {length} tokens, and the model's context has {length - 1}: "
        "shorten its text or shrink its image$"
    )
    with pytest.raises(ValueError, match=message):
        Encoder(processor, length - 1).encode(sample())
    with pytest.raises(ValueError, match=r"context has 20: shorten its text$"):
        Encoder(processor, 20).encode(sample(images=()))


def test_the_context_is_the_language_model_s(tmp_path: Path) -> None:
    own = Encoder.load(str(tiny_multimodal.save("llava_next", tmp_path)))
    with pytest.raises(ValueError, match="context has 512"):
        own.encode(sample(prompt="how many ? " * 50))


def test_the_largest_image_is_found_among_many(tmp_path: Path) -> None:
    """Of a hundred small images one is large, its text is as short as any, and it lies in a file."""
    small = [
        dataclasses.replace(s, id=f"s{i}", prompt=s.prompt + " how many are there ?")
        for i, s in enumerate(tiny_multimodal.samples("small", 1) * 100)
    ]
    large = tmp_path / "large.png"
    Image.fromarray(PICTURE).save(large)
    small[77] = sample(id="large", images=(large,))
    data = dataclasses.replace(task("many", "held_out"), search=tuple(small))
    processor = CLASSES["qwen2_5_vl"].processor()
    found = largest_sample([data], Encoder(processor))
    assert found.extras["pixel_values"] == (144, 96)  # 12 x 12 patches of 3 x 2 x 4 x 4 values
    assert found.grids == {"image_grid_thw": [[1, 12, 12]]}
    bound = Encoder(processor).encode(small[77]).length - 1
    with pytest.raises(ValueError, match=r"^task 'many': sample 'large': it takes \d+ tokens"):
        largest_sample([data], Encoder(processor, bound))


def test_where_bad_samples_are_left_out_the_largest_of_the_others_counts() -> None:
    """Of 60 samples 20 are longer than the context of 200; of the others the longest takes 190 tokens."""
    own = Encoder(CLASSES["qwen2_5_vl"].processor(), 200)
    markup = own.encode(sample(images=(), prompt="x", answer="7")).length - 1
    fitting = [sample(id=f"s{i}", images=(), prompt="x" * (100 + i)) for i in range(39)]
    fitting.append(sample(id="longest", images=(), prompt="x" * (190 - markup)))
    bad = [sample(id=f"b{i}", images=(), prompt="x" * (300 + i), where=f"f:{i}") for i in range(20)]
    data = dataclasses.replace(task("many", "held_out"), search=tuple(bad + fitting))
    found = largest_sample([data], own, skip_bad=True)
    assert found.tokens == math.ceil(1.1 * 190)
    with pytest.raises(ValueError, match=r"^f:19: it takes"):
        largest_sample([data], own)
    with pytest.raises(ValueError, match=r"^task 'many': no sample can be used, such as f:19: it takes"):
        largest_sample([dataclasses.replace(data, search=tuple(bad))], own, skip_bad=True)


def test_of_several_images_all_count() -> None:
    """One sample of forty has three images, each smaller than the others' one."""
    own = Encoder(CLASSES["qwen2_5_vl"].processor())
    small, large = np.zeros((24, 24, 3), np.uint8), np.zeros((32, 32, 3), np.uint8)
    many = [sample(id=f"s{i}", images=(large,)) for i in range(39)] + [
        sample(id="three", images=(small,) * 3)
    ]
    data = dataclasses.replace(task("many", "held_out"), search=tuple(many))
    # 24 pixels are 6 x 6 patches of 3 x 2 x 4 x 4 values.
    assert largest_sample([data], own).extras["pixel_values"] == (3 * 36, 96)


def test_a_cut_answer_is_refused() -> None:
    """A tokenizer that was saved with `truncation` cuts what a processor gives it."""
    processor = CLASSES["llava_next"].processor()
    text = sample(images=(), answer="many red cats")
    whole = Encoder(processor).encode(text).length
    processor.tokenizer.init_kwargs |= {"truncation": True, "max_length": whole - 2}
    with pytest.raises(
        ValueError, match=r"^sample 'x': the answer is cut: its \d+ tokens end without '<.eot"
    ):
        Encoder(processor).encode(text)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "llava_next", "llava_onevision"])
def test_without_a_chat_template_an_image_has_no_place(name: str) -> None:
    processor = CLASSES[name].processor()
    processor.chat_template = None
    with pytest.raises(ValueError, match=r"^sample 'x': .*no chat template.*chat_template\.jinja"):
        Encoder(processor).encode(sample())


def test_a_prompt_with_more_marks_than_images_names_the_sample() -> None:
    """Conversations that were written for LLaVA's own code have such marks."""
    with pytest.raises(
        ValueError, match=r"^sample 'x': marks <image> in its texts: 2, .* images: 1"
    ) as error:
        Encoder(CLASSES["llava_next"].processor()).encode(sample(prompt="<image>\n<image>\nhow many ?"))
    assert "\n" not in str(error.value)


def test_paligemma_wants_an_image() -> None:
    with pytest.raises(ValueError, match=r"^sample 'x': there is no image"):
        Encoder(CLASSES["paligemma"].processor()).encode(sample(images=()))


def test_videos_need_no_part_of_a_processor() -> None:
    processor = CLASSES["llava_onevision"].processor()
    assert not hasattr(processor, "video_processor")
    assert images_only(type(processor)) is type(processor)


def test_a_package_that_a_processor_needs_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    folder = tiny_multimodal.save("llava_next", tmp_path)

    def missing(*_: Any, **__: Any) -> None:
        raise ImportError("num2words is required")

    monkeypatch.setattr("transformers.LlavaNextProcessor.from_pretrained", missing)
    with pytest.raises(ModelError, match=r"processor of model .* can't be loaded: num2words is required"):
        load_processor(str(folder))
