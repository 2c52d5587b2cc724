"""What `plan` tells of a study's data, and where pruning leaves too few trials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_study import config

from search.config import StudyConfig
from search.data.inputs import load_data
from search.planning.plan_tables import plan_lines
from search.planning.planned_data import data_text, planned_data


def study(folder: Path, tasks: dict[str, Any]) -> StudyConfig:
    written = config().model_dump(mode="json")
    return StudyConfig.model_validate(
        {**written, "targets": ["lines"], "held_out": ["sums"], "tasks": tasks, "output": str(folder)}
    )


def questions(file: Path, name: str, n: int) -> str:
    rows = [{"question": f"What is {name} {i}?", "answers": [f"{name} {i}"]} for i in range(n)]
    file.write_text("\n".join(map(json.dumps, rows)))
    return str(file)


def test_each_task_has_its_samples_format_and_metric(tmp_path: Path) -> None:
    """Of 12 rows for two splits what one has not the other has; of 5 rows the first 3 are taken."""
    both = questions(tmp_path / "both.jsonl", "held", 12)
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("prompt,completion\n" + "".join(f"{i} + {i},{2 * i}\n" for i in range(5)))
    (tmp_path / "more.csv").write_text("prompt,completion\n1 + 8,9\n7 + 1,8\n")
    tasks = {
        "lines": {
            "train": questions(tmp_path / "train.jsonl", "taught", 7),
            "search": both,
            "confirm": both,
            "metric": "anls",
        },
        "sums": {"search": str(pairs), "confirm": str(tmp_path / "more.csv"), "limit": 3},
    }
    made = study(tmp_path, tasks)
    lines, sums = planned_data(made, load_data(made))
    searched = lines["samples"]["search"]
    assert 0 < searched < 12
    assert lines["samples"] == {"train": 7, "search": searched, "confirm": 12 - searched}
    assert data_text(lines) == (
        f"lines: 7 train, {searched} search, {12 - searched} confirm (search and confirm: one source, "
        "divided between them); question_answer; anls"
    )
    assert data_text(sums) == "sums: 3 search, 2 confirm; prompt_completion; exact_match"


@pytest.mark.parametrize(("complete", "told"), [(2.9, True), (3.0, False)])
def test_few_trials_that_would_reach_the_end_are_warned_of(complete: float, told: bool) -> None:
    plan = {
        "likely_complete": complete,
        "trials": 24,
        "rungs": [50, 400],
        "finalists": None,
        "largest_sample": {"tokens": 1, "found": "so"},
        "machines": [],
        "runs": {"fits": False, "problem": "none"},
    }
    warned = [
        line for line in plan_lines(plan) if "of 24 trials pruning may let only 3 reach step 400" in line
    ]
    assert bool(warned) is told
