"""Images of rows in every form, and what is wrong with those that can't be used."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from format_rows import WHERE, one, picture
from PIL import Image

from trainables.data.bad_samples import SampleError
from trainables.formats.row_images import image_source


class Stored:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def read(self) -> bytes:
        return self.content


STORED = Stored(picture(3))
BASE64 = base64.b64encode(picture(3)).decode()


@pytest.mark.parametrize(
    ("value", "source"),
    [
        (picture(3), picture(3)),
        (BASE64, picture(3)),
        ("data:image/png;base64," + BASE64, picture(3)),
        ({"bytes": picture(3), "path": "gone.png"}, picture(3)),
        ({"bytes": BASE64, "path": None}, picture(3)),
        (STORED, STORED),
        ({"bytes": STORED, "path": None}, STORED),
    ],
)
def test_images_without_a_file(value: Any, source: Any) -> None:
    assert image_source(value, None) == source


def test_a_bitmap_in_base64_is_no_path() -> None:
    file = io.BytesIO()
    Image.new("RGB", (9, 9)).save(file, "BMP")
    assert image_source(base64.b64encode(file.getvalue()).decode(), None) == file.getvalue()


@pytest.mark.parametrize("value", [None, "", []])
def test_a_row_may_have_no_image(value: Any) -> None:
    assert one({"prompt": "p", "answer": "a", "image": value}).images == ()


def test_paths_are_relative_to_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    for value in ("a.png", {"bytes": None, "path": "a.png"}):
        assert image_source(value, tmp_path) == tmp_path / "a.png"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("gone.png", r"no such image: .*gone\.png"),
        ("text.png", r"image .*text\.png can't be read: not an image that Pillow knows"),
        ("a" * 3000, "not a path, and base64 of no known kind of image: 'aaaaaaaaaaaa...aaaaaaaaaaaaa'"),
        ("a" * 300 + ".png", r"not the path of an image: .*\.png': File name too long"),
        ("a\0.png", r"not the path of an image: 'a\\x00.png': embedded null byte"),
        ("https://example.org/a.png", "images are not fetched"),
        (b"nothing", "its image can't be read: not an image that Pillow knows"),
        (picture()[:20], "its image can't be read"),
        ("data:image/png;base64,!!!", "not base64"),
        ("data:image/png,abc", "a data URL must hold base64"),
        ({"bytes": None, "path": None}, "an image must be a path, a data URL, base64"),
        (7, "an image must be a path, .* got int 7"),
        (Stored(b"nothing"), "its image can't be read"),
    ],
)
def test_what_is_no_image_is_told_with_its_row(value: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(SampleError, match=f"^{WHERE}: {message}"):
        one({"prompt": "p", "answer": "a", "image": value}, folder=tmp_path)


@pytest.mark.parametrize("written", ['["a.png", "b.png"]', "['a.png', 'b.png']"])
def test_a_table_of_text_writes_several_images_as_a_list(written: str, tmp_path: Path) -> None:
    for shade, name in enumerate(("a.png", "b.png", "[1].png")):
        (tmp_path / name).write_bytes(picture(shade))
    row = {"prompt": "<image> or <image>?", "answer": "a", "images": written}
    assert one(row, folder=tmp_path).images == (tmp_path / "a.png", tmp_path / "b.png")
    # A name that begins like a list is a name.
    row = {"prompt": "p", "answer": "a", "image": "[1].png"}
    assert one(row, folder=tmp_path).images == (tmp_path / "[1].png",)


def test_the_task_s_folder_of_images_comes_before_the_file_s(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(picture())
    row = {"prompt": "p", "answer": "a", "image": "a.png"}
    sample = one(row, folder=tmp_path, images=str(tmp_path / "pictures"))
    assert sample.images == (tmp_path / "pictures" / "a.png",)
