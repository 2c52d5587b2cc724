"""Thumbnails that are kept: made once, the same afterwards, and only where it pays."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from test_near_images import encoded, scene

from search.data import thumbnails as module
from search.data.thumbnails import FILE, Thumbnails
from trainables.data.samples import ImageSource, image_content


def of(made: Thumbnails, image: ImageSource) -> tuple[bytes, bytes] | None:
    content = image_content(image)
    found = made.of(hashlib.sha256(content).digest(), image, content)
    return None if found is None else (found.light.tobytes(), found.colour.tobytes())


@pytest.fixture
def files() -> list[bytes]:
    return [encoded(scene(seed).resize((64, 48)), "JPEG", quality=90) for seed in range(3)]


def test_what_is_kept_is_not_decoded_again(
    files: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORTH_KEEPING", 2)
    first = Thumbnails(tmp_path / "cache")
    made = [of(first, file) for file in files]
    assert None not in made
    assert len(set(made)) == 3
    first.keep()

    monkeypatch.setattr(module, "thumbnail", None)  # What is decoded from here on is an error.
    second = Thumbnails(tmp_path / "cache")
    assert [of(second, file) for file in files] == made
    with pytest.raises(TypeError):
        of(second, b"another")


def test_files_are_added_to_those_of_before(
    files: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORTH_KEEPING", 1)
    for file in files:
        made = Thumbnails(tmp_path)
        of(made, file)
        made.keep()
    with np.load(tmp_path / FILE) as stored:
        assert stored["digests"].shape == (3, 32)
        assert stored["thumbnails"].shape == (3, 16 * 16 + 4 * 4 * 2)


def test_few_files_pixels_and_what_is_no_image_are_not_worth_a_file(
    files: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORTH_KEEPING", 3)
    made = Thumbnails(tmp_path)
    pixels = [np.full((8, 8, 3), level, np.uint8) for level in range(5)]
    assert None not in [of(made, image) for image in (*files[:2], *pixels)]
    assert [of(made, content) for content in (b"nonsense", b"more")] == [None, None]
    made.keep()
    assert not (tmp_path / FILE).exists()
    of(made, files[2])
    made.keep()
    assert (tmp_path / FILE).exists()


def test_a_folder_that_can_t_be_made_keeps_none(
    files: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORTH_KEEPING", 1)
    (tmp_path / "file").write_text("")
    made = Thumbnails(tmp_path / "file" / "cache")
    assert of(made, files[0]) is not None
    made.keep()
