from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
from made_study import GOOD, MODEST, config, estimates, finalist, record, trial
from rich.console import Console

from search.findings.summary import render_summary, turn_rounds
from search.records.study_folder import StudyFolder
from search.results import TrialResult, TrialState
from search.runner import Outcome
from search.selection import select


def timed(number: int, seconds: float) -> TrialResult:
    """Return a complete trial whose group took this long to turn round."""
    made = trial(number, [{"count": 30.0 + number}])
    (rung,) = made.rungs
    metrics = {**rung.metrics, "cost/turn_round_seconds": seconds}
    return dataclasses.replace(made, rungs=(dataclasses.replace(rung, metrics=metrics),))


def shown(
    *trials: TrialResult,
    folder: Path = Path("/elsewhere/runs/made"),
    uri: str = "sqlite:///mlflow.db",
    **known: Any,
) -> str:
    made = config()
    made = made.model_copy(update={"tracking": made.tracking.model_copy(update={"uri": uri})})
    study = record(trials, seconds=83.4, study=made)
    study = dataclasses.replace(study, confirm_base=study.base)
    outcome = Outcome(
        record=study,
        selection=dataclasses.replace(select(study.trials, study.objective), **known),
        folder=StudyFolder(folder),
        warnings=(),
    )
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(render_summary(outcome))
    return console.export_text()


def test_shows_the_selected_recipe_and_where_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gains 40 and 0, mean 20; drops 4 and 0, mean 2: the score is 18."""
    monkeypatch.chdir(tmp_path)
    text = shown(trial(0, [{"count": 50.0, "colour": 86.0}]), folder=tmp_path / "runs" / "made")
    assert "selected recipe" in text
    lines = {line.strip("│ ").split("  ")[0]: line.strip("│ ") for line in text.splitlines()}
    assert lines["subset"].endswith("gate_up")
    assert lines["learning rate"].endswith("0.001")
    assert lines["steps"].endswith("40, of 8 samples each, cosine")
    assert lines["trained"].endswith("1,000 parameters")
    assert lines["target gain"].endswith("+20.0 points, n = 100")
    assert lines["forgetting"].endswith("+2.0 points on average, n = 100")
    assert lines["score"].endswith("+18.0 points, on the search split")
    assert lines["recipe"].endswith("  runs/made/recipe.yaml")
    assert lines["report"].endswith("  runs/made/report.html")
    assert lines["weights"].endswith("  runs/made/selected/")
    assert lines["MLflow"].endswith("  recipe-search ui")
    assert lines["took"].endswith("83 s for 1 trials")


def test_intervals_and_ties_are_shown() -> None:
    """Scores 22 and 10, each with 2 points to both sides."""
    known = {"trial 0": estimates(GOOD, half=2), "trial 1": estimates(MODEST, half=2)}
    text = shown(
        trial(0, [GOOD]), trial(1, [MODEST], subset="full"), estimates=known, tied=("trial 0", "trial 1")
    )
    assert "+25.0 [23.0, 27.0] points, n = 100" in text
    assert "+3.0 [1.0, 5.0] points on average, n = 100" in text
    assert "+22.0 [20.0, 24.0] points, on the search split" in text
    (line,) = (line for line in text.splitlines() if "within noise" in line)
    assert line.strip("│ ").endswith("trial 1 (full 1.0e-3)")
    # Selected by a tie-break, it is near to the best, as is another.
    text = shown(
        *(trial(number, [MODEST if number else GOOD]) for number in range(3)),
        winner=trial(1, [MODEST]),
        tied=("trial 0", "trial 1", "trial 2"),
    )
    rows = [" ".join(line.strip("│ ").split()) for line in text.splitlines()]
    assert "the best trial 0 (gate_up 1.0e-3), within noise" in rows
    assert "as near to it trial 2 (gate_up 1.0e-3)" in rows


def test_what_was_confirmed_is_shown_beside_what_the_search_had_shown() -> None:
    """Confirmed: gain (20 + 20) / 2 = 20, forgetting (4 + 0) / 2 = 2, score 18."""
    less = {"count": 30.0, "clock": 40.0, "colour": 86.0}
    text = shown(trial(0, [GOOD]), finalist=finalist("trial 0", less, half=3))
    assert "+18.0 [15.0, 21.0] points, on the confirm split" in text
    assert "the search had shown +22.0" in text


def test_keeping_the_base_names_no_weights() -> None:
    text = shown(trial(0, [{"colour": 50.0}]))
    assert "keep the base" in text
    assert "Keep the base: the best of 1 feasible complete trial" in " ".join(text.split()).replace("│ ", "")
    assert "weights" not in text
    assert "/elsewhere/runs/made/recipe.yaml" in text


def test_the_median_turn_round_is_shown() -> None:
    text = shown(timed(0, 0.1), timed(1, 0.9), timed(2, 0.2))
    assert "83 s for 3 trials; median turn-round 0.20 s" in text


def test_turn_rounds_are_those_that_were_measured() -> None:
    failed = trial(7, state=TrialState.FAILED, error="no group")
    assert turn_rounds((timed(0, 0.1), trial(1, [{}]), failed, timed(2, 0.3))) == [0.1, 0.3]


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("sqlite:///mlflow.db", "recipe-search ui "),
        ("postgresql://me:secret@host/mlflow", "recipe-search ui --uri postgresql://me@host/mlflow "),
        ("http://me:secret@host:5000", "http://me@host:5000 "),
    ],
)
def test_where_mlflow_is_is_told_without_a_password(uri: str, told: str) -> None:
    (line,) = (line for line in shown(uri=uri).splitlines() if "MLflow" in line)
    assert line.strip("│ ").removeprefix("MLflow").lstrip() + " " == told
