"""Taking a study up again: the same study, the same data, one driver at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search import cli
from search.config import StudyConfig
from search.records.stored_results import write_json
from search.records.study_folder import StudyFolder, make_anew
from search.records.study_identity import StudyIdentity, seconds_before
from search.records.study_lock import only_driver
from search.records.taking_up import (
    at_home,
    check_same_data,
    check_same_study,
    is_finished,
    is_started,
    other_versions,
)
from search.settings.study_file import dump_study, load_study
from search.settings.user_input import InputError

QUICKSTART = Path(__file__).resolve().parents[4] / "examples" / "quickstart.yaml"


def study(home: Path, *overrides: str) -> StudyConfig:
    return load_study(QUICKSTART, [f"output={home / 'runs'}", *overrides])


def write_facts(folder: StudyFolder, **changes: object) -> None:
    facts = {
        "finished": False,
        "run_id": "",
        "seconds": 0.0,
        "points_seconds": 0.0,
        "finalists_seconds": 0.0,
        "versions": {},
        "model_fingerprint": "",
        "architecture": "",
        "data_fingerprints": {},
        "leaks": [],
        "bad": [],
    }
    write_json(folder.facts, facts | changes)


@pytest.fixture
def begun(tmp_path: Path) -> StudyFolder:
    """The folder of a study that was begun in another directory than this one."""
    config = study(tmp_path)
    folder = StudyFolder(config.folder)
    identity = StudyIdentity(study_id="x", directory=str(tmp_path / "where it was"))
    files = {folder.identity.name: identity.to_json(), folder.study.name: dump_study(config).encode()}
    make_anew(folder.root, files)
    return folder


def test_the_same_study_is_taken_up(begun: StudyFolder, tmp_path: Path) -> None:
    for changes in ((), ("resources.max_failures=9", "resources.cpus_per_worker=2")):
        config = study(tmp_path, *changes)
        assert is_started(config)
        check_same_study(at_home(config))
    assert not is_finished(begun)
    write_facts(begun, finished=True)
    assert is_finished(begun)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["search.trials=21"], "search.trials is 21 and was 20"),
        (["held_out=[digits]"], "held_out is ['digits'] and was ['digits', 'digital_clock'"),
        (["search.seed=3", "training.steps=200", "search.trials=9", "points=null"], "more. To go on,"),
    ],
)
def test_another_study_of_its_name_is_refused(
    begun: StudyFolder, tmp_path: Path, changes: list[str], said: str
) -> None:
    with pytest.raises(InputError) as refused:
        check_same_study(at_home(study(tmp_path, *changes)))
    (line,) = str(refused.value).splitlines()
    assert said in line
    assert "with another name=... or, with --overwrite, in place of this one" in line


def test_a_store_may_move_if_that_is_said(begun: StudyFolder, tmp_path: Path) -> None:
    config = at_home(study(tmp_path, "tracking.uri=http://127.0.0.1:5000"))
    with pytest.raises(InputError, match=r"tracking\.uri is 'http://127\.0\.0\.1:5000' and was 'sqlite"):
        check_same_study(config)
    check_same_study(config, moved=("tracking.uri",))


def test_data_that_changed_is_named(begun: StudyFolder) -> None:
    check_same_data(begun, "model", {"counting/train": "1"})  # nothing was measured so far
    then = {"counting/train": "1", "bars/search": "2"}
    write_facts(begun, model_fingerprint="model", data_fingerprints=then)
    check_same_data(begun, "model", then)
    with pytest.raises(InputError, match="the model, bars/search changed since the study began"):
        check_same_data(begun, "other", then | {"bars/search": "3"})


def test_other_versions_are_named(begun: StudyFolder) -> None:
    now = {"torch": "2.13.0", "transformers": "5.23.0", "mlflow": "3.17.2"}
    assert other_versions(begun, now) is None, "nothing was measured so far"
    write_facts(begun, versions={**now, "torch": "2.12.0", "mlflow": "3.16.0"})
    assert other_versions(begun, now) == ("the study began with torch 2.12.0, now 2.13.0: scores may differ")
    write_facts(begun, versions=now)
    assert other_versions(begun, now) is None


def test_database_files_are_where_the_study_was_started(begun: StudyFolder, tmp_path: Path) -> None:
    config = study(tmp_path, "search.storage=sqlite:////abs/optuna.db")
    found = at_home(config)
    assert found.tracking.uri == f"sqlite:///{tmp_path / 'where it was' / 'mlflow.db'}"
    assert found.search.storage == "sqlite:////abs/optuna.db"
    served = study(tmp_path, "tracking.uri=http://127.0.0.1:5000")
    assert at_home(served) == served


HOLD = """
    import sys
    from pathlib import Path
    from search.records.study_lock import only_driver
    with only_driver(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
"""


def test_one_driver_at_a_time_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "made"
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with (
            pytest.raises(InputError, match=f"the study is being run by process {other.pid} on "),
            only_driver(folder),
        ):
            pass
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        with only_driver(folder):
            pass


def test_a_driver_that_makes_no_folder_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "of ours" / "made"
    with only_driver(folder):
        assert folder.parent.is_dir()
    assert list(tmp_path.iterdir()) == []
    with only_driver(folder):
        (folder.parent / "another study").mkdir()
    assert [each.name for each in folder.parent.iterdir()] == ["another study"]
    with only_driver(folder):
        folder.mkdir()
    assert folder.with_name(".made.lock").is_file()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: root.rename(root.with_name("other")), "rename the folder to that"),
        (lambda root: (root / "identity.json").unlink(), "was not made by `recipe-search run`"),
        (lambda root: (root / "study.yaml").unlink(), "is no study's folder: it has no study.yaml"),
    ],
    ids=["renamed", "older", "no study"],
)
def test_what_can_not_be_resumed_is_refused_in_a_line(
    begun: StudyFolder, capsys: pytest.CaptureFixture[str], change: Callable[[Path], object], said: str
) -> None:
    change(begun.root)
    (folder,) = begun.root.parent.iterdir()
    assert cli.main(["resume", str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_time_searched_before_by_hand() -> None:
    """Drivers began at 100, 200 and 400 s; the first did something until 160, the second until 350."""
    assert seconds_before([100, 200, 400], [130, 160, 250, 350, 410]) == 60 + 150
    assert seconds_before([100], [130]) == 0
    assert seconds_before([], []) == 0
    assert seconds_before([100, 200], []) == 0, "a driver that died before anything happened"


@given(st.lists(st.floats(0, 1e6), min_size=1).map(sorted), st.lists(st.floats(0, 1e6)))
def test_time_searched_before_is_never_more_than_passed(starts: list[float], events: list[float]) -> None:
    assert 0 <= seconds_before(starts, events) <= starts[-1] - starts[0] + 1e-6
