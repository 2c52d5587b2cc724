"""Pointers to checkpoints, as they are read back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trainables.pointer import Pointer

WHOLE = Pointer("/a/step.safetensors", "00", 7, "/a/step.optimizer.safetensors", "01", 4, {"seconds": 1.5})


def test_comes_back_as_it_was_written() -> None:
    for pointer in (WHOLE, Pointer("/a", "00", 0)):
        assert Pointer.from_dict(json.loads(json.dumps(pointer.to_dict()))) == pointer


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"path": 5}, "path must be text, got 5"),
        ({"path": None}, "path must be text, got None"),
        ({"sha256": ["00"]}, r"sha256 must be text, got \['00'\]"),
        ({"step": "7"}, "step must be a whole number, got '7'"),
        ({"step": 7.5}, "step must be a whole number, got 7.5"),
        ({"step": True}, "step must be a whole number, got True"),
        ({"step": -1}, "step must not be below 0 nor micro_batch_size below 1"),
        ({"micro_batch_size": "4"}, "micro_batch_size must be a whole number or null, got '4'"),
        ({"micro_batch_size": 0}, "step must not be below 0 nor micro_batch_size below 1"),
        ({"optimizer": 1}, "optimizer must be text or null, got 1"),
        ({"spent": [1]}, r"spent must be an object of numbers, got \[1\]"),
        ({"spent": {"seconds": "1"}}, "seconds spent must be a number, got '1'"),
        ({"stepp": 1}, "expected one of path, sha256, step, .*, got 'stepp'"),
    ],
)
def test_what_is_no_pointer_is_refused_with_the_field(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^checkpoint: {message}"):
        Pointer.from_dict({**WHOLE.to_dict(), **changed})


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ValueError, match=r"^checkpoint: sha256 is missing$"):
        Pointer.from_dict({"path": "/a", "step": 1})
