"""Planted leaks: refused or left out, counted, and told wherever a user looks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from made_study import record
from report_texts import render, text_of
from test_near_images import brighter, encoded, scene

from search.cli import main
from search.clusters.study_check import check_study
from search.config import StudyConfig
from search.data.inputs import load_data
from search.data.leakage import Leak
from search.findings.data_findings import data_tags
from search.planning.preparation import prepare
from search.settings.study_file import InputError
from trainables.data.samples import fingerprint

Rows = list[dict[str, str]]


def rows(name: str, n: int) -> Rows:
    return [{"prompt": f"{name} {index} ?", "answer": "yes"} for index in range(n)]


class Planted:
    """A study of a target `new`, a held-out task `old` and a task of replay `more`, in files of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[str, Rows] = {
            name: rows(name, n)
            for name, n in {
                "new-train": 6,
                "new-search": 4,
                "new-confirm": 3,
                "old-search": 4,
                "old-confirm": 2,
                "more-train": 5,
            }.items()
        }
        self.on_leak = "error"
        self.finalists: dict[str, int] | None = None

    def path(self, name: str, row: int) -> str:
        return f"{self.folder / name}.jsonl:{row + 1}"

    def write(self) -> Path:
        for name, each in self.rows.items():
            (self.folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in each))
        tasks: dict[str, dict[str, str]] = {}
        for name in self.rows:
            task, split = name.split("-")
            tasks.setdefault(task, {})[split] = f"{name}.jsonl"
        study = {
            "name": "s",
            "model": {"path": "tiny-llava"},
            "tasks": tasks,
            "targets": ["new"],
            "held_out": ["old"],
            "data": {"on_leak": self.on_leak},
            "space": {"subsets": ["full"], "learning_rate": [1e-4, 1e-3], "replay_ratio": [0.5]},
            "training": {"steps": 4, "batch_size": 2, "replay": ["more"]},
            "search": {"trials": 2},
            "finalists": self.finalists,
        }
        path = self.folder / "study.yaml"
        path.write_text(yaml.safe_dump(study))
        return path

    def config(self) -> StudyConfig:
        from search.settings.study_file import load_study

        return load_study(self.write())


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    """Two samples of the target and one of replay are scored ones; one of them twice."""
    study = Planted(tmp_path)
    study.rows["new-train"][2] = study.rows["old-search"][1]
    study.rows["new-train"][4] = {"prompt": " NEW-confirm 2", "answer": "Yes."}
    study.rows["more-train"][0] = study.rows["new-search"][3]
    study.rows["new-confirm"][0] = study.rows["old-search"][1]
    return study


def test_honest_splits_have_none(tmp_path: Path) -> None:
    data = load_data(Planted(tmp_path).config())
    assert (data.leaks, data.warnings) == ((), ())
    assert [(len(task.train), len(task.search)) for task in data.all] == [(6, 4), (0, 4), (5, 0)]


def test_leaks_are_refused_in_one_line(planted: Planted) -> None:
    with pytest.raises(InputError) as caught:
        load_data(planted.config())
    at, first = planted.path, planted.path("old-search", 1)
    assert str(caught.value) == (
        f"data: 1 sample of new/train in old/search (1 exact: {at('new-train', 2)} is {first}); "
        "2 samples of new/train in new/confirm (1 exact and 1 nearly the same: "
        f"{at('new-train', 2)} is {at('new-confirm', 0)}, {at('new-train', 4)} is {at('new-confirm', 2)}); "
        f"1 sample of more/train in new/search (1 exact: {at('more-train', 0)} is {at('new-search', 3)}). "
        "No model may be trained on what scores it: take these samples out of the training split, or leave "
        "them out with data.on_leak: drop"
    )


def test_dropped_are_the_training_samples_alone(planted: Planted) -> None:
    planted.on_leak = "drop"
    data = load_data(planted.config())
    new, old, more = data.all
    assert [sample.prompt for sample in new.train] == [f"new-train {i} ?" for i in (0, 1, 3, 5)]
    assert [sample.prompt for sample in more.train] == [f"more-train {i} ?" for i in (1, 2, 3, 4)]
    assert [len(new.search), len(old.search)] == [4, 4]
    assert [(leak.train, leak.scored, leak.samples, leak.exact) for leak in data.leaks] == [
        ("new/train", "old/search", 1, 1),
        ("new/train", "new/confirm", 2, 1),
        ("more/train", "new/search", 1, 1),
    ]
    assert data.fingerprints["new/train"] == fingerprint(new.train)
    at = planted.path
    assert data.warnings == (
        f"1 sample of new/confirm in old/search (1 exact: {at('new-confirm', 0)} is {at('old-search', 1)}), "
        "which so confirms less",
    )


