"""What pruned trials were worth when they were stopped, on the samples that they were scored on."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_study import BASE, GOOD, MODEST, config, evaluation, record, trial

from search.decision.bootstrap import Bootstrap
from search.decision.conclusion import conclude
from search.decision.estimation import estimate_pruned
from search.results import TrialResult, TrialState
from trainables.files import write_atomically
from trainables.scoring.evaluation import Evaluation, evaluations_json, rung_file

MIXED = dict.fromkeys(BASE, 50.0)


def scored(root: Path, made: TrialResult, values: dict[str, float], samples: int) -> dict[str, Evaluation]:
    """Leave what a trial scored on each of the first samples."""
    found = {task: evaluation(task, value, samples) for task, value in {**BASE, **values}.items()}
    file = root / "trials" / made.trial_id / rung_file(made.last.step)
    write_atomically(file, evaluations_json(found))
    return found


def test_each_is_compared_on_its_own_samples(tmp_path: Path) -> None:
    """Three were stopped: on 100 samples, on the first 40, and with a file that is gone."""
    study = config()
    pruned = [trial(number, [GOOD], study=study, state=TrialState.PRUNED) for number in (1, 2, 3)]
    made = record([trial(0, [MODEST], study=study), *pruned], study=study, samples=100)
    everything = scored(tmp_path, pruned[0], GOOD, 100)
    first = scored(tmp_path, pruned[1], MIXED, 40)
    found = estimate_pruned(made, tmp_path)
    assert found.keys() == {"trial 1", "trial 2"}

    def expected(tuned: dict[str, Evaluation], n: int) -> object:
        base = {task: each.first(n) for task, each in made.base.items()}
        rule = study.selection
        bootstrap = Bootstrap(
            base,
            made.objective,
            confidence=rule.confidence,
            replicates=rule.replicates,
            seed=study.search.seed,
        )
        return bootstrap.estimates(tuned)

    assert found == {"trial 1": expected(everything, 100), "trial 2": expected(first, 40)}
    score = found["trial 1"].score
    assert score.value == pytest.approx(22)
    assert score.low < 22 < score.high


def test_they_are_shown_and_decide_nothing(tmp_path: Path) -> None:
    """The pruned one scored 22 and the complete one 10, whose file is missing: the note counts it alone."""
    study = config()
    pruned = trial(1, [GOOD], study=study, state=TrialState.PRUNED)
    made = record([trial(0, [MODEST], study=study), pruned], study=study, samples=100)
    scored(tmp_path, pruned, GOOD, 100)
    found = conclude(made, tmp_path)
    assert found.key == "trial 0"
    assert found.estimates.keys() == {"trial 1"}
    assert any("not known for 1 of 1 candidate" in note for note in found.notes)
