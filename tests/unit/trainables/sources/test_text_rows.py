"""Rows of text files: every value as written, every error with its line, and no row lost beside it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from trainables.data.bad_samples import SampleError
from trainables.data.task_spec import Origin
from trainables.sources.rows import Row, read_rows
from trainables.sources.stored_images import StoredText

ROWS = [{"q": "one", "n": 1}, {"q": "zwei ä", "n": 2}, {"q": "three", "n": None}]
PIXELS = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def read(file: Path) -> list[Row | SampleError]:
    return list(read_rows(Origin(source=str(file))))


def values(file: Path) -> list[Any]:
    rows = read(file)
    assert all(isinstance(row, Row) for row in rows), rows
    return [dict(row.values) for row in rows if isinstance(row, Row)]


def told(file: Path) -> list[str]:
    """Return what stands for each row: its place, or its error."""
    return [
        (row.where if isinstance(row, Row) else str(row)).replace(str(file), file.name) for row in read(file)
    ]


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("a.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS), [1, 2, 3]),
        ("a.jsonl", "\ufeff" + "\r\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS), [1, 3, 5]),
        ("a.json", json.dumps(ROWS), [1, 1, 1]),
        ("a.json", json.dumps(ROWS, indent=1), [2, 6, 10]),
        # An object with one list of objects, among much else.
        ("a.json", json.dumps({"info": {"n": [3]}, "tags": ["x"], "none": [], "data": ROWS}), [1, 1, 1]),
        ("a.json", json.dumps({"data": ROWS, "version": "1]}"}, indent=1), [3, 7, 11]),
        # JSON Lines under another name.
        ("a.json", "".join(json.dumps(row) + "\n" for row in ROWS), [1, 2, 3]),
    ],
)
def test_json(tmp_path: Path, name: str, text: str, lines: list[int]) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8", newline="")
    assert values(file) == ROWS
    assert told(file) == [f"{name}:{line}" for line in lines]
    assert {row.folder for row in read(file) if isinstance(row, Row)} == {tmp_path}


@pytest.mark.parametrize(("name", "comma"), [("a.csv", ","), ("a.tsv", "\t")])
def test_tables(tmp_path: Path, name: str, comma: str) -> None:
    file = tmp_path / name
    lines = ["q;n", '"one; or; ""two""";1', "", '"two', 'lines";', "ä;3"]
    file.write_text("\n".join(lines).replace(";", comma), encoding="utf-8")
    assert values(file) == [
        {"q": f'one{comma} or{comma} "two"', "n": "1"},
        {"q": "two\nlines", "n": None},
        {"q": "ä", "n": "3"},
    ]
    assert told(file) == [f"{name}:2", f"{name}:4", f"{name}:6"]


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("image\n" + "x" * 200_000 + "\n")
    assert [len(row["image"]) for row in values(file)] == [200_000]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "a.jsonl",
            b'{"q": 1}\n{"q": "\xff"}\n[3]\n{"q"\n{"q": 2}\n',
            [
                "a.jsonl:1",
                "a.jsonl:2: not UTF-8 text: invalid start byte at byte 7 of the line",
                "a.jsonl:3: expected an object with named values, got list",
                "a.jsonl:4: not JSON: Expecting ':' delimiter",
                "a.jsonl:5",
            ],
        ),
        (
            "a.json",
            b'[{"q": 1},\n 7,\n {"q": 2}]',
            ["a.json:1", "a.json:2: expected an object with named values, got int", "a.json:3"],
        ),
        (
            "a.csv",
            b'q,n\n1,2\n1\n1,2,3\n\xff,1\n"a"b,1\n3,4\n',
            [
                "a.csv:2",
                "a.csv:3: 1 cells in a table of 2 columns",
                "a.csv:4: 3 cells in a table of 2 columns",
                "a.csv:5: not UTF-8 text",
                "a.csv:6: not CSV: ',' expected after '\"'",
                "a.csv:7",
            ],
        ),
        ("a.csv", b'q,n\n1,2\n"open,3\n', ["a.csv:2", "a.csv:3: not CSV: unexpected end of data"]),
        (
            "a.jsonl",
            b'{"q": "a\\ud800b"}\n{"q\\udfff": 1}\n{"q": "\\ud83e\\udd89"}\n',
            [
                "a.jsonl:1: not UTF-8 text: '\\ud800' in 'a\\ud800b'",
                "a.jsonl:2: not UTF-8 text: '\\udfff' in 'q\\udfff'",
                "a.jsonl:3",
            ],
        ),
        # A byte that is not UTF-8 costs its own object alone.
        (
            "a.json",
            b'[{"q": 1},\n{"q": "caf\xe9"},\n{"q": 2}]',
            ["a.json:1", "a.json:2: not UTF-8 text: '\\udce9' in 'caf\\udce9'", "a.json:3"],
        ),
    ],
)
def test_a_wrong_row_costs_no_other(tmp_path: Path, name: str, content: bytes, expected: list[str]) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    assert told(file) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'[{"q": 1},\n{"q" 2}]', ":2: not JSON: Expecting ':' delimiter"),
        ("a.json", b'[{"q": 1}\n{"q": 2}]', ":2: not JSON: Expecting ',' delimiter"),
        ("a.json", b'[{"q": 1}]\n[{"q": 2}]', ":2: not JSON: Extra data"),
        ("a.json", b'[{"q": 1},', ":1: not JSON: Expecting value"),
        ("a.json", b'{"a": [{"q": 1}], "b"', ":1: not JSON: Expecting ':' delimiter"),
        ("a.json", b"", ":1: not JSON: Expecting a list or an object"),
        ("a.json", b'[{"q": 1},\n\xff{"q": 1}]', ":2: not UTF-8 text: invalid start byte at byte 11"),
        ("a.json", '[{"q": 1}]'.encode("utf-16"), ":1: not UTF-8 text: invalid start byte at byte 0"),
        (
            "a.json",
            b'{"a": [{"q": 1}], "b": [{"q": 1}]}',
            ": expected a list of objects, or an object with one such list, got one with 'a' and 'b'",
        ),
        (
            "a.json",
            b'{"q": [1]}',
            ": expected a list of objects, or an object with one such list, got one with none",
        ),
        ("a.csv", b"q,q\n1,2\n", ":1: columns need names of their own, got 'q'"),
        ("a.csv", b"q,\n1,2\n", ":1: columns need names of their own, got ''"),
    ],
)
def test_a_file_that_can_not_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.") as caught:
        read(file)
    assert str(caught.value) == f"{file}{message}"
    assert not isinstance(caught.value, SampleError)


