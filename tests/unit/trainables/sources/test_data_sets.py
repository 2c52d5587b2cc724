"""Data sets: folders of files, copies of the hub's repositories, what `save_to_disk` writes; no network."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from hub_server import hub_server
from PIL import Image

from trainables.data.task_spec import Origin
from trainables.sources.rows import Row, read_rows
from trainables.sources.stored_cells import StoredCell

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(cache))
    monkeypatch.setattr(datasets.config, "EXTRACTED_DATASETS_PATH", str(cache / "extracted"))


def read(source: Path | str, mirror: Path | None = None, **origin: Any) -> list[Row]:
    rows = list(read_rows(Origin(source=str(source), **origin), mirror))
    assert all(isinstance(row, Row) for row in rows), rows
    return [row for row in rows if isinstance(row, Row)]


def questions(source: Path | str, mirror: Path | None = None, **origin: Any) -> list[str]:
    return [row.values["q"] for row in read(source, mirror, **origin)]


def refusal(source: Path | str, mirror: Path | None = None, **origin: Any) -> str:
    with pytest.raises(ValueError, match=r"^\S") as caught:
        read(source, mirror, **origin)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(source), "<source>")


def write(file: Path, *names: str) -> None:
    """Write a file of a row for each name, in the type that its end says."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"q": name, "n": index % 2} for index, name in enumerate(names)]
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif file.suffix == ".arrow":
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    elif file.suffix in (".csv", ".tsv"):
        comma = "\t" if file.suffix == ".tsv" else ","
        file.write_text(
            "".join(f"{comma.join(map(str, line))}\n" for line in (("q", "n"), *(r.values() for r in rows)))
        )
    elif file.suffix == ".json":
        file.write_text(json.dumps(rows))
    elif file.suffix == ".gz":
        file.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def card(folder: Path, **metadata: Any) -> None:
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(metadata)}---\nAbout it.\n")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of a hub repository: a card, two configurations, one of them in two files."""
    folder = tmp_path / "clone"
    write(folder / "data" / "train-00000-of-00002.parquet", "a", "b")
    write(folder / "data" / "train-00001-of-00002.parquet", "c")
    write(folder / "data" / "test-00000-of-00001.parquet", "d")
    write(folder / "small" / "all.jsonl", "e")
    text = [{"name": "q", "dtype": "string"}]
    labels = {"class_label": {"names": {"0": "owl", "1": "jay"}}}
    card(
        folder,
        configs=[
            {
                "config_name": "big",
                "data_files": [{"split": name, "path": f"data/{name}-*"} for name in ("train", "test")],
            },
            {"config_name": "small", "data_files": "small/*.jsonl"},
        ],
        dataset_info=[
            {"config_name": "big", "features": [*text, {"name": "n", "dtype": labels}]},
            {"config_name": "small", "features": [*text, {"name": "n", "dtype": "int64"}]},
        ],
    )
    return folder