class TestWithFinalists:
    """What the search scores confirms nothing."""

    @pytest.fixture
    def study(self, tmp_path: Path) -> Planted:
        """One sample to confirm a task with is scored by the search, and another in another task."""
        study = Planted(tmp_path)
        study.finalists = {}
        study.rows["new-confirm"][1] = study.rows["new-search"][2]
        study.rows["new-confirm"][2] = study.rows["old-search"][0]
        return study

    def test_an_overlap_is_refused_in_one_line(self, study: Planted) -> None:
        with pytest.raises(InputError) as caught:
            load_data(study.config())
        at = study.path
        assert str(caught.value) == (
            f"data: 1 sample of new/confirm in new/search (1 exact: {at('new-confirm', 1)} is "
            f"{at('new-search', 2)}); 1 sample of new/confirm in old/search (1 exact: "
            f"{at('new-confirm', 2)} is {at('old-search', 0)}). What the search has seen confirms nothing: "
            "take these samples out of either split, or leave them out of the confirm split with "
            "data.on_leak: drop"
        )

    def test_or_left_out_of_the_confirm_split(self, study: Planted) -> None:
        study.on_leak = "drop"
        data = load_data(study.config())
        new, old = data.confirm
        assert [sample.prompt for sample in new.search] == ["new-confirm 0 ?"]
        assert [sample.prompt for sample in old.search] == ["old-confirm 0 ?", "old-confirm 1 ?"]
        assert (new.train, len(data.tasks[0].search)) == ((), 4)
        assert data.fingerprints["new/confirm"] == fingerprint(new.search)
        assert [line.endswith("left out of the confirm split") for line in data.warnings] == [True, True]

    def test_what_differs_in_case_and_punctuation_is_no_other_sample(self, study: Planted) -> None:
        study.rows["new-confirm"] = [
            {"prompt": f"  NEW-search {index}", "answer": "Yes."} for index in range(4)
        ]
        found = r"^data: 4 samples of new/confirm in new/search \(4 nearly the same: .*:1 is .*:1, "
        with pytest.raises(InputError, match=found):
            load_data(study.config())
        study.on_leak = "drop"
        with pytest.raises(InputError, match="the search scores every sample of new/confirm, so none"):
            load_data(study.config())

    def test_nor_is_a_re_encoded_image(self, study: Planted, tmp_path: Path) -> None:
        (tmp_path / "one.png").write_bytes(encoded(scene(0).resize((320, 240))))
        copy = encoded(brighter(scene(0)).resize((288, 216)), "JPEG", quality=60)
        (tmp_path / "two.jpg").write_bytes(copy)
        study.rows["new-confirm"] = rows("new-confirm", 3)
        study.rows["old-search"][2] = {"prompt": "how many cats ?", "answer": "2", "image": "one.png"}
        study.rows["new-confirm"][1] = {"prompt": "How many  cats?", "answer": "2", "image": "two.jpg"}
        found = r"^data: 1 sample of new/confirm in old/search \(1 nearly the same: .*:2 is .*:3\)\. "
        with pytest.raises(InputError, match=found):
            load_data(study.config())
        study.on_leak = "drop"
        data = load_data(study.config())
        assert [sample.prompt for sample in data.confirm[0].search] == [
            "new-confirm 0 ?",
            "new-confirm 2 ?",
        ]

    @pytest.mark.parametrize(("near", "refused"), [(1, False), (2, True)])
    def test_one_in_a_hundred_may_be_near_by_chance(self, study: Planted, near: int, refused: bool) -> None:
        """Of 100 samples one is nearly the search's, which is told, or two; a copy is refused alone."""
        study.rows["new-confirm"] = rows("new-confirm", 100)
        for index in range(near):
            study.rows["new-confirm"][index] = {"prompt": f"NEW-search {index}", "answer": "Yes."}
        config = study.config()
        if refused:
            with pytest.raises(InputError, match=r"^data: 2 samples of new/confirm in new/search \(2 nearly"):
                load_data(config)
            return
        data = load_data(config)
        (line,) = data.warnings
        assert line.startswith("1 sample of new/confirm in new/search (1 nearly the same: ")
        assert line.endswith("which so confirms less")
        assert len(data.confirm[0].search) == 100
        study.rows["new-confirm"][0] = study.rows["new-search"][0]
        with pytest.raises(InputError, match=r"^data: 1 sample of new/confirm in new/search \(1 exact"):
            load_data(study.config())

    def test_none_left_is_an_error(self, study: Planted) -> None:
        study.on_leak = "drop"
        study.rows["old-confirm"] = study.rows["new-search"][:2]
        with pytest.raises(InputError, match="the search scores every sample of old/confirm, so none"):
            load_data(study.config())

    def test_without_finalists_no_sample_to_confirm_with_is_kept(self, study: Planted) -> None:
        study.finalists = None
        assert load_data(study.config()).confirm == ()


def test_no_sample_left_is_an_error(planted: Planted) -> None:
    planted.on_leak = "drop"
    planted.rows["new-train"] = planted.rows["old-search"][:3]
    with pytest.raises(InputError, match="each of the 3 samples of new/train is also a scored one, so none"):
        load_data(planted.config())


