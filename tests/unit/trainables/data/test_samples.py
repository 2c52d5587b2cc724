"""Samples: the content hash sees what the model sees, and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.data.samples import Sample, Turn, fingerprint

IMAGE = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
SAMPLE = Sample(id="1", prompt="How many?", answer="3", images=(IMAGE,))

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


def changed(**changes: Any) -> str:
    return dataclasses.replace(SAMPLE, **changes).content_hash()


class TestContentHash:
    def test_the_id_is_left_out(self) -> None:
        assert changed(id="2") == SAMPLE.content_hash()

    @pytest.mark.parametrize(
        "changes",
        [
            {"prompt": "How many"},
            {"answer": "4"},
            {"images": ()},
            {"images": (IMAGE.reshape(4, 2, 3),)},
            {"images": (np.where(IMAGE == 23, 24, IMAGE).astype(np.uint8),)},
            {"images": (IMAGE, IMAGE)},
            {"references": ("3", "three")},
            {"choices": ("3", "4")},
            {"history": (Turn(role="system", text="Be brief."),)},
        ],
    )
    def test_all_else_counts(self, changes: dict[str, Any]) -> None:
        assert changed(**changes) != SAMPLE.content_hash()

    @given(TEXTS, TEXTS, TEXTS, TEXTS)
    def test_texts_do_not_run_into_each_other(self, prompt: str, answer: str, other: str, reply: str) -> None:
        one = Sample(id="", prompt=prompt, answer=answer).content_hash()
        two = Sample(id="", prompt=other, answer=reply).content_hash()
        assert (one == two) == ((prompt, answer) == (other, reply))

    def test_a_zero_byte_does_not_move_the_border(self) -> None:
        one, two = Sample(id="", prompt="\0", answer=""), Sample(id="", prompt="", answer="\0")
        assert one.content_hash() != two.content_hash()

    def test_the_layout_in_memory_does_not_count(self) -> None:
        turned = np.ascontiguousarray(IMAGE.transpose(1, 0, 2)).transpose(1, 0, 2)
        assert not turned.flags["C_CONTIGUOUS"]
        assert changed(images=(turned,)) == SAMPLE.content_hash()

    def test_a_file_counts_by_its_content(self, tmp_path: Path) -> None:
        one, copy, other = (tmp_path / name for name in ("one.png", "copy.png", "other.png"))
        one.write_bytes(b"pixels")
        copy.write_bytes(b"pixels")
        other.write_bytes(b"pixel")
        assert changed(images=(one,)) == changed(images=(copy,)) != changed(images=(other,))

    def test_it_is_the_same_in_every_process(self) -> None:
        text = Sample(id="1", prompt="Say yes.", answer="yes")
        # Of each text its length in bytes and its bytes: sha256 of "|8:Say yes.|3:yes".
        assert text.content_hash() == hashlib.sha256(b"|8:Say yes.|3:yes").hexdigest()


class TestFingerprint:
    def test_order_and_number_count_but_ids_do_not(self) -> None:
        a, b = SAMPLE, dataclasses.replace(SAMPLE, answer="4")
        renamed = dataclasses.replace(SAMPLE, id="9")
        assert fingerprint([a, b]) == fingerprint(iter((renamed, b)))
        assert len({fingerprint(samples) for samples in ([a, b], [b, a], [a], [a, b, b], [])}) == 5
