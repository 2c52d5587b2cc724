"""A tuned model beside its base, in print and as JSON."""

from __future__ import annotations

import io

from made_study import BASE, GOOD, config, evaluation
from rich.console import Console

from search.reuse.comparison import compare
from search.reuse.comparison_tables import comparison_json, comparison_tables

STUDY = config()
COMPARED = compare(
    STUDY,
    "search",
    {task: evaluation(task, value, 100) for task, value in BASE.items()},
    {task: evaluation(task, value, 100) for task, value in GOOD.items()},
)


def printed(tuned: str | None) -> str:
    console = Console(file=io.StringIO(), width=120)
    for table in comparison_tables(STUDY, COMPARED, tuned=tuned):
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_tables_name_each_task_with_its_size_and_error() -> None:
    """Of 100 samples 10 are right: variance 100^2 x 0.1 x 0.9 x 100 / 99 = 909.1, error 3.015."""
    text = printed("tuned")
    (count,) = (line for line in text.splitlines() if "count" in line)
    assert "│ target" in count
    assert "│ 100 │ 10.0 ± 3.0 │ 40.0 ± 4.9 │ +30.0 [+" in count
    (score,) = (line for line in text.splitlines() if "│ score" in line)
    assert "+22.0 [+" in score
    alone = printed(None)
    assert "10.0 ± 3.0" in alone
    assert "40.0" not in alone
    assert "score" not in alone


def test_the_json_has_the_same_numbers() -> None:
    plain = comparison_json(STUDY, COMPARED)
    assert (plain["split"], plain["confidence"]) == ("search", 0.95)
    assert (plain["target_gain"]["value"], plain["held_out_forgetting"]["value"]) == (25.0, 3.0)
    count = plain["tasks"]["count"]
    assert (count["role"], count["n"], count["base"], count["tuned"]) == ("target", 100, 10.0, 40.0)
    assert abs(count["base_stderr"] - 3.015) < 1e-3
    assert count["change"]["low"] < 30.0 < count["change"]["high"]
    single = compare(STUDY, "search", *({t: evaluation(t, 100.0, 1) for t in BASE} for _ in range(2)))
    assert comparison_json(STUDY, single)["tasks"]["count"]["base_stderr"] is None
