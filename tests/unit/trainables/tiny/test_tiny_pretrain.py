from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlavaForConditionalGeneration

from trainables.tiny import pretrain
from trainables.tiny.batches import IGNORED, collate, draw_batch
from trainables.tiny.corpus import HELD_OUT, SLOTS, TOKEN_ID, TaskCorpus, load_corpus, words_to_ids


def _corpus(prompt, answer, pictured=True):
    return TaskCorpus(
        images=np.zeros((1, 32, 32, 3), np.uint8) if pictured else None,
        prompts=np.array([words_to_ids(prompt, 16)]),
        answers=np.array([words_to_ids(answer, SLOTS)]),
    )


def test_labels_cover_the_answer_and_its_end_only():
    """`<s><user>`, 16 image places, 5 words, `<assistant>`: position 23 predicts the first answer token."""
    batch = collate([(_corpus("what time is it ?", "7 : 30"), 0)], np.array([0]))
    answer = [TOKEN_ID[word] for word in ("7", ":", "30", "</s>")]
    assert batch.tokens.shape == (1, 2 + 16 + 5 + 1 + 4)
    assert batch.labels[0].tolist() == [IGNORED] * 23 + answer + [IGNORED]
    assert batch.words.tolist() == [answer[:3]]


def test_a_batch_mixes_conversations_with_and_without_image():
    items = [(_corpus("is this a face ?", "yes"), 0), (_corpus("which is larger , 2 or 7 ?", "7", False), 0)]
    batch = collate(items, np.array([0, 1]))
    assert batch.pixels.shape == (1, 3, 32, 32)
    assert (batch.tokens == TOKEN_ID["<image>"]).sum(dim=1).tolist() == [16, 0]


def test_a_batch_is_drawn_from_seed_and_step():
    corpora = {name: load_corpus(name, 6, None) for name in ("bars", "compare_numbers")}
    weights = {"bars": 1.0, "compare_numbers": 1.0}
    first, again, other = (draw_batch(corpora, weights, 16, 1, step, False) for step in (5, 5, 6))
    assert torch.equal(first.tokens, again.tokens)
    assert torch.equal(first.pixels, again.pixels)
    assert not torch.equal(first.tokens, other.tokens)
    assert draw_batch(corpora, weights, 16, 1, 5, vision_only=True).pixels.shape[0] == 16


@pytest.mark.parametrize(
    ("step", "end", "expected"),
    [
        (0, 1000, 1e-3 / 100),
        (49, 1000, 1e-3 * 50 / 100),
        (500, 1000, 1e-3),
        (900, 1000, 1e-3 / 2),
        (900, 950, 1e-3),
    ],
)
def test_the_rate_warms_up_stays_and_decays_in_the_last_fifth(step, end, expected):
    """Of 1,000 steps the decay takes 800 to 1,000: at 900 half is left, but only in the last stage."""
    assert pretrain.learning_rate(1e-3, step, start=0, end=end, total=1000) == pytest.approx(expected)


def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path):
    options = ["--steps", "6", "--vision-steps", "2", "--language-steps", "2", "--items", "4", "--batch", "8"]
    options += ["--vision-batch", "8", "--device", "cpu", "--save-every", "3"]

    def state(folder):
        return LlavaForConditionalGeneration.from_pretrained(folder / "model").state_dict()

    corpora = {name: load_corpus(name, 4, tmp_path / "corpus") for name in HELD_OUT}
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "corpus").symlink_to(tmp_path / "corpus")
    pretrain.main([*options, "--out", str(tmp_path / "whole")])
    args = pretrain.parse_arguments([*options, "--out", str(tmp_path / "parts")])
    args.minutes = 1e-9  # stops after each step
    first = pretrain.Pretraining(torch.device("cpu"))
    for _ in range(3):
        pretrain.run_steps(first, corpora, args)
    assert first.step == 3
    pretrain.main([*options, "--out", args.out.as_posix(), "--resume", str(args.out / "checkpoint.pt")])
    whole, parts = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert all(torch.allclose(whole[name], parts[name], atol=1e-6) for name in whole)
