from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_models import encoder

from search.config import StudyConfig
from search.data.inputs import load_data
from search.settings.study_file import InputError
from trainables.collate import Encoder
from trainables.cost.sample_shape import largest_sample
from trainables.data.samples import fingerprint
from trainables.tiny.build import build_tokenizer


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def rows(name: str, n: int, answer: str = "yes") -> list[dict[str, Any]]:
    return [{"prompt": f"{name} {index} ?", "answer": answer} for index in range(n)]


@pytest.fixture
def study(tmp_path: Path) -> dict[str, Any]:
    return {
        "name": "s",
        "model": {"path": "tiny-llava"},
        "tasks": {
            "new": {
                "train": write(tmp_path / "new-train.jsonl", rows("train", 5)),
                "search": write(tmp_path / "new-search.jsonl", rows("search", 4)),
                "confirm": write(tmp_path / "new-confirm.jsonl", rows("confirm", 6)),
            },
            "old": {
                "search": write(tmp_path / "old.jsonl", rows("old", 3)),
                "metric": "normalized_exact_match",
            },
        },
        "targets": ["new"],
        "held_out": ["old"],
        "space": {"subsets": ["full"], "learning_rate": [1e-4, 1e-3]},
        "training": {"steps": 4, "batch_size": 2},
        "finalists": None,
        "search": {"trials": 2},
    }


def load(study: dict[str, Any]) -> Any:
    return load_data(StudyConfig.model_validate(study)).tasks


def test_reads_train_and_search_of_targets_and_only_search_of_held_out(study: dict[str, Any]) -> None:
    new, old = load(study)
    assert (new.name, new.role, str(new.metric)) == ("new", "target", "exact_match")
    assert [len(new.train), len(new.search)] == [5, 4]
    assert new.train[0].prompt == "train 0 ?"
    assert (old.name, old.role, str(old.metric)) == ("old", "held_out", "normalized_exact_match")
    assert [len(old.train), len(old.search)] == [0, 3]


def test_limits_take_the_first_samples(study: dict[str, Any]) -> None:
    new, old = load({**study, "training": {**study["training"], "samples": 2}, "evaluation": {"samples": 1}})
    assert [len(new.train), len(new.search), len(old.search)] == [2, 1, 1]
    assert new.search[0].prompt == "search 0 ?"


def test_embedded_tasks_need_no_entry(study: dict[str, Any]) -> None:
    *_, embedded = load({**study, "held_out": ["old", "compare_numbers"], "evaluation": {"samples": 2}})
    assert (embedded.name, len(embedded.search), embedded.train) == ("compare_numbers", 2, ())


def test_fingerprints_are_of_the_splits_that_are_used(study: dict[str, Any]) -> None:
    data = load_data(StudyConfig.model_validate(study))
    tasks, prints = data.tasks, data.fingerprints
    assert list(prints) == ["new/train", "new/search", "old/search", "new/confirm"]
    assert prints["new/train"] == fingerprint(tasks[0].train)
    assert len(set(prints.values())) == 4


def test_of_the_confirm_split_the_search_gets_the_fingerprint_alone(
    study: dict[str, Any], tmp_path: Path
) -> None:
    config = StudyConfig.model_validate(study)
    data = load_data(config)
    assert "confirm" in (tmp_path / "new-confirm.jsonl").read_text()
    assert "confirm 0 ?" not in repr(data)
    write(tmp_path / "new-confirm.jsonl", rows("other", 2))
    assert load_data(config).fingerprints["new/confirm"] != data.fingerprints["new/confirm"]
    (tmp_path / "new-confirm.jsonl").unlink()
    with pytest.raises(InputError, match=r"^tasks\.new\.confirm: no such file"):
        load_data(config)


