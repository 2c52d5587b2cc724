"""Tasks: files of the user's own, and the embedded ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trainables import tiny
from trainables.metrics import EXACT_MATCH
from trainables.tasks import EmbeddedTask, FileTask, resolve_tasks

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(str.strip)


def task(file: Path | str, train: str | None = None) -> FileTask:
    return FileTask(name="birds", metric=EXACT_MATCH, train=train, search=str(file))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "search.jsonl"


class TestFileTask:
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
        # Without an id the split and the line number serve.
        assert (second.id, second.images) == ("search-3", ())

    @pytest.mark.parametrize(("limit", "count"), [(None, 5), (0, 0), (2, 2), (5, 5), (9, 5)])
    def test_limit_takes_the_first(self, file: Path, limit: int | None, count: int) -> None:
        file.write_text("".join(f'{{"prompt": "p{i}", "answer": "a"}}\n' for i in range(5)))
        if count == 0:
            with pytest.raises(ValueError, match="holds no sample"):
                task(file).load("search", limit)
        else:
            assert [s.prompt for s in task(file).load("search", limit)] == [f"p{i}" for i in range(count)]

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
            ("3", "expected an object with 'prompt' and 'answer', got int"),
            ('{"prompt": "p"}', "'answer' must be a text that is not empty"),
            ('{"prompt": " ", "answer": "a"}', "'prompt' must be a text that is not empty"),
            ('{"prompt": "p", "answer": 3}', "'answer' must be a text that is not empty"),
            ('{"promt": "p", "answer": "a"}', "unknown key 'promt': did you mean 'prompt'?"),
            ('{"prompt": "p", "answer": "a", "image": 3}', "'image' must be a path, got 3"),
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
        with pytest.raises(ValueError, match="not a readable image") as caught:
            task(file).load("search")
        assert str(caught.value) == f"{file}:1: not a readable image: {file.parent / 'bad.png'}"

    @pytest.mark.parametrize("content", ["", "\n \n"])
    def test_an_empty_file(self, file: Path, content: str) -> None:
        file.write_text(content)
        with pytest.raises(ValueError, match="no sample") as caught:
            task(file).load("search")
        assert str(caught.value) == f"tasks.birds.search: {file} holds no sample"

    def test_a_missing_file(self, file: Path) -> None:
        with pytest.raises(ValueError, match="no such file") as caught:
            task(file).load("search")
        assert str(caught.value) == f"tasks.birds.search: no such file: {file}"

    def test_a_split_without_a_file(self, file: Path) -> None:
        with pytest.raises(ValueError, match=r"tasks\.birds: no file for the split 'train'"):
            task(file).load("train")

    def test_bytes_that_are_no_text(self, file: Path) -> None:
        file.write_bytes(b'{"prompt": "\xff"}')
        with pytest.raises(ValueError, match="not UTF-8 text: invalid start byte at byte 12"):
            task(file).load("search")

    def test_each_split_has_its_file(self, tmp_path: Path) -> None:
        for name in ("train", "search", "confirm"):
            (tmp_path / f"{name}.jsonl").write_text(f'{{"prompt": "{name}", "answer": "a"}}')
        files = {name: str(tmp_path / f"{name}.jsonl") for name in ("train", "search", "confirm")}
        own = FileTask(name="birds", metric=EXACT_MATCH, **files)
        assert [own.load(split)[0].prompt for split in ("train", "search", "confirm")] == [
            "train",
            "search",
            "confirm",
        ]


class TestEmbeddedTask:
    @pytest.mark.parametrize("name", sorted(tiny.TASKS))
    def test_a_limit_is_a_prefix_and_always_the_same(self, name: str) -> None:
        embedded = EmbeddedTask(name=name)
        three, two = embedded.load("search", 3), embedded.load("search", 2)
        assert [s.content_hash() for s in three[:2]] == [s.content_hash() for s in two]
        assert [s.id for s in three[:2]] == [s.id for s in two]
        assert all(sample.prompt and sample.answer for sample in three)

    def test_scores_by_exact_match(self) -> None:
        assert EmbeddedTask(name="digits").metric == EXACT_MATCH


class TestResolveTasks:
    def test_own_tasks_go_first_and_the_order_is_kept(self, file: Path) -> None:
        own = task(file)
        resolved = resolve_tasks(["digits", "birds"], {"birds": own, "bees": own})
        assert resolved == {"digits": EmbeddedTask(name="digits"), "birds": own}
        assert list(resolved) == ["digits", "birds"]

    def test_an_own_task_hides_the_embedded_one_of_its_name(self, file: Path) -> None:
        own = task(file)
        assert resolve_tasks(["digits"], {"digits": own})["digits"] is own

    @pytest.mark.parametrize(("name", "nearest"), [("digitz", "digits"), ("brids", "birds")])
    def test_the_nearest_name_is_offered(self, file: Path, name: str, nearest: str) -> None:
        with pytest.raises(ValueError, match="unknown task") as caught:
            resolve_tasks([name], {"birds": task(file)})
        assert str(caught.value) == f"unknown task {name!r}: did you mean {nearest!r}?"

    def test_every_embedded_task_is_known(self) -> None:
        assert list(resolve_tasks(list(tiny.TASKS), {})) == list(tiny.TASKS)
