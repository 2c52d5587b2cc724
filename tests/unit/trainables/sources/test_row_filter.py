from __future__ import annotations

from typing import Any

import pytest

from trainables.data.bad_samples import SampleError
from trainables.sources.row_filter import is_wanted

ROW: dict[str, Any] = {
    "data_type": "image",
    "year": 2024,
    "human": True,
    "one": 1,
    "text": "2020",
    "yes": "True",
}


@pytest.mark.parametrize(
    ("only", "wanted"),
    [
        ({}, True),
        ({"data_type": ("image",)}, True),
        ({"data_type": ("video",)}, False),
        ({"data_type": ("video", "image")}, True),
        ({"data_type": ("image",), "year": (2023,)}, False),
        ({"year": ("2024",)}, False),
        ({"human": (True,)}, True),
        # To Python True is 1.
        ({"human": (1,)}, False),
        ({"one": (True,)}, False),
        ({"one": (1,)}, True),
        # Tables of text have texts alone.
        ({"text": (2020,)}, True),
        ({"text": (2021, 2020)}, True),
        ({"text": (202,)}, False),
        ({"yes": (True,)}, True),
        ({"yes": (False,)}, False),
    ],
)
def test_a_row_needs_an_allowed_value_in_every_column(only: Any, wanted: bool) -> None:
    assert is_wanted(ROW, only, "rows.jsonl:3") is wanted


def test_a_row_without_the_column_is_named() -> None:
    with pytest.raises(SampleError) as caught:
        is_wanted(ROW, {"data_tpye": ("image",)}, "rows.jsonl:3")
    assert str(caught.value) == (
        "rows.jsonl:3: no column 'data_tpye', which `only` names: did you mean 'data_type'?"
    )