def test_base64_images_of_json_lines_stay_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    text = base64.b64encode(PIXELS).decode()
    url = f"data:image/png;base64,{text}"
    deep = {"messages": [{"content": [{"type": "image_url", "image_url": {"url": url}}, {"text": "?"}]}]}
    rows = [{"q": "\u20ac", "image": text}, {"images": [url, text]}, deep]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    file.write_text("\ufeff" + lines, encoding="utf-8")
    first, second, third = values(file)
    images = [
        first["image"],
        *second["images"],
        third["messages"][0]["content"][0]["image_url"]["url"],
    ]
    assert all(isinstance(image, StoredText) for image in images)
    assert [image.read() for image in images] == [PIXELS] * 4
    assert third["messages"][0]["content"][1] == {"text": "?"}
    file.unlink()
    with pytest.raises(FileNotFoundError):
        images[0].read()


def test_a_text_that_only_begins_like_an_image_is_told_when_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"image": "iVBORw0KGgo" + "A" * 300 + "%"}) + "\n")
    (row,) = values(file)
    with pytest.raises(OSError, match=r"no base64 image at byte 0 of .*a\.jsonl: not base64: "):
        row["image"].read()


@pytest.mark.parametrize(
    "text",
    [
        "/9j/",
        "/9j/ " * 100,
        "Quite a long text" * 40,
        "data:text/plain,x",
        # What begins like an image may still be a question about one.
        "data:image/png;base64 is the scheme of such texts. " * 10,
        "data:image/png;base64,iVBORw0KGgo holds which bytes?" + "?" * 300,
        "Qkadyr,fen,weth," * 40,
        "SUkq\tand\tother\tbeginnings:\t" * 20,
    ],
)
def test_other_texts_are_left_as_they_are(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"q": text}) + "\n")
    assert values(file) == [{"q": text}]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        # The quote of line 3 is never closed: the two lines behind it may have been rows.
        (
            b'q,n\n1,2\n"open,3\n4,5\n6,7\n',
            [
                "a.csv:2",
                "a.csv:3: not CSV: unexpected end of data; the row goes on to line 5, "
                "as where a quote is not closed",
                "a.csv:4: within the row of line 3, which can't be used",
                "a.csv:5: within the row of line 3, which can't be used",
            ],
        ),
        # It ends where the next quote happens to stand.
        (
            b'q,n\n"open,3\n4,"x"\n6,7\n',
            [
                "a.csv:2: not CSV: ',' expected after '\"'; the row goes on to line 3, "
                "as where a quote is not closed",
                "a.csv:3: within the row of line 2, which can't be used",
                "a.csv:4",
            ],
        ),
        (
            b'q,n\n"open,3\n4,5"\n6,7\n',
            [
                "a.csv:2: 1 cells in a table of 2 columns; the row goes on to line 3, "
                "as where a quote is not closed",
                "a.csv:3: within the row of line 2, which can't be used",
                "a.csv:4",
            ],
        ),
    ],
)
def test_every_line_that_an_open_quote_swallows_counts(
    tmp_path: Path, content: bytes, expected: list[str]
) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(content)
    assert told(file) == expected


class TestNesting:
    """The limit of 100 counts the row's own object."""

    def nested(self, levels: int) -> str:
        return '{"q": ' + "[" * levels + "]" * levels + ', "pad": "' + "x" * 300 + '"}'

    @pytest.mark.parametrize(("levels", "fits"), [(99, True), (100, False), (600, False), (100_000, False)])
    @pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
    def test_a_row_is_nested_within_reason(self, tmp_path: Path, name: str, levels: int, fits: bool) -> None:
        file = tmp_path / name
        lines = ['{"q": 1}', self.nested(levels), '{"q": 2}']
        reason = ": nested too deeply: more than 100 lists and objects within one another"
        expected = [f"{name}:1", f"{name}:2" + ("" if fits else reason), f"{name}:3"]
        if name == "a.jsonl":
            file.write_text("\n".join(lines))
        else:
            file.write_text("[" + ",\n".join(lines) + "]")
        if name == "a.json" and levels == 100_000:
            # Where the object ends is not known, and so not where the next begins.
            with pytest.raises(ValueError, match=r"a\.json:2: not JSON: nested too deeply"):
                read(file)
        else:
            assert told(file) == expected


def test_a_type_of_file_that_is_not_known(tmp_path: Path) -> None:
    file = tmp_path / "a.pkl"
    file.write_bytes(b"")
    with pytest.raises(ValueError, match="unknown type") as caught:
        read(file)
    assert str(caught.value) == (
        f"{file}: unknown type of file '.pkl': expected one of: .jsonl, .json, .csv, .tsv, .parquet, .arrow"
    )
