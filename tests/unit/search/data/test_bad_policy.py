"""Samples that can't be used stop a study, or are left out, counted and told, up to a share."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from made_study import record
from PIL import Image
from rich.console import Console
from tiny_models import save_llava

from search.config import StudyConfig
from search.data.bad_policy import check_bad
from search.data.encoding import encode_once
from search.data.inputs import load_data
from search.findings.data_findings import bad_csv, bad_rows, data_lines, data_tags
from search.planning.preparation import Prepared, prepare
from search.report import render_report
from search.selection import select
from search.settings.study_file import InputError
from search.settings.task_config import DataConfig
from trainables.data.bad_samples import BadSample
from trainables.data.encoded_set import EncodedSet
from trainables.data.samples import Split, fingerprint
from trainables.workers.jobs import REPLAY

SKIP = {"on_bad_sample": "skip", "max_bad_share": 0.25}


def bad(number: int, task: str = "new", split: Split = "train", reason: str = "not JSON") -> BadSample:
    return BadSample(task=task, split=split, label=f"{task}.jsonl:{number}", reason=reason)


def write(path: Path, name: str, n: int, *spoilt: Any) -> str:
    """Write `n` samples, after the second of which come rows that are spoilt."""
    lines = [json.dumps({"prompt": f"{name} {index} ?", "answer": str(index)}) for index in range(n)]
    lines[2:2] = [each if isinstance(each, str) else json.dumps(each) for each in spoilt]
    path.write_text("\n".join(lines))
    return str(path)


def study(folder: Path, **sections: Any) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "name": "s",
            "model": {"path": str(folder / "model")},
            "targets": ["new"],
            "held_out": ["old"],
            "space": {"subsets": ["full"], "learning_rate": [1e-4, 1e-3]},
            "training": {"steps": 4, "batch_size": 2},
            "finalists": None,
            "search": {"trials": 2},
            "output": str(folder / "runs"),
            "data": SKIP,
            **sections,
        }
    )


class TestShare:
    def test_up_to_the_share_samples_are_left_out(self) -> None:
        """One of four is a quarter; two of seven are more."""
        check_bad(DataConfig(**SKIP), [bad(1)], {"new/train": 3})
        with pytest.raises(InputError) as error:
            check_bad(DataConfig(**SKIP), [bad(1), bad(5, reason="empty")], {"new/train": 5})
        assert str(error.value) == (
            "data.max_bad_share: 0.25 may be left out, and 2 of 7 samples of new/train can't be used: "
            "new.jsonl:1: not JSON; new.jsonl:5: empty"
        )

    def test_splits_count_alone_and_the_first_reasons_are_told(self) -> None:
        many = [bad(number, "old", "search") for number in range(1, 6)]
        with pytest.raises(InputError) as error:
            check_bad(DataConfig(**SKIP), [bad(9), *many], {"new/train": 100, "old/search": 5})
        assert "new/train" not in str(error.value)
        assert "5 of 10 samples of old/search" in str(error.value)
        assert str(error.value).endswith("old.jsonl:3: not JSON; and 2 more")

    def test_by_default_the_first_stops_the_study(self) -> None:
        with pytest.raises(InputError, match=r"^new/train: new\.jsonl:4: not JSON; to leave out .*=skip$"):
            check_bad(DataConfig(), [bad(4), bad(5)], {"new/train": 1000})

    def test_without_bad_samples_nothing_is_refused(self) -> None:
        check_bad(DataConfig(), [], {"new/train": 0})


class TestLoading:
    def tasks(self, folder: Path) -> dict[str, Any]:
        Image.new("RGB", (4, 4)).save(folder / "small.png")
        return {
            "new": {
                "train": write(folder / "train.jsonl", "train", 7, "{"),
                "search": write(folder / "search.jsonl", "search", 7, {"prompt": "p", "answer": "many"}),
                "confirm": write(folder / "confirm.jsonl", "confirm", 7, {"prompt": "p"}),
                "metric": "numeric",
            },
            "old": {"search": write(folder / "old.jsonl", "old", 7)},
        }

    def test_what_can_not_be_used_is_left_out_and_kept_in_mind(self, tmp_path: Path) -> None:
        data = load_data(study(tmp_path, tasks=self.tasks(tmp_path)))
        new, old = data.tasks
        assert [len(part) for part in (new.train, new.search, old.search)] == [7, 7, 7]
        assert [(each.task, each.split, Path(each.label).name) for each in data.bad] == [
            ("new", "train", "train.jsonl:3"),
            ("new", "search", "search.jsonl:3"),
            ("new", "confirm", "confirm.jsonl:3"),
        ]
        reasons = [each.reason for each in data.bad]
        assert reasons[0].startswith("not JSON")
        assert reasons[1] == "the metric 'numeric' does not fit: it reads a number, and the answer is 'many'"
        assert "no column 'completion'" in reasons[2]

    @pytest.mark.parametrize("split", ["train", "search", "confirm"])
    def test_a_split_with_too_many_is_refused(self, split: str, tmp_path: Path) -> None:
        tasks = self.tasks(tmp_path)
        spoilt = ["{", "[]", '"x"']
        tasks["new"][split] = write(tmp_path / f"{split}.jsonl", split, 7, *spoilt)
        with pytest.raises(InputError, match=rf"and 3 of 10 samples of new/{split} can't be used: .*:3: "):
            load_data(study(tmp_path, tasks=tasks))

    def test_by_default_the_file_and_row_are_named(self, tmp_path: Path) -> None:
        config = study(tmp_path, tasks=self.tasks(tmp_path), data={})
        with pytest.raises(InputError, match=r"^\S+train\.jsonl:3: not JSON: .*; to leave out .*=skip$"):
            load_data(config)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llava(tmp_path_factory.mktemp("model") / "llava")


class TestEncoding:
    """The image of each 13th row has a header and no content, which the encoder is the first to see."""

    def prepared(self, model: Path, folder: Path, **data: Any) -> Prepared:
        tasks = {}
        for name, splits in {"new": ("train", "search"), "old": ("search",), "more": ("train",)}.items():
            tasks[name] = {split: self.images(folder, f"{name}-{split}") for split in splits}
        return prepare(
            study(
                folder,
                tasks=tasks,
                model={"path": str(model)},
                data=data or SKIP,
                space={"subsets": ["full"], "learning_rate": [1e-4, 1e-3], "replay_ratio": [0.5]},
                training={"steps": 4, "batch_size": 4, "replay": ["more"]},
                evaluation={"batch_size": 2},
            )
        )

    def images(self, folder: Path, name: str) -> str:
        lines = []
        for index in range(20):
            path = folder / f"{name}-{index}.png"
            Image.effect_noise((16, 16), 50 + index).convert("RGB").save(path)
            if index == 12:
                path.write_bytes(path.read_bytes()[:300])
            lines.append(json.dumps({"prompt": f"{name} {index} ?", "answer": "yes", "image": path.name}))
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
        return str(folder / f"{name}.jsonl")

    def test_what_can_not_be_encoded_is_left_out(self, model: Path, tmp_path: Path) -> None:
        before = self.prepared(model, tmp_path)
        for _ in range(2):  # The second time the encoded samples are found on storage.
            after = encode_once(before, Console(quiet=True))
            assert [(each.task, each.split, Path(each.label).name) for each in after.bad] == [
                ("new", "train", "new-train.jsonl:13"),
                ("new", "search", "new-search.jsonl:13"),
                ("old", "search", "old-search.jsonl:13"),
                ("more", "train", "more-train.jsonl:13"),
            ]
            assert all("can't be read" in each.reason for each in after.bad)
            setup = after.setup
            new, old = setup.tasks
            assert [len(each) for each in (new.train, new.search, old.search, setup.replay)] == [19] * 4
            assert "new-train 12 ?" not in [sample.prompt for sample in new.train]
            assert "more-train 12 ?" not in [sample.prompt for sample in setup.replay]
            sizes = {name: len(EncodedSet.open(Path(folder))) for name, folder in setup.encoded.items()}
            assert sizes == dict.fromkeys(("new/train", "new/search", "old/search", REPLAY), 19)
            # A base that was evaluated on other samples is another.
            prints = after.data_fingerprints
            assert prints["old/search"] == fingerprint(old.search) != before.data_fingerprints["old/search"]
            assert prints["more/train"] == fingerprint(setup.replay)

    def test_too_many_are_refused(self, model: Path, tmp_path: Path) -> None:
        before = self.prepared(model, tmp_path, on_bad_sample="skip", max_bad_share=0.04)
        with pytest.raises(InputError, match=r"0\.04 may be left out, and 1 of 20 samples of new/train"):
            encode_once(before, Console(quiet=True))


class TestFindings:
    BAD = (bad(3), bad(9, reason="'prompt' is empty"), bad(4, "old", "search", "<b>no</b>, image"))

    def test_one_line_a_split_is_told(self) -> None:
        assert data_lines((), ("two are alike",), self.BAD) == [
            "warning: left out, since bad: 2 samples of new/train: new.jsonl:3: not JSON; "
            "new.jsonl:9: 'prompt' is empty",
            "warning: left out, since bad: 1 sample of old/search: old.jsonl:4: <b>no</b>, image",
            "warning: two are alike",
        ]

    def test_mlflow_has_a_tag_a_split(self) -> None:
        tags = data_tags((), self.BAD)
        assert list(tags) == ["bad/new/train", "bad/old/search"]
        assert tags["bad/new/train"].startswith("2 samples: new.jsonl:3: not JSON; ")

    def test_the_table_has_a_row_for_each(self) -> None:
        rows = list(csv.DictReader(bad_csv(self.BAD).splitlines()))
        assert [row["sample"] for row in rows] == ["new.jsonl:3", "new.jsonl:9", "old.jsonl:4"]
        assert rows[2] == {
            "task": "old",
            "split": "search",
            "sample": "old.jsonl:4",
            "reason": "<b>no</b>, image",
        }

    def test_the_report_counts_and_lists_them(self) -> None:
        made = record()
        assert "Samples that can't be used" not in render_report(made, select(made.trials, made.objective))
        page = render_report(record(bad=self.BAD), select(made.trials, made.objective))
        assert re.findall(r"<h3>(\S+/\S+): (\d+)</h3>", page) == [("new/train", "2"), ("old/search", "1")]
        assert "new.jsonl:9" in page
        assert "&lt;b&gt;no&lt;/b&gt;, image" in page

    def test_the_report_lists_the_first_hundred(self) -> None:
        (row,) = bad_rows([bad(number) for number in range(130)])
        assert (row["samples"], row["more"]) == (130, 30)
        assert isinstance(row["listed"], list)
        assert len(row["listed"]) == 100
