"""Tasks of files: samples, ids, limits, divided origins, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trainables.data.bad_samples import SampleError
from trainables.data.samples import IMAGE_MARK, SPLITS
from trainables.data.task_spec import Origin, TaskSpec
from trainables.sources.source_task import SourceTask

# `<image>` marks an image, and there is none.
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda text: text.strip() and IMAGE_MARK not in text
)


LACKS = "no column 'completion', which the format prompt_completion needs"
MIXED = "its format is question_answer, and that of the rows before it is prompt_completion"


def task(file: Path | str, **spec: Any) -> SourceTask:
    return SourceTask(spec=TaskSpec(name="birds", origins={"search": Origin(source=str(file))}, **spec))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "search.jsonl"


class TestWrongColumns:
    WRONG = "columns.question: no column 'quesiton': did you mean 'question'?"

    def refusal(self, file: Path, *rows: dict[str, str]) -> ValueError:
        file.write_text("\n".join(map(json.dumps, rows)))
        made = task(file, format="question_answer", columns={"question": ("quesiton",)})
        with pytest.raises(ValueError, match=r"columns\.question: no column 'quesiton'") as error:
            made.load("search")
        return error.value

    def test_where_every_row_lacks_the_column_none_of_them_is_at_fault(self, file: Path) -> None:
        error = self.refusal(file, *({"question": f"p{i}", "answer": "a"} for i in range(3)))
        assert not isinstance(error, SampleError)
        assert str(error) == f"tasks.birds.search: {file}:1: {self.WRONG}"

    def test_a_row_that_lacks_what_others_have_is_itself_at_fault(self, file: Path) -> None:
        error = self.refusal(file, {"question": "p", "answer": "a"}, {"quesiton": "p", "answer": "a"})
        assert isinstance(error, SampleError)
        assert str(error) == f"{file}:1: {self.WRONG}"


class TestJsonLines:
    def test_a_line_is_a_sample(self, file: Path) -> None:
        Image.new("RGB", (4, 4)).save(file.parent / "owl.png")
        file.write_text(
            '{"prompt": "Which bird?", "answer": "owl", "image": "owl.png", "id": 7}\n'
            "\n"
            '{"prompt": "Is it big?", "answer": "no"}\n'
        )
        first, second = task(file).load("search")
        assert (first.id, first.prompt, first.answer) == ("7", "Which bird?", "owl")
        assert first.images == (file.parent / "owl.png",)
        # Without an id the split and the number of the row serve.
        assert (second.id, second.images) == ("search-2", ())
        assert (first.where, second.where) == (f"{file}:1", f"{file}:3")

    @pytest.mark.parametrize(("limit", "count"), [(None, 5), (2, 2), (5, 5), (9, 5)])
    def test_limit_takes_the_first(self, file: Path, limit: int | None, count: int) -> None:
        file.write_text("".join(f'{{"prompt": "p{i}", "answer": "a"}}\n' for i in range(5)))
        assert [s.prompt for s in task(file).load("search", limit)] == [f"p{i}" for i in range(count)]
        # The smaller one of the limits counts.
        own = task(file, limit=3).load("search", limit)
        assert len(own) == min(count, 3)

    @given(pairs=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5), ascii_only=st.booleans())
    def test_any_text_comes_through(
        self, pairs: list[tuple[str, str]], ascii_only: bool, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        file = tmp_path_factory.mktemp("task") / "search.jsonl"
        rows = [{"prompt": prompt, "answer": answer} for prompt, answer in pairs]
        lines = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows)
        file.write_bytes(lines.encode())
        assert [(s.prompt, s.answer) for s in task(file).load("search")] == pairs

    def test_a_line_separator_inside_a_text_ends_no_line(self, file: Path) -> None:
        file.write_text('{"prompt": "one\u2028two\x85", "answer": "a"}\r\n', encoding="utf-8", newline="")
        (sample,) = task(file).load("search")
        assert sample.prompt == "one\u2028two\x85"

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("{", "not JSON: Expecting property name enclosed in double quotes"),
            ("3", "expected an object with named values, got int"),
            ('{"prompt": "p"}', f"{LACKS}; there are: prompt"),
            ('{"prompt": " ", "answer": "a"}', "'prompt' is empty"),
            ('{"question": "p", "answer": "a"}', MIXED),
            (
                '{"prompt": "p", "answer": "a", "image": 3}',
                "an image must be a path, a data URL, base64, or a file's content, got int 3",
            ),
        ],
    )
    def test_a_wrong_line_is_named(self, file: Path, line: str, message: str) -> None:
        file.write_text(f'{{"prompt": "p", "answer": "a"}}\n{line}\n')
        with pytest.raises(ValueError, match=r"search\.jsonl:2: ") as caught:
            task(file).load("search")
        assert str(caught.value) == f"{file}:2: {message}"

    def test_a_missing_image_is_named(self, file: Path) -> None:
        file.write_text('{"prompt": "p", "answer": "a", "image": "gone.png"}')
        with pytest.raises(ValueError, match="no such image") as caught:
            task(file).load("search")
        assert str(caught.value) == f"{file}:1: no such image: {file.parent / 'gone.png'}"

    def test_a_file_that_is_no_image_is_named(self, file: Path) -> None:
        (file.parent / "bad.png").write_text("not a picture")
        file.write_text('{"prompt": "p", "answer": "a", "image": "bad.png"}')
        with pytest.raises(ValueError, match="can't be read") as caught:
            task(file).load("search")
        assert str(caught.value) == (
            f"{file}:1: image {file.parent / 'bad.png'} can't be read: not an image that Pillow knows"
        )

    @pytest.mark.parametrize("content", ["", "\n \n"])
    def test_an_empty_file(self, file: Path, content: str) -> None:
        file.write_text(content)
        with pytest.raises(ValueError, match="no sample") as caught:
            task(file).load("search")
        assert str(caught.value) == f"tasks.birds.search: {file} holds no sample"

    def test_a_missing_file(self, file: Path) -> None:
        with pytest.raises(ValueError, match="no such file") as caught:
            task(file).load("search")
        assert str(caught.value) == f"tasks.birds.search: no such file or folder: {file}"

    def test_a_split_without_a_file(self, file: Path) -> None:
        with pytest.raises(ValueError, match=r"tasks\.birds: no source for the split 'train'"):
            task(file).load("train")

    def test_bytes_that_are_no_text(self, file: Path) -> None:
        file.write_bytes(b'{"prompt": "\xff"}')
        with pytest.raises(ValueError, match="not UTF-8 text: invalid start byte at byte 12"):
            task(file).load("search")

    def test_each_split_has_its_file(self, tmp_path: Path) -> None:
        for name in SPLITS:
            (tmp_path / f"{name}.jsonl").write_text(f'{{"prompt": "{name}", "answer": "a"}}')
        origins = {name: Origin(source=str(tmp_path / f"{name}.jsonl")) for name in SPLITS}
        own = SourceTask(spec=TaskSpec(name="birds", origins=origins))
        assert [own.load(split)[0].prompt for split in SPLITS] == [
            "train",
            "search",
            "confirm",
        ]


def write(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def questions(n: int) -> list[dict[str, Any]]:
    return [{"prompt": f"question {i}?", "answer": "yes"} for i in range(n)]


class TestBadSamples:
    @pytest.fixture
    def mixed(self, file: Path) -> SourceTask:
        good = json.dumps(questions(1)[0])
        file.write_text(f'{good}\nnonsense\n{{"prompt": "p"}}\n{{"prompt": "p", "answer": "a"}}\n')
        return task(file)

    def test_the_first_is_raised(self, mixed: SourceTask) -> None:
        with pytest.raises(SampleError, match=r"search\.jsonl:2: not JSON"):
            mixed.load("search")

    def test_a_list_takes_them(self, mixed: SourceTask, file: Path) -> None:
        bad: list[SampleError] = []
        assert [sample.id for sample in mixed.load("search", bad=bad)] == ["search-1", "search-4"]
        assert [(error.label, error.reason) for error in bad] == [
            (f"{file}:2", "not JSON: Expecting value"),
            (f"{file}:3", f"{LACKS}; there are: prompt"),
        ]

    def test_those_behind_the_last_sample_are_not_met(self, mixed: SourceTask) -> None:
        bad: list[SampleError] = []
        assert len(mixed.load("search", 1, bad)) == 1
        assert bad == []

    def test_nothing_but_bad_ones(self, file: Path) -> None:
        file.write_text("1\n2\n")
        with pytest.raises(
            ValueError, match=r"search: .* holds no sample .*; 2 can't, such as .*:1: expected an"
        ):
            task(file).load("search", bad=[])

    def test_an_id_that_two_have(self, file: Path) -> None:
        write(file, [{**row, "id": name} for row, name in zip(questions(3), "aba", strict=True)])
        with pytest.raises(SampleError) as caught:
            task(file).load("search")
        assert str(caught.value) == f"{file}:3: the id 'a' is also that of {file}:1"
        bad: list[SampleError] = []
        assert [sample.id for sample in task(file).load("search", bad=bad)] == ["a", "b"]
        assert len(bad) == 1


class TestDivision:
    @pytest.fixture
    def divided(self, file: Path) -> SourceTask:
        origin = Origin(source=write(file, questions(200)))
        shares = {"train": 0.7, "search": 0.2, "confirm": 0.1}
        spec = TaskSpec(name="birds", origins=dict.fromkeys(SPLITS, origin), shares=shares)
        return SourceTask(spec=spec)

    def test_every_sample_is_in_one_part(self, divided: SourceTask) -> None:
        parts = [divided.load(split) for split in SPLITS]
        texts = [sample.prompt for part in parts for sample in part]
        assert sorted(texts) == sorted(row["prompt"] for row in questions(200))
        # Binomial: 4 standard deviations are 26, 23 and 17.
        assert [abs(len(part) - n) < d for part, n, d in zip(parts, (140, 40, 20), (26, 23, 17), strict=True)]
        ids = [sample.id for part in parts for sample in part]
        assert len(set(ids)) == 200

    def test_a_bad_row_counts_in_one_part(self, divided: SourceTask, file: Path) -> None:
        file.write_text(file.read_text() + "nonsense\n" * 60)
        bad: dict[str, list[SampleError]] = {split: [] for split in SPLITS}
        for split in SPLITS:
            divided.load(split, bad=bad[split])
        assert sorted(error.label for part in bad.values() for error in part) == sorted(
            f"{file}:{line}" for line in range(201, 261)
        )
        # Binomial of 60: 4 standard deviations of 42, 12 and 6 are 15, 13 and 10.
        assert [
            abs(len(bad[split]) - n) < d
            for split, n, d in zip(SPLITS, (42, 12, 6), (15, 13, 10), strict=True)
        ]

    def test_a_limit_takes_the_first_of_the_part(self, divided: SourceTask) -> None:
        assert divided.load("search", 5) == divided.load("search")[:5]

    def test_splits_of_other_origins_take_no_part(self, file: Path, tmp_path: Path) -> None:
        both = Origin(source=write(file, questions(60)))
        other = Origin(source=write(tmp_path / "confirm.jsonl", questions(9)))
        spec = TaskSpec(
            name="birds",
            origins={"train": both, "search": both, "confirm": other},
            shares={"train": 1, "search": 1, "confirm": 98},
        )
        own = SourceTask(spec=spec)
        assert len(own.load("train")) + len(own.load("search")) == 60
        assert len(own.load("confirm")) == 9

    def test_a_part_without_a_share(self, file: Path) -> None:
        origin = Origin(source=write(file, questions(5)))
        spec = TaskSpec(
            name="birds", origins={"train": origin, "search": origin}, shares={"train": 1, "search": 0}
        )
        with pytest.raises(ValueError, match="holds no sample that falls to this split"):
            SourceTask(spec=spec).load("search")

    def test_samples_about_one_image_that_are_not_parted(self, tmp_path: Path) -> None:
        Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
        rows = [{**row, "image": "a.png"} for row in questions(5)]
        for name, made, what in (("image", rows, "image"), ("text", questions(1) * 5, "question")):
            origin = Origin(source=write(tmp_path / f"{name}.jsonl", made))
            spec = TaskSpec(
                name="birds", origins=dict.fromkeys(SPLITS, origin), shares=dict.fromkeys(SPLITS, 1)
            )
            refused = []
            for split in SPLITS:
                try:
                    assert len(SourceTask(spec=spec).load(split)) == 5
                except ValueError as error:
                    refused.append(str(error))
            assert len(refused) == 2
            assert all(
                told.endswith(
                    "holds no sample that falls to this split: "
                    f"its 5 samples share one {what}, and such samples stay together"
                )
                for told in refused
            )


class TestOnly:
    def test_what_no_row_has_is_told_beside_what_the_first_has(self, file: Path) -> None:
        write(file, [{**row, "year": "2019", "human": False} for row in questions(3)])
        with pytest.raises(ValueError, match="no row") as refused:
            task(file, only={"year": (2020, 2021), "human": (True,)}).load("search")
        assert str(refused.value) == (
            f"tasks.birds.search: {file} holds no row that `only` takes: none of 3 has year 2020 or 2021 and "
            "human true; the first has year '2019', a text and human false, a truth value"
        )

    def test_a_table_of_text_writes_numbers(self, tmp_path: Path) -> None:
        file = tmp_path / "a.csv"
        file.write_text("prompt,answer,year\na,b,2019\nc,d,2020\n")
        (sample,) = task(file, only={"year": (2020,)}).load("search")
        assert sample.prompt == "c"


class TestImagePaths:
    @pytest.mark.parametrize(
        ("image", "message"),
        [
            ("https://example.org/a.png", "images are not fetched: "),
            ("s3://bucket/a.png", "images are not fetched: "),
            ("../a.png", r"image \.\./a\.png lies outside of "),
            ("inside/../../a.png", "lies outside of "),
            ("/etc/hostname", "image /etc/hostname lies outside of "),
            ("link.png", r"image link\.png lies outside of "),
            ("inside", "no such image: "),
        ],
    )
    def test_none_leads_outside(self, tmp_path: Path, image: str, message: str) -> None:
        folder = tmp_path / "data"
        (folder / "inside").mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
        (folder / "link.png").symlink_to(tmp_path / "a.png")
        file = write(folder / "a.jsonl", [{**questions(1)[0], "image": image}])
        with pytest.raises(SampleError, match=message) as caught:
            task(file).load("search")
        assert caught.value.label == f"{file}:1"

    def test_a_snapshot_in_the_hub_s_cache_is_made_of_links(self, tmp_path: Path) -> None:
        cache = tmp_path / "datasets--birds--owls"
        snapshot = cache / "snapshots" / "0123"
        snapshot.mkdir(parents=True)
        (cache / "blobs").mkdir()
        Image.new("RGB", (4, 4)).save(cache / "blobs" / "abcd", format="png")
        (snapshot / "a.png").symlink_to("../../blobs/abcd")
        file = write(snapshot / "a.jsonl", [{**questions(1)[0], "image": "a.png"}])
        (sample,) = task(file).load("search")
        assert sample.images == (snapshot / "a.png",)
        write(snapshot / "a.jsonl", [{**questions(1)[0], "image": "../../../b.png"}])
        with pytest.raises(SampleError, match="lies outside of "):
            task(file).load("search")

    def test_images_may_lie_elsewhere(self, tmp_path: Path) -> None:
        (tmp_path / "pictures").mkdir()
        picture = tmp_path / "pictures" / "a.png"
        Image.new("RGB", (4, 4)).save(picture)
        (tmp_path / "data").mkdir()
        rows = [
            {**row, "image": image} for row, image in zip(questions(2), ("a.png", str(picture)), strict=True)
        ]
        file = write(tmp_path / "data" / "a.jsonl", rows)
        own = task(file, images=str(picture.parent))
        assert [sample.images for sample in own.load("search")] == [(picture,), (picture,)]


def test_several_samples_of_a_row_are_numbered(tmp_path: Path) -> None:
    said = [("user", "a?"), ("assistant", "b"), ("user", "<image> c?"), ("assistant", "d")]
    messages = [{"role": role, "content": text} for role, text in said]
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    origin = Origin(source=write(tmp_path / "a.jsonl", [{"messages": messages, "image": "a.png"}] * 2))
    own = SourceTask(spec=TaskSpec(name="birds", origins={"train": origin}))
    assert [sample.id for sample in own.load("train")] == ["train-1.1", "train-1.2", "train-2.1", "train-2.2"]


class TestNeeds:
    """What a task needs is told where it is missing."""

    NEEDS = "its pictures"

    def test_a_bad_sample(self, file: Path) -> None:
        file.write_text('{"question": "Where?", "answer": "here"}\n')
        needy = task(file, columns={"images": ("image",)}, needs=self.NEEDS)
        with pytest.raises(ValueError, match=f"no column 'image'.*; the task needs {self.NEEDS}$"):
            needy.load("search")
        bad: list[SampleError] = []
        with pytest.raises(ValueError, match=f"1 can't, such as .*; the task needs {self.NEEDS}$"):
            needy.load("search", bad=bad)
        assert [error.label for error in bad] == [f"{file}:1"]
        assert bad[0].reason.endswith(f"; the task needs {self.NEEDS}")

    def test_a_missing_file(self, file: Path) -> None:
        with pytest.raises(ValueError, match=f"no such file or folder: .*; the task needs {self.NEEDS}$"):
            task(file, needs=self.NEEDS).load("search")
