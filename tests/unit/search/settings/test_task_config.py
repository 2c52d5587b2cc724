from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from search.settings.task_config import TaskConfig


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ({"type": "image"}, {"type": ("image",)}),
        ({"type": ["image", "multi"]}, {"type": ("image", "multi")}),
        ({"year": 2024, "human": True}, {"year": (2024,), "human": (True,)}),
    ],
)
def test_only_takes_a_value_or_several(written: Any, values: Any) -> None:
    assert TaskConfig.model_validate({"only": written}).only == values


@pytest.mark.parametrize("written", [{"type": []}, {"type": None}, {"type": 0.5}, ["type"]])
def test_only_takes_nothing_else(written: Any) -> None:
    with pytest.raises(ValidationError):
        TaskConfig.model_validate({"only": written})


def test_an_empty_stop_would_end_every_answer_at_once() -> None:
    with pytest.raises(ValidationError, match="at least 1 character"):
        TaskConfig.model_validate({"decoding": {"stop": ["\n", ""]}})


def test_what_is_known_of_the_data_may_be_little() -> None:
    about = TaskConfig.model_validate({"about": {"title": "Birds", "size": {"train": "unknown"}}}).about
    assert about is not None
    assert about.licence == "unknown"
    assert about.size == {"train": "unknown"}


def test_a_size_is_a_count() -> None:
    with pytest.raises(ValidationError, match="size"):
        TaskConfig.model_validate({"about": {"title": "Birds", "size": {"train": 0}}})
