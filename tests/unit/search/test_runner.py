from __future__ import annotations

from pathlib import Path

import pytest

from search.phases.base import base_lines
from search.records.study_folder import StudyFolder, make_anew
from search.settings.study_file import InputError, load_study
from trainables.scoring.evaluation import Evaluation

ROOT = Path(__file__).resolve().parents[3]


def test_only_a_studys_own_folder_is_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "search"
    precious.mkdir()
    (precious / "work.py").write_text("kept")
    with pytest.raises(InputError, match="is not a study's folder"):
        make_anew(precious)
    assert (precious / "work.py").read_text() == "kept"


def test_an_earlier_run_is_replaced_by_an_empty_folder(tmp_path: Path) -> None:
    earlier = tmp_path / "runs" / "study"
    earlier.mkdir(parents=True)
    StudyFolder(earlier).study.write_text("name: study")
    (earlier / "trials.csv").write_text("old")
    make_anew(earlier)
    assert list(earlier.iterdir()) == []


def test_a_held_out_task_that_the_base_lacks_is_pointed_out() -> None:
    config = load_study(ROOT / "examples" / "quickstart.yaml", ["held_out=[digits, bars]"])
    scores = {"counting": (0.0, 0.0), "digits": (100.0, 0.0), "bars": (0.0, 0.0)}
    base = {task: Evaluation(task=task, scores=points) for task, points in scores.items()}
    first, warning = base_lines(config, base)
    assert first == "base, in points: counting 0.0; held out: digits 50.0, bars 0.0"
    assert warning.startswith("warning: held-out bars 0.0:")
    base["bars"] = base["digits"]
    assert len(base_lines(config, base)) == 1