def test_a_mirror_that_is_not_there(study: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    with pytest.raises(InputError) as error:
        load({**study, "data": {"mirror": str(tmp_path / "copeis")}})
    assert str(error.value) == (f"data.mirror: no such folder: {tmp_path / 'copeis'}; did you mean 'copies'?")


class TestReplay:
    @pytest.fixture
    def replaying(self, study: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
        study["tasks"]["news"] = {"train": write(tmp_path / "news.jsonl", rows("news", 7))}
        study["tasks"]["old"]["train"] = write(tmp_path / "old-train.jsonl", rows("older", 2))
        study["space"]["replay_ratio"] = [0.5]
        study["training"]["replay"] = ["news", "old"]
        return study

    def test_takes_the_training_samples_alone(self, replaying: dict[str, Any]) -> None:
        config = StudyConfig.model_validate(replaying)
        everything = load_data(config).all
        assert [(t.name, t.role, len(t.train), len(t.search)) for t in everything] == [
            ("new", "target", 5, 4),
            ("old", "held_out", 0, 3),
            ("news", "replay", 7, 0),
            ("old", "replay", 2, 0),
        ]
        assert list(load_data(config).fingerprints) == [
            "new/train",
            "news/train",
            "old/train",
            "new/search",
            "old/search",
            "new/confirm",
        ]

    def test_is_limited_like_a_target(self, replaying: dict[str, Any]) -> None:
        replaying["training"]["samples"] = 3
        *_, news, old = load_data(StudyConfig.model_validate(replaying)).all
        assert [len(news.train), len(old.train)] == [3, 2]

    def test_long_samples_count_for_memory(self, replaying: dict[str, Any], tmp_path: Path) -> None:
        config = StudyConfig.model_validate(replaying)
        short = largest_sample(load_data(config).all, encoder()).tokens
        long = [{"prompt": "cat " * 100 + "?", "answer": "yes"}]
        write(tmp_path / "news.jsonl", long)
        assert largest_sample(load_data(config).all, encoder()).tokens > short + 90

    def test_a_sample_that_scores_trials_is_refused(self, replaying: dict[str, Any], tmp_path: Path) -> None:
        write(tmp_path / "old-train.jsonl", [*rows("older", 1), {**rows("search", 3)[2], "id": "twin"}])
        with pytest.raises(InputError) as caught:
            load_data(StudyConfig.model_validate(replaying))
        assert str(caught.value) == (
            f"data: 1 sample of old/train in new/search (1 exact: {tmp_path}/old-train.jsonl:2 is "
            f"{tmp_path}/new-search.jsonl:3). No model may be trained on what scores it: take these samples "
            "out of the training split, or leave them out with data.on_leak: drop"
        )

    def test_an_unknown_task(self, replaying: dict[str, Any]) -> None:
        replaying["training"]["replay"] = ["nwes"]
        with pytest.raises(InputError, match=r"^training\.replay: unknown task 'nwes': did you mean 'news'"):
            load_data(StudyConfig.model_validate(replaying))

    def test_the_task_needs_no_samples_to_score(self, replaying: dict[str, Any]) -> None:
        assert replaying["tasks"]["news"].keys() == {"train"}
        replaying["held_out"] = ["news"]
        with pytest.raises(ValueError, match=r"tasks\.news\.search: a target or held-out task needs samples"):
            StudyConfig.model_validate(replaying)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s, d: s["tasks"]["new"].update(train=str(d / "gone.jsonl")),
            r"tasks\.new\.train: no such file",
        ),
        (lambda s, d: s["tasks"]["old"].update(search=str(d / "gone.jsonl")), r"tasks\.old\.search: no such"),
        (lambda s, d: (d / "old.jsonl").write_text(""), r"tasks\.old\.search: .*old\.jsonl holds no sample"),
        (
            lambda s, d: (d / "old.jsonl").write_text("{}\n"),
            r"old\.jsonl:1: its columns, none, are those of no format",
        ),
        (lambda s, d: (d / "old.jsonl").write_text("nonsense\n"), r"old\.jsonl:1: not JSON"),
        (lambda s, d: s.update(held_out=["compare_number"]), "did you mean 'compare_numbers'"),
    ],
)
def test_wrong_data_is_one_line_that_says_where(
    study: dict[str, Any], tmp_path: Path, change: Any, message: str
) -> None:
    change(study, tmp_path)
    with pytest.raises(InputError, match=message) as error:
        load(study)
    assert "\n" not in str(error.value)


def test_a_sample_in_two_splits_is_refused_whatever_its_id(study: dict[str, Any], tmp_path: Path) -> None:
    twin = {**rows("train", 5)[3], "id": "other"}
    write(tmp_path / "new-search.jsonl", [*rows("search", 2), twin])
    with pytest.raises(InputError, match=r"1 sample of new/train in new/search \(1 exact: .*:4 is .*:3\)"):
        load(study)


def test_the_same_question_with_another_answer_or_picture_is_another_sample(
    study: dict[str, Any], tmp_path: Path
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "picture.png")
    first = rows("train", 1)[0]
    write(tmp_path / "new-search.jsonl", [{**first, "answer": "no"}, {**first, "image": "picture.png"}])
    assert len(load(study)[0].search) == 2


def test_a_model_that_takes_no_images_is_found_out_before_anything_starts(
    study: dict[str, Any], tmp_path: Path
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "picture.png")
    write(tmp_path / "old.jsonl", [{"prompt": "cat ?", "answer": "yes", "image": "picture.png"}])
    tasks = load(study)
    assert set(largest_sample(tasks, encoder()).extras) == {"pixel_values"}
    with pytest.raises(ValueError, match=r"^/\S*/old.jsonl:1: it has an image"):
        largest_sample(tasks, Encoder(build_tokenizer()))