def test_only_the_first_examples_are_named(planted: Planted) -> None:
    planted.rows["new-train"] = [*planted.rows["old-search"], *rows("new-train", 1)]
    planted.rows["new-confirm"] = rows("new-confirm", 1)
    with pytest.raises(InputError) as caught:
        load_data(planted.config())
    told = str(caught.value).partition(";")[0]
    assert told.startswith("data: 4 samples of new/train in old/search (4 exact: ")
    assert told.endswith(f"{planted.path('new-train', 2)} is {planted.path('old-search', 2)}, ...)")


def test_samples_that_are_not_used_do_not_count(planted: Planted) -> None:
    """Of each split the first samples are taken, and those of the confirm split as of the search split."""
    config = planted.config().model_dump()
    config["training"]["samples"], config["evaluation"]["samples"] = 2, 2
    data = load_data(StudyConfig.model_validate(config))
    assert [(len(task.train), len(task.search)) for task in data.all[:2]] == [(2, 2), (0, 2)]


def test_a_re_encoded_image_is_found(tmp_path: Path) -> None:
    study = Planted(tmp_path)
    (tmp_path / "one.png").write_bytes(encoded(scene(0).resize((320, 240))))
    (tmp_path / "two.jpg").write_bytes(encoded(brighter(scene(0)).resize((288, 216)), "JPEG", quality=60))
    study.rows["new-train"][1] = {"prompt": "how many cats ?", "answer": "2", "image": "one.png"}
    study.rows["old-confirm"][0] = {"prompt": "How many  cats?", "answer": "2", "image": "two.jpg"}
    found = r"^data: 1 sample of new/train in old/confirm \(1 nearly the same: .*:2 is .*:1\)\. "
    with pytest.raises(InputError, match=found):
        load_data(study.config())


def test_what_is_allowed_is_a_warning(tmp_path: Path) -> None:
    study = Planted(tmp_path)
    (tmp_path / "one.png").write_bytes(encoded(scene(0).resize((32, 24))))
    study.rows["new-train"][1] = {"prompt": "how many cats ?", "answer": "2", "image": "one.png"}
    study.rows["new-train"][2] = {"prompt": "how many dogs ?", "answer": "2", "image": "one.png"}
    study.rows["old-search"][0] = {"prompt": "how many birds ?", "answer": "2", "image": "one.png"}
    study.rows["new-train"][5] = study.rows["new-train"][4]
    study.rows["old-search"][3] = study.rows["old-confirm"][1]
    data = load_data(study.config())
    assert not data.leaks
    assert data.warnings == (
        f"1 sample of old/confirm in old/search (1 exact: {study.path('old-confirm', 1)} is "
        f"{study.path('old-search', 3)}), which so confirms less",
        "new/train: 1 sample of 6 repeated from the same split",
        "new/train: 2 samples about an image of old/search, with another question or answer",
    )


def test_the_commands_that_start_nothing_refuse_or_tell(
    planted: Planted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(planted.write())]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("error: data: 1 sample of new/train in old/search (1 exact: ")
    check = check_study(planted.config(), None)
    assert not check.ok
    assert check.detail.startswith("data: 1 sample of new/train in old/search (1 exact: ")

    planted.on_leak = "drop"
    line = "left out: 2 samples of new/train in new/confirm (1 exact and 1 nearly the same: "
    assert main(["plan", str(planted.write())]) == 0
    assert sum(each.startswith(line) for each in capsys.readouterr().out.splitlines()) == 1
    assert main(["plan", str(planted.write()), "--json"]) == 0
    assert [each[: len(line)] for each in json.loads(capsys.readouterr().out)["data"]].count(line) == 1
    check = check_study(planted.config(), None)
    assert check.ok
    assert line in check.detail


def test_a_study_is_prepared_without_them(planted: Planted) -> None:
    planted.on_leak = "drop"
    prepared = prepare(planted.config())
    assert len(prepared.leaks) == 3
    assert [len(task.train) for task in prepared.setup.tasks] == [4, 0]
    assert len(prepared.setup.replay) == 4
    assert "new/confirm" in prepared.data_fingerprints


LEAKS = (
    Leak(train="count/train", scored="shape/confirm", samples=5, exact=2, examples=(("a:1", "<b>:2"),)),
    Leak(train="count/train", scored="count/search", samples=1, exact=0, examples=(("a:3", "c:4"),)),
)


def test_the_report_lists_them() -> None:
    study = dataclasses.replace(record(), leaks=LEAKS)
    assert "Training samples that were left out" in text_of(study)
    assert "count/train shape/confirm 5 2 3 a:1 is <b>:2" in text_of(study)
    assert "count/train count/search 1 0 1 a:3 is c:4" in text_of(study)
    assert "<b>" not in render(study)
    assert "left out" not in text_of(record())


def test_mlflow_has_a_tag_for_each() -> None:
    assert data_tags(LEAKS, ()) == {
        "leaks/count/train in shape/confirm": (
            "5 samples of count/train in shape/confirm (2 exact and 3 nearly the same: a:1 is <b>:2, ...)"
        ),
        "leaks/count/train in count/search": (
            "1 sample of count/train in count/search (1 nearly the same: a:3 is c:4)"
        ),
    }
