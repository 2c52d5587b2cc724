"""Rows of Parquet and Arrow files, whose images stay there until they are asked for."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainables.data.task_spec import Origin
from trainables.sources import stored_cells
from trainables.sources.rows import Row, read_rows
from trainables.sources.stored_cells import StoredCell

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FORMS = ["parquet", "arrow file", "arrow stream", "compressed arrow file"]


def write(folder: Path, form: str, table: pa.Table, rows_per_chunk: int = 3) -> Path:
    if form == "parquet":
        pq.write_table(table, folder / "a.parquet", row_group_size=rows_per_chunk)
        return folder / "a.parquet"
    path = folder / "a.arrow"
    options = pa.ipc.IpcWriteOptions(compression="lz4" if "compressed" in form else None)
    make = pa.ipc.new_stream if "stream" in form else pa.ipc.new_file
    with make(path, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows_per_chunk)
    return path


def read(file: Path) -> list[Row]:
    rows = list(read_rows(Origin(source=str(file))))
    assert all(isinstance(row, Row) for row in rows), rows
    return [row for row in rows if isinstance(row, Row)]


def column(file: Path, name: str) -> list[Any]:
    return [row.values[name] for row in read(file)]


@pytest.mark.parametrize("form", FORMS)
def test_values_and_places(tmp_path: Path, form: str) -> None:
    table = pa.table({"q": [f"q{i}" for i in range(200)], "n": [[i, None] for i in range(200)]})
    file = write(tmp_path, form, table, rows_per_chunk=150)
    rows = read(file)
    assert [row.values for row in rows] == [{"q": f"q{i}", "n": [i, None]} for i in range(200)]
    assert [row.where for row in rows] == [f"{file} row {i}" for i in range(1, 201)]
    assert rows[0].folder == tmp_path


@pytest.mark.parametrize("form", FORMS)
def test_images_are_read_when_they_are_asked_for(tmp_path: Path, form: str) -> None:
    content = [bytes([i]) * 5 for i in range(8)]
    images = pa.array([{"bytes": each, "path": None} for each in content], IMAGE)
    table = pa.table({"image": images, "raw": pa.array(content, pa.large_binary()), "q": ["?"] * 8})
    file = write(tmp_path, form, table)
    rows = read(file)
    for name in ("image", "raw"):
        cells = [row.values[name] for row in rows]
        assert cells == [StoredCell(str(file), i, name) for i in range(8)]
        # In any order, and in another process.
        assert [pickle.loads(pickle.dumps(cells[i])).read() for i in (7, 0, 3, 2)] == [
            content[i] for i in (7, 0, 3, 2)
        ]


@pytest.mark.parametrize("form", FORMS)
def test_a_cell_may_lack_its_image_or_name_a_file(tmp_path: Path, form: str) -> None:
    values = [{"bytes": b"1", "path": "x.png"}, None, {"bytes": None, "path": "y.png"}, {"bytes": b"4"}]
    file = write(
        tmp_path, form, pa.table({"image": pa.array(values, IMAGE), "raw": [b"1", None, b"3", None]})
    )
    first, second, third, fourth = column(file, "image")
    assert (second, third) == (None, "y.png")
    assert (first.read(), fourth.read()) == (b"1", b"4")
    raw = column(file, "raw")
    assert [each and each.read() for each in raw] == [b"1", None, b"3", None]


@pytest.mark.parametrize("form", FORMS)
def test_lists_of_images(tmp_path: Path, form: str) -> None:
    values = [
        [{"bytes": b"1"}, {"bytes": b"2"}],
        [],
        None,
        [{"bytes": None, "path": "z.png"}, {"bytes": b"5"}],
    ]
    file = write(tmp_path, form, pa.table({"images": pa.array(values, pa.list_(IMAGE))}))
    first, second, third, fourth = column(file, "images")
    assert [each.read() for each in first] == [b"1", b"2"]
    assert (second, third) == ([], None)
    assert (fourth[0], fourth[1].read()) == ("z.png", b"5")


def test_a_parquet_file_s_images_are_not_even_looked_at(tmp_path: Path) -> None:
    """Where the images' bytes are overwritten, reading the rows notices nothing; reading an image does."""
    content = b"pixels" * 1000
    table = pa.table({"q": ["a", "b"], "image": pa.array([{"bytes": content}] * 2, IMAGE)})
    pq.write_table(table, tmp_path / "a.parquet", compression="none", use_dictionary=False)
    file = tmp_path / "a.parquet"
    chunk = pq.ParquetFile(file).metadata.row_group(0).column(1)
    assert chunk.path_in_schema == "image.bytes"
    damaged = bytearray(file.read_bytes())
    end = chunk.data_page_offset + chunk.total_compressed_size
    damaged[chunk.data_page_offset : end] = b"\xff" * chunk.total_compressed_size
    file.write_bytes(damaged)
    rows = read(file)
    assert [row.values["q"] for row in rows] == ["a", "b"]
    with pytest.raises(OSError, match=r"no image in row 2 of .*a\.parquet"):
        rows[1].values["image"].read()


def test_few_chunks_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"image": pa.array([{"bytes": bytes([i])} for i in range(12)], IMAGE)})
    file = write(tmp_path, "parquet", table, rows_per_chunk=3)
    cells = column(file, "image")
    counted = []
    own = pq.ParquetFile.read_row_group

    def counting(self: Any, group: int, **options: Any) -> Any:
        counted.append(group)
        return own(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    stored_cells._column.cache_clear()
    assert [cell.read()[0] for cell in cells] == list(range(12))
    assert counted == [0, 1, 2, 3]
    cells[0].read()
    assert counted[-1] == 0  # It had been given up for later ones.


@pytest.mark.parametrize("form", FORMS)
def test_class_labels_come_as_their_names(tmp_path: Path, form: str) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"label": ClassLabel(names=["owl", "jay"]), "n": Value("int64")})
    table = Dataset.from_dict({"label": [1, 0, -1], "n": [1, 0, -1]}, features=features).data.table
    file = write(tmp_path, form, table)
    assert [row.values for row in read(file)] == [
        {"label": "jay", "n": 1},
        {"label": "owl", "n": 0},
        {"label": None, "n": -1},
    ]


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
@pytest.mark.parametrize("content", [b"", b"PAR1" * 9])
def test_a_file_that_is_none(tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(ValueError, match="that can be read: ") as caught:
        read(file)
    assert str(caught.value).startswith(f"{file}: not a")
    assert "\n" not in str(caught.value)