class TestClone:
    def test_a_split_of_a_configuration(self, clone: Path) -> None:
        rows = read(clone, configuration="big", split="train")
        assert [row.values for row in rows] == [
            {"q": "a", "n": "owl"},
            {"q": "b", "n": "jay"},
            {"q": "c", "n": "owl"},
        ]
        first, second = (clone / "data" / f"train-0000{part}-of-00002.parquet" for part in (0, 1))
        assert [row.where for row in rows] == [f"{first} row 1", f"{first} row 2", f"{second} row 1"]
        assert questions(clone, configuration="big", split="test") == ["d"]

    def test_an_only_split_needs_no_name(self, clone: Path) -> None:
        assert questions(clone, configuration="small") == ["e"]

    def test_the_mirror_comes_before_the_hub(self, clone: Path) -> None:
        copy = clone.parent / "mirror" / "birds" / "owls"
        copy.parent.mkdir(parents=True)
        clone.rename(copy)
        mirror = copy.parents[1]
        assert questions("birds/owls", mirror, configuration="small", revision="v1") == ["e"]
        told = refusal("birds/owls", mirror, configuration="big")
        assert told.startswith(f"{mirror}/<source>: it has the splits train, test")

    @pytest.mark.parametrize(
        ("origin", "message"),
        [
            ({}, "<source>: it has several configurations, name one of them: big, small"),
            ({"configuration": "smal"}, "<source>: no configuration 'smal': did you mean 'small'?"),
            (
                {"configuration": "big"},
                "<source>: it has the splits train, test; "
                "name those that are meant under train, search and confirm",
            ),
            ({"configuration": "big", "split": "tset"}, "<source>: no split 'tset': did you mean 'test'?"),
        ],
    )
    def test_what_is_not_there(self, clone: Path, origin: Any, message: str) -> None:
        assert refusal(clone, **origin) == message

    def test_a_missing_part(self, clone: Path) -> None:
        (clone / "data" / "train-00000-of-00002.parquet").unlink()
        assert refusal(clone, configuration="big", split="train") == (
            "<source>/data/train-*-of-00002: 1 of 2 files are there"
        )

    def test_a_pointer_in_place_of_the_data(self, clone: Path) -> None:
        pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
        (clone / "data" / "test-00000-of-00001.parquet").write_text(pointer)
        assert refusal(clone, configuration="big", split="test") == (
            "<source>/data/test-00000-of-00001.parquet: a pointer of Git LFS; `git lfs pull` fetches the data"
        )

    def test_files_are_read_when_they_are_due(self, clone: Path) -> None:
        (clone / "data" / "train-00001-of-00002.parquet").write_bytes(b"damaged")
        rows = read_rows(Origin(source=str(clone), configuration="big", split="train"))
        assert [row.values["q"] for row in (next(rows), next(rows)) if isinstance(row, Row)] == ["a", "b"]
        with pytest.raises(ValueError, match="not a Parquet file"):
            next(rows)


