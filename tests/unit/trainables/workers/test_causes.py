from __future__ import annotations

import pytest

from trainables.workers.causes import LONGEST, cause_of


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("Traceback:\n  line 1\nValueError: no such model\n", "ValueError: no such model"),
        ("", "RuntimeError"),
        ("x" * LONGEST, "x" * LONGEST),
        ("first\n" + "x" * LONGEST + "yz", "x" * LONGEST + "... (Ray's logs have the rest)"),
    ],
)
def test_the_cause_is_one_line_of_bounded_length(text: str, cause: str) -> None:
    assert cause_of(RuntimeError(text)) == cause
