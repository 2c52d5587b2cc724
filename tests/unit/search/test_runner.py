from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hostile_input.resumed import interrupted, put
from rich.console import Console

from search import runner
from search.phases.base import base_lines
from search.records.study_folder import StudyFolder, make_anew
from search.records.taking_up import at_home
from search.runner import run_study
from search.settings.study_file import InputError, load_study
from trainables.scoring.evaluation import Evaluation

ROOT = Path(__file__).resolve().parents[3]


def test_only_a_studys_own_folder_is_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "search"
    precious.mkdir()
    (precious / "work.py").write_text("kept")
    with pytest.raises(InputError, match="is not a study's folder"):
        make_anew(precious, {})
    assert (precious / "work.py").read_text() == "kept"


def test_an_earlier_run_is_replaced_by_a_new_folder(tmp_path: Path) -> None:
    earlier = tmp_path / "runs" / "study"
    earlier.mkdir(parents=True)
    StudyFolder(earlier).study.write_text("name: study")
    (earlier / "trials.csv").write_text("old")
    make_anew(earlier, {"study.yaml": b"name: anew"})
    assert [file.name for file in earlier.iterdir()] == ["study.yaml"]
    assert StudyFolder(earlier).study.read_text() == "name: anew"
    assert [each.name for each in earlier.parent.iterdir()] == ["study"]


def test_a_held_out_task_that_the_base_lacks_is_pointed_out() -> None:
    config = load_study(ROOT / "examples" / "quickstart.yaml", ["held_out=[digits, bars]"])
    scores = {"counting": (0.0, 0.0), "digits": (100.0, 0.0), "bars": (0.0, 0.0)}
    base = {task: Evaluation(task=task, scores=points) for task, points in scores.items()}
    first, warning = base_lines(config, base)
    assert first == "base, in points: counting 0.0; held out: digits 50.0, bars 0.0"
    assert warning.startswith("warning: held-out bars 0.0:")
    base["bars"] = base["digits"]
    assert len(base_lines(config, base)) == 1


class Started(Exception):
    """Ray was about to start: nothing was refused."""


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    """The folder of a study whose driver died, while another one checked its own input."""

    def started(console: Console) -> AbstractContextManager[None]:
        raise Started

    monkeypatch.setattr(runner, "started", started)
    return StudyFolder(Path(shutil.copytree(interrupted(), tmp_path / "lesson")))


def go_on(
    folder: StudyFolder,
    overrides: Sequence[str] = (),
    *,
    read_before: bool = False,
    moved: tuple[str, ...] = (),
) -> None:
    """Run the study as a driver does that has checked its input.

    Args:
        folder: The folder that the study has by now.
        overrides: What its driver was given.
        read_before: Whether it read its settings before there was the folder.
        moved: Settings that may differ.
    """
    config = load_study(folder.study, [f"output={folder.root.parent}", *overrides])
    prepared: Any = SimpleNamespace(
        config=config if read_before else at_home(config), model_fingerprint="7" * 64, data_fingerprints={}
    )
    run_study(prepared, Console(quiet=True), moved=moved)


def test_what_did_not_change_meanwhile_is_gone_on_with(left: StudyFolder) -> None:
    with pytest.raises(Started):
        go_on(left)
    with pytest.raises(Started):
        go_on(left, ["tracking.uri=http://127.0.0.1:5000"], moved=("tracking.uri",))


@pytest.mark.parametrize(
    ("change", "driver", "said"),
    [
        (None, {"overrides": ["search.trials=5"]}, "search.trials is 5 and was 4"),
        (None, {"read_before": True}, "began or finished the study just now: start again"),
        (put("record.json", "finished", value=True), {}, "began or finished the study just now: start again"),
        (lambda root: (root / "trials/0000/trial.json").write_text("{"), {}, "study is damaged: not JSON"),
    ],
    ids=["other settings", "begun", "finished", "damaged"],
)
def test_what_another_driver_left_meanwhile_is_checked_by_who_holds_the_lock(
    left: StudyFolder, change: Callable[[Path], object] | None, driver: dict[str, Any], said: str
) -> None:
    if change is not None:
        change(left.root)
    with pytest.raises(InputError, match=said):
        go_on(left, **driver)
