from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from trainables.data.samples import SPLITS, fingerprint
from trainables.tiny import TASKS, load_split
from trainables.tiny.splits import pretraining_items, split_size
from trainables.tiny.vocabulary import VOCABULARY

TARGETS = ("counting", "clock", "naming", "pathology", "scene_text")


def test_importing_the_tasks_loads_no_heavy_package():
    code = (
        "import sys, trainables.tiny; "
        "print([m for m in ('torch', 'transformers', 'sklearn', 'skimage', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_there_are_five_targets_and_at_least_eight_held_out_skills():
    assert tuple(name for name, task in TASKS.items() if task.role == "target") == TARGETS
    assert sum(task.role == "held_out" for task in TASKS.values()) >= 8
    assert all(name == task.name for name, task in TASKS.items())


@pytest.mark.parametrize("name", TASKS)
def test_splits_share_no_content(name):
    limits = {"train": 300, "search": None, "confirm": None}
    hashes = [sample.content_hash() for split in SPLITS for sample in load_split(name, split, limits[split])]
    assert len(hashes) == 300 + split_size(name, "search") + split_size(name, "confirm")
    assert len(set(hashes)) == len(hashes)


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_whole_splits_have_their_size_and_share_no_content(name):
    hashes = [sample.content_hash() for split in SPLITS for sample in load_split(name, split)]
    assert len(hashes) == sum(split_size(name, split) for split in SPLITS)
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize("name", TASKS)
def test_a_split_is_the_same_each_time_and_a_limit_takes_its_first_samples(name):
    whole = load_split(name, "search", 50)
    assert fingerprint(load_split(name, "search", 50)) == fingerprint(whole)
    assert fingerprint(load_split(name, "search", 7)) == fingerprint(whole[:7])
    assert [sample.id for sample in load_split(name, "search", 7)] == [sample.id for sample in whole[:7]]
    assert load_split(name, "search", 0) == []


@pytest.mark.parametrize("name", TASKS)
def test_samples_are_small_pictures_with_words_of_the_vocabulary(name):
    for split in SPLITS:
        for sample in load_split(name, split, 40):
            if name == "compare_numbers":
                assert sample.images == ()
            else:
                assert sample.images[0].shape == (32, 32, 3)
                assert sample.images[0].dtype == np.uint8
            assert set(f"{sample.prompt} {sample.answer}".split()) <= set(VOCABULARY)


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.role == "held_out"])
def test_pretraining_repeats_no_tested_sample(name):
    tested = {
        (s.images[0].tobytes() if s.images else None, s.prompt, s.answer)
        for split in ("search", "confirm")
        for s in load_split(name, split)
    }
    seen = {
        (None if image is None else image.tobytes(), prompt, answer)
        for image, prompt, answer in pretraining_items(name, 0, 300)
    }
    assert not tested & seen


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_cannot_be_pretrained_on(name):
    with pytest.raises(ValueError, match="must not be pretrained"):
        next(pretraining_items(name, 0, 1))


def test_every_word_a_target_answers_with_is_an_answer_of_a_held_out_skill():
    def words(role):
        names = [name for name, task in TASKS.items() if task.role == role]
        return {word for name in names for s in load_split(name, "search", 250) for word in s.answer.split()}

    assert words("target") <= words("held_out")


def test_unknown_names_and_bad_limits_are_refused():
    with pytest.raises(ValueError, match="did you mean 'counting'"):
        load_split("countin", "search")
    with pytest.raises(ValueError, match="unknown split 'test'"):
        load_split("counting", "test")
    with pytest.raises(ValueError, match="at least 0"):
        load_split("counting", "search", -1)
