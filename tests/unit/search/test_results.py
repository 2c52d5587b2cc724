"""TrialResult: COMPLETE, PRUNED and FAILED exclude each other; the table of trials."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from search.objective import Score
from search.results import Rung, TrialResult, TrialState, trials_csv
from spaces.recipe import Recipe

RECIPE = Recipe(subset="gate_up", learning_rate=1e-4, steps=40, batch_size=8)


def rung(step: int, score: float = 3.0) -> Rung:
    points = Score(target_gain=4.0, held_out_forgetting=1.0, worst_forgetting=2.0, score=score)
    return Rung(
        step=step, progress=step / 40, score=points, values={"count": 9.0}, metrics=points.to_metrics()
    )


HALF, END = rung(20), rung(40, score=5.0)


def result(state: TrialState, **changes: Any) -> TrialResult:
    fields: dict[str, Any] = {
        "trial_id": "t_1",
        "number": 0,
        "recipe": RECIPE,
        "state": state,
        "seconds": 9.0,
    }
    return TrialResult(**fields | changes)


class TestStates:
    def test_complete(self) -> None:
        assert result(TrialState.COMPLETE, rungs=(HALF, END)).last is END

    def test_pruned(self) -> None:
        assert result(TrialState.PRUNED, rungs=(HALF,)).last is HALF

    @pytest.mark.parametrize("rungs", [(), (HALF,), (HALF, END)])
    def test_a_failed_trial_has_no_score_whatever_it_reported(self, rungs: tuple[Rung, ...]) -> None:
        failed = result(TrialState.FAILED, error="out of memory", rungs=rungs)
        assert failed.rungs == rungs
        with pytest.raises(ValueError, match=r"trial t_1 failed \(out of memory\): it has no score"):
            _ = failed.last

    @pytest.mark.parametrize(
        ("state", "changes", "message"),
        [
            (TrialState.COMPLETE, {"rungs": (HALF,)}, "trial t_1: COMPLETE contradicts progress 0.5"),
            (TrialState.PRUNED, {"rungs": (HALF, END)}, "trial t_1: PRUNED contradicts progress 1.0"),
            (TrialState.COMPLETE, {}, "trial t_1: a COMPLETE trial needs at least one rung"),
            (TrialState.PRUNED, {}, "trial t_1: a PRUNED trial needs at least one rung"),
            (
                TrialState.COMPLETE,
                {"rungs": (END,), "error": "late"},
                "trial t_1: only a FAILED trial has an error",
            ),
            (
                TrialState.PRUNED,
                {"rungs": (HALF,), "error": "late"},
                "trial t_1: only a FAILED trial has an error",
            ),
            (TrialState.FAILED, {}, "trial t_1: a FAILED trial must say why"),
        ],
    )
    def test_contradictions_are_refused(
        self, state: TrialState, changes: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError, match="trial t_1") as caught:
            result(state, **changes)
        assert str(caught.value) == message


class TestTable:
    def rows(self, *trials: TrialResult) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(trials_csv(trials))))

    def test_a_row_holds_recipe_state_and_the_last_rung(self) -> None:
        nodes = ("10.0.0.2", "10.0.0.3")
        fields = {"rungs": (HALF, END), "preset": "paper_gate_up", "number": 7, "nodes": nodes}
        (row,) = self.rows(result(TrialState.COMPLETE, **fields))
        assert row["number"] == "7"
        assert (row["trial_id"], row["state"], row["preset"]) == ("t_1", "COMPLETE", "paper_gate_up")
        assert (
            Recipe.from_dict(
                {"subset": row["subset"], "learning_rate": row["learning_rate"]}
                | {"steps": 40, "batch_size": 8}
            )
            == RECIPE
        )
        assert (row["step"], row["progress"], row["score"], row["seconds"]) == ("40", "1.0", "5.0", "9.0")
        assert row["nodes"] == "10.0.0.2 10.0.0.3"

    def test_a_failed_trial_has_blanks_for_numbers(self) -> None:
        first, second = self.rows(
            result(TrialState.FAILED, error='loss "nan", step 3', rungs=(HALF,)),
            result(TrialState.PRUNED, rungs=(HALF,)),
        )
        assert (first["error"], first["score"], first["step"]) == ('loss "nan", step 3', "", "")
        assert (second["error"], second["score"], second["step"]) == ("", "3.0", "20")

    def test_no_trial(self) -> None:
        assert self.rows() == []
