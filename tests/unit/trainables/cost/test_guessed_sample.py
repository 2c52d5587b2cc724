from __future__ import annotations

import dataclasses

import pytest
import tiny_multimodal
from tiny_models import task

from trainables.collate import Encoder
from trainables.cost.activations import evaluation_bytes
from trainables.cost.guessed_sample import guessed_sample
from trainables.cost.sample_shape import largest_sample


@pytest.mark.parametrize("name", [name for name in tiny_multimodal.CLASSES if name != "idefics3"])
def test_a_guess_can_be_measured_and_is_of_the_true_size(name: str) -> None:
    """A tokenizer of bytes makes of texts twice the tokens that are guessed, besides its markup."""
    data = dataclasses.replace(
        task("guess", "held_out"), search=tuple(tiny_multimodal.samples("guess", 5, answers=("no",)))
    )
    model = tiny_multimodal.build(name).to("meta")
    guess = guessed_sample([data], model.config)
    true = largest_sample([data], Encoder(tiny_multimodal.CLASSES[name].processor()))
    assert set(guess.extras) <= set(true.extras)
    assert len(guess.extras["pixel_values"]) == len(true.extras["pixel_values"])
    assert evaluation_bytes(model, guess, 2) > 0


def test_a_grid_is_as_large_as_the_image() -> None:
    """90 x 60 pixels in merged patches of 8: 11 x 8 (7.5 rounds to even), each of 2 x 2 patches of 4.

    The text is `What is it it it ?` or shorter, and `no`.
    """
    data = dataclasses.replace(
        task("guess", "held_out"), search=tuple(tiny_multimodal.samples("guess", 5, answers=("no",)))
    )
    config = tiny_multimodal.build("qwen2_5_vl").config
    guess = guessed_sample([data], config)
    assert guess.grids == {"image_grid_thw": [[1, 16, 22]]}
    assert guess.extras["pixel_values"] == (16 * 22, 3 * 2 * 4 * 4)
    text = max(len(sample.prompt) + len(sample.answer) for sample in data.search)
    assert guess.tokens == -(-text // 2) + 2 + 88


def test_every_image_of_a_sample_counts() -> None:
    """16 x 16 pixels are 2 x 2 tokens of 2 x 2 patches in Qwen2.5-VL."""
    one, *_ = tiny_multimodal.samples("guess", 6)[5:]
    two = dataclasses.replace(one, images=one.images * 2)
    alone, both = (dataclasses.replace(task("guess", "held_out"), search=(sample,)) for sample in (one, two))
    config = tiny_multimodal.build("qwen2_5_vl").config
    assert guessed_sample([both], config).tokens - guessed_sample([alone], config).tokens == 4
    assert guessed_sample([both], config).grids == {"image_grid_thw": [[1, 4, 4]] * 2}
    assert guessed_sample([both], config).extras["pixel_values"][0] == 2 * 16
    assert guessed_sample([both], tiny_multimodal.build("llava_next").config).extras["pixel_values"][0] == 2


def test_crops_are_as_many_as_there_may_be() -> None:
    """32 x 32 pixels are four crops of 16, or five with the whole image, each of 16 patches."""
    data = dataclasses.replace(task("guess", "held_out"), search=tuple(tiny_multimodal.samples("guess", 1)))
    guess = guessed_sample([data], tiny_multimodal.build("llava_next").config)
    assert guess.extras["pixel_values"] == (1, 5, 3, 16, 16)
    assert guess.grids == {"image_sizes": [[32, 32]]}
    assert guess.tokens > 5 * 16