class TestFolder:
    @pytest.mark.parametrize("end", [".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".jsonl.gz"])
    def test_files_named_by_their_splits(self, tmp_path: Path, end: str) -> None:
        write(tmp_path / f"train{end}", "a", "b")
        write(tmp_path / f"test{end}", "c")
        assert questions(tmp_path, split="train") == ["a", "b"]
        assert questions(tmp_path, split="test") == ["c"]

    def test_all_files_are_one_split_where_their_names_say_none(self, tmp_path: Path) -> None:
        write(tmp_path / "part1.csv", "a")
        write(tmp_path / "part2.csv", "b")
        assert questions(tmp_path) == questions(tmp_path, split="train") == ["a", "b"]

    def test_files_of_several_types(self, tmp_path: Path) -> None:
        write(tmp_path / "more" / "b.csv", "a")
        write(tmp_path / "a.jsonl", "b")
        assert refusal(tmp_path) == (
            "<source>: files of several types, such as a.jsonl and more/b.csv; name one, or keep them apart"
        )

    def test_pickled_data_are_not_read(self, tmp_path: Path) -> None:
        (tmp_path / "train.pkl").write_bytes(b"cos\nsystem\n(S'exit 3'\ntR.")
        assert "No (supported) data files found" in refusal(tmp_path)
        card(tmp_path, configs=[{"config_name": "default", "data_files": "*.pkl"}])
        assert "No (supported) data files found" in refusal(tmp_path)

    def test_other_files_are_not_read(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("a\n")
        assert refusal(tmp_path) == (
            "<source>: its files are read as 'text', expected one of: parquet, arrow, json, csv, imagefolder"
        )

    def test_archives_are_not_read(self, tmp_path: Path) -> None:
        write(tmp_path / "inside" / "a.jsonl", "a")
        shutil.make_archive(str(tmp_path / "data" / "train"), "zip", tmp_path / "inside")
        assert refusal(tmp_path / "data") == "<source>/train.zip: archives are not read; unpack it"

    def test_code_is_not_run(self, tmp_path: Path) -> None:
        (tmp_path / f"{tmp_path.name}.py").write_text("raise SystemExit('it ran')")
        assert "scripts are no longer supported" in refusal(tmp_path)

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        assert "doesn't contain any data files" in refusal(tmp_path)

    def test_a_card_that_is_none(self, tmp_path: Path) -> None:
        write(tmp_path / "a.jsonl", "a")
        (tmp_path / "README.md").write_text("---\nconfigs: [\n---\n")
        assert refusal(tmp_path).startswith("<source>: ")


class TestImageFolder:
    @pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
    def test_a_metadata_file(self, tmp_path: Path, name: str) -> None:
        Image.new("RGB", (3, 3)).save(tmp_path / "a.png")
        rows = {
            "metadata.jsonl": '{"file_name": "a.png", "q": "?"}\n',
            "metadata.csv": "file_name,q\na.png,?\n",
        }
        (tmp_path / name).write_text(rows[name])
        (row,) = read(tmp_path)
        assert (row.values, row.folder) == ({"image": "a.png", "q": "?"}, tmp_path)

    def test_folders_are_labels(self, tmp_path: Path) -> None:
        for label in ("jay", "owl"):
            (tmp_path / label).mkdir()
            Image.new("RGB", (3, 3)).save(tmp_path / label / "a.png")
        rows = read(tmp_path)
        assert [row.values for row in rows] == [{"image": "a.png", "label": name} for name in ("jay", "owl")]
        assert [row.folder for row in rows] == [tmp_path / "jay", tmp_path / "owl"]


class TestSaved:
    @pytest.fixture
    def saved(self) -> Dataset:
        features = Features(
            {"q": Value("string"), "label": ClassLabel(names=["owl", "jay"]), "image": datasets.Image()}
        )
        images = [{"bytes": bytes([i]), "path": None} for i in range(5)]
        rows = {"q": list("abcde"), "label": [0, 1, 0, 1, 0], "image": images}
        return Dataset.from_dict(rows, features=features)

    def test_a_set(self, saved: Dataset, tmp_path: Path) -> None:
        # Rows that were selected and shuffled, and several files.
        saved.select([4, 2, 1]).save_to_disk(str(tmp_path / "set"), num_shards=2)
        rows = read(tmp_path / "set")
        said = [(row.values["q"], row.values["label"]) for row in rows]
        assert said == [("e", "owl"), ("c", "owl"), ("b", "jay")]
        images = [row.values["image"] for row in rows]
        assert all(isinstance(image, StoredCell) for image in images)
        assert [image.read() for image in images] == [b"\4", b"\2", b"\1"]

    def test_splits(self, saved: Dataset, tmp_path: Path) -> None:
        parts = DatasetDict({"train": saved.select([0, 1]), "test": saved.select([2])})
        parts.save_to_disk(str(tmp_path / "sets"))
        assert questions(tmp_path / "sets", split="train") == ["a", "b"]
        assert refusal(tmp_path / "sets").startswith("<source>: it has the splits train, test; name those")
        assert refusal(tmp_path / "sets", split="tests") == "<source>: no split 'tests': did you mean 'test'?"

    def test_a_set_has_no_splits(self, saved: Dataset, tmp_path: Path) -> None:
        saved.save_to_disk(str(tmp_path / "set"))
        assert refusal(tmp_path / "set", split="test") == (
            "<source>: it has no splits, and so none named 'test'"
        )


def test_a_saved_data_set_has_no_configuration(tmp_path: Path) -> None:
    Dataset.from_list([{"q": "a"}]).save_to_disk(str(tmp_path / "saved"))
    assert questions(tmp_path / "saved") == ["a"]
    assert refusal(tmp_path / "saved", configuration="x") == (
        "<source>: a saved data set has no configuration 'x'; null takes away a card's"
    )


def test_a_file_has_no_splits(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "a")
    assert refusal(tmp_path / "a.csv", split="test") == (
        "<source>: one file has no split 'test'; without `source` splits are files, and with train, search "
        "and confirm null it is divided between them"
    )


@pytest.mark.parametrize(("key", "value"), [("configuration", "english"), ("revision", "2f1a9c0")])
def test_a_file_has_no_configuration_and_no_revision(tmp_path: Path, key: str, value: str) -> None:
    write(tmp_path / "a.csv", "a")
    assert refusal(tmp_path / "a.csv", **{key: value}) == (
        f"<source>: one file has no {key} {value!r}; null takes away a card's"
    )


def test_a_folder_has_no_revision(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "a")
    assert refusal(tmp_path, revision="2f1a9c0") == (
        "<source>: a folder on this machine has no revision '2f1a9c0'"
    )


@pytest.mark.parametrize("source", ["/nowhere/owls", "../nowhere/owls", "a/b/c"])
def test_a_path_that_leads_nowhere(source: str) -> None:
    assert refusal(source) == "no such file or folder: <source>"


def test_the_nearest_name_beside_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    write(tmp_path / "trian.jsonl", "a")
    assert refusal(tmp_path / "train.jsonl") == (
        "no such file or folder: <source>; did you mean 'trian.jsonl'?"
    )
    assert refusal(tmp_path / "t*.jsonl") == (
        "no such file or folder: <source>; * and ? are no patterns: name a folder"
    )


SCRIPT = """
import sys, time
import datasets
from trainables.sources.rows import read_rows
from trainables.data.task_spec import Origin
start = time.monotonic()
for wanted in sys.argv[1:]:
    split, count = wanted.split(":")
    try:
        rows = read_rows(Origin(source="birds/owls", configuration="big", split=split))
        for _ in range(int(count)):
            row = next(rows)
            print(row.where, *row.values.values())
    except ValueError as error:
        print(error)
print(time.monotonic() - start)
"""


def in_process(*wanted: str, **environment: str) -> list[str]:
    """Read a data set of the hub in a process of its own, for the libraries read their settings once."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *wanted],
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


class TestHub:
    @pytest.mark.parametrize("setting", ["HF_HUB_OFFLINE=1", "HF_ENDPOINT=http://127.0.0.1:9"])
    def test_one_out_of_reach_is_told_at_once(self, tmp_path: Path, setting: str) -> None:
        key, _, value = setting.partition("=")
        message, seconds = in_process("train:1", HF_HOME=str(tmp_path), **{key: value})
        assert float(seconds) < 10
        assert message.startswith("birds/owls: no file or folder here, and the hub can't be reached: ")
        assert message.endswith("; a copy of the data set can lie at <data.mirror>/birds/owls")

    def test_files_are_fetched_when_they_are_due_and_then_kept(self, clone: Path, tmp_path: Path) -> None:
        home = tmp_path / "home"
        first, second = (f"data/train-0000{part}-of-00002.parquet" for part in (0, 1))
        with hub_server("birds/owls", clone) as (address, fetched):
            *told, _ = in_process(
                "train:2", "test:1", "train:3", "no:1", HF_HOME=str(home), HF_ENDPOINT=address
            )
        assert told == [
            f"birds/owls/{first} row 1 a owl",
            f"birds/owls/{first} row 2 b jay",
            "birds/owls/data/test-00000-of-00001.parquet row 1 d owl",
            f"birds/owls/{first} row 1 a owl",
            f"birds/owls/{first} row 2 b jay",
            f"birds/owls/{second} row 1 c owl",
            "birds/owls: no split 'no': expected one of: test, train",
        ]
        assert fetched == ["README.md", first, "data/test-00000-of-00001.parquet", second]
        *rows, _ = in_process("train:3", HF_HOME=str(home), HF_HUB_OFFLINE="1")
        assert [row.partition(" row ")[2] for row in rows] == ["1 a owl", "2 b jay", "1 c owl"]
        # What is not the whole set may not pass for it.
        next(home.rglob("train-00001-of-00002.parquet")).unlink()
        refused, _ = in_process("train:3", HF_HOME=str(home), HF_HUB_OFFLINE="1")
        assert "data/train-*-of-00002: 1 of 2 files are there; the hub can't be reached" in refused

    def test_one_that_the_hub_does_not_have(self, clone: Path, tmp_path: Path) -> None:
        with hub_server("birds/jays", clone) as (address, _):
            message, _ = in_process("train:1", HF_HOME=str(tmp_path / "home"), HF_ENDPOINT=address)
        assert message.startswith("birds/owls: no file or folder here, and the hub refuses it: 404 ")
