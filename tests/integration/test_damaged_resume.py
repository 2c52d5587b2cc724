"""Checkpoints and records that are damaged between two lives of a study: it ends as it would have."""

from __future__ import annotations

import json
import pickle
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chaos import Driver, check_gone, driver
from small_study import write_study
from tiny_models import save_llava

from search.records.stored_study import read_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

STUDY = Path("runs", "made")


def interrupted(folder: Path, base: Path, ready: Callable[[Path], bool]) -> Path:
    """Run a study until something of it is there, and kill its driver; return its folder."""
    folder.mkdir()
    study = write_study(
        folder,
        base,
        training={"steps": 160, "batch_size": 4},
        search={"trials": 2, "presets": False, "pruning": {"first_rung": 40, "reduction_factor": 2}},
        points={"top": 2, "alpha": [0.5], "soup": None},
        finalists=None,
    )
    with driver(["run", str(study)], folder / "log") as running:
        _wait(running, lambda: ready(folder / STUDY))
        running.kill()
    check_gone(running.started)
    return folder


def _wait(running: Driver, ready: Callable[[], bool]) -> None:
    while not ready():
        assert running.process.poll() is None, running.text
        running.look()
        time.sleep(0.1)


def _checkpoints(root: Path) -> list[Path]:
    """Return the files of the open trials' checkpoints, newest first."""
    found = []
    for file in sorted(root.glob("trials/*/open.json")):
        try:
            fields = json.loads(file.read_text())
        except FileNotFoundError:
            continue
        found += [file.parent / each["path"] for each in fields["checkpoints"]]
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llava(tmp_path_factory.mktemp("base") / "llava")


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """A study whose first trial left two checkpoints."""
    folder = tmp_path_factory.mktemp("early") / "study"
    return interrupted(folder, base, lambda root: len(_checkpoints(root)) == 2)


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """A study whose first trial has ended, while its second runs."""
    folder = tmp_path_factory.mktemp("late") / "study"
    return interrupted(
        folder,
        base,
        lambda root: (root / "trials/0000/trial.json").exists() and (root / "trials/0001/open.json").exists(),
    )


def resumed(study: Path, folder: Path, damage: Callable[[Path], object]) -> tuple[int, str, Path]:
    """Go on with a damaged copy of a study; return the status, what was said, and its folder."""
    shutil.copytree(study, folder)
    damage(folder / STUDY)
    words = ["resume", str(folder / STUDY), f"tracking.uri=sqlite:///{folder / 'mlflow.db'}"]
    with driver(words, folder / "log") as running:
        running.wait_for_end()
    check_gone(running.started)
    assert "Traceback" not in running.text
    return running.process.returncode, running.text, folder / STUDY


def results(root: Path) -> list[Any]:
    record = read_study(root)
    assert record.finished
    trials = [
        (
            trial.number,
            trial.state,
            trial.recipe,
            [(rung.step, rung.score, rung.values) for rung in trial.rungs],
        )
        for trial in record.trials
    ]
    return [trials, [(each.number, each.point, each.rung and each.rung.values) for each in record.points]]


@pytest.fixture(scope="module")
def whole(early: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What the study comes to if nothing is damaged."""
    status, text, root = resumed(early, tmp_path_factory.mktemp("whole") / "study", lambda root: None)
    assert status == 0, text
    return results(root)


def cut_newest(root: Path) -> None:
    newest = _checkpoints(root)[0]
    newest.write_bytes(newest.read_bytes()[:-7])


def pickle_all(root: Path) -> None:
    for file in _checkpoints(root):
        file.write_bytes(pickle.dumps({"layer.weight": [1.0]}))


def flip_newest_optimizer(root: Path) -> None:
    newest = _checkpoints(root)[0]
    file = newest.with_suffix(".optimizer.safetensors")
    content = bytearray(file.read_bytes())
    content[-5] ^= 0xFF
    file.write_bytes(content)


def remove_all(root: Path) -> None:
    for file in _checkpoints(root):
        shutil.move(file, root.parent / file.name)


@pytest.mark.parametrize("damage", [cut_newest, pickle_all, flip_newest_optimizer, remove_all])
def test_a_damaged_checkpoint_costs_time_and_nothing_else(
    early: Path, whole: list[Any], tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    status, text, root = resumed(early, tmp_path / "study", damage)
    assert status == 0, text
    assert results(root) == whole


def lose_what_waits(root: Path) -> None:
    (root / "mlflow-spool.db").unlink()
    (root / "base.json").unlink()


def test_lost_files_that_can_be_made_again_are(late: Path, tmp_path: Path) -> None:
    status, text, root = resumed(late, tmp_path / "study", lose_what_waits)
    assert status == 0, text
    assert (root / "base.json").is_file()
    with sqlite3.connect(tmp_path / "study" / "mlflow.db") as store:
        (count,) = store.execute("SELECT count(*) FROM runs WHERE name = 'made'").fetchone()
    assert count == 1
