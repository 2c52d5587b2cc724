"""Spool: what was kept is there in order, once, whoever opens the file next."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
from small_disk import small_disk

from search.settings.user_input import InputError
from search.stores.nested_runs import NestedRun
from search.stores.run_update import STUDY, RunUpdate
from search.stores.spool import Spool


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mlflow-spool.db"


def update(number: int) -> RunUpdate:
    return RunUpdate(
        what=f"update {number}", run="t_1", metrics={"score": number / 2}, step=number, timestamp=9
    )


def drained(spool: Spool) -> list[RunUpdate]:
    found = []
    while (waiting := spool.first()) is not None:
        found.append(waiting.update)
        spool.drop(waiting)
    return found


def test_an_update_comes_back_as_it_was(file: Path) -> None:
    made = NestedRun(name="base", key=("kind", "base"), tags={"cached": "true"}, params={"a": "1"}, started=5)
    whole = RunUpdate(
        what="all of it",
        run="base",
        made=made,
        metrics={"score": 0.1 + 0.2, "train/loss": math.inf},
        params={"b": "2"},
        tags={"error": 'a "word"\n\u2028<é>'},
        step=3,
        timestamp=1_700_000_000_123,
        texts={"manifest.json": "{}"},
        artifact="selected",
        status="FINISHED",
        ends_open=True,
        registers=".",
    )
    spool = Spool(file)
    spool.add(whole)
    spool.close()
    assert drained(Spool(file)) == [whole]


def test_order_outlives_the_process(file: Path) -> None:
    # A process that ends without closing anything, as after SIGKILL.
    code = (
        "import os, sys; from pathlib import Path; from search.stores.spool import Spool; "
        "from search.stores.run_update import RunUpdate; spool = Spool(Path(sys.argv[1])); "
        "[spool.add(RunUpdate(what=str(n)), once=str(n)) for n in range(50)]; os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(file)], check=True)
    spool = Spool(file)
    assert not spool.add(update(7), once="7")
    assert spool.add(update(50), once="50")
    assert [each.what for each in drained(spool)] == [*map(str, range(50)), "update 50"]


def test_once_is_once_also_after_it_was_written(file: Path) -> None:
    spool = Spool(file)
    assert spool.add(update(1), once="step 1")
    assert not spool.add(update(2), once="step 1")
    assert drained(spool) == [update(1)]
    spool.close()
    again = Spool(file)
    assert not again.add(update(3), once="step 1")
    assert again.add(update(4))
    assert again.add(update(4))
    assert drained(again) == [update(4), update(4)]


def test_counts_up_to_an_id(file: Path) -> None:
    spool = Spool(file)
    assert (spool.last(), spool.count()) == (0, 0)
    for number in range(3):
        spool.add(update(number))
    last = spool.last()
    spool.add(update(3))
    assert (last, spool.count(), spool.count(last)) == (3, 4, 3)
    drained(spool)
    assert (spool.last(), spool.count(last)) == (4, 0)


def test_runs_and_which_are_open(file: Path) -> None:
    spool = Spool(file)
    spool.note_run(STUDY, "parent")
    for key in ("t_2", "t_1", "base"):
        spool.note_run(key, f"run of {key}")
        spool.note_status(key, "RUNNING")
    spool.note_status("base", "FINISHED")
    spool.note_status(STUDY, "RUNNING")
    spool.close()
    again = Spool(file)
    again.note_run(STUDY, "parent")
    assert again.open_runs() == ("t_1", "t_2")
    assert (again.run("t_1"), again.run("t_3")) == ("run of t_1", None)
    # Another store: nothing that was noted holds there.
    again.note_run(STUDY, "another parent")
    assert (again.run(STUDY), again.run("t_1"), again.open_runs()) == ("another parent", None, ())


def test_one_process_at_a_time(file: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from search.stores.spool import Spool; "
        "Spool(Path(sys.argv[1])).close()"
    )
    command = [sys.executable, "-c", code, str(file)]
    spool = Spool(file)
    refused = subprocess.run(command, capture_output=True, text=True)
    assert f"{file}: another recipe-search is recording this study" in refused.stderr
    spool.close()
    assert subprocess.run(command).returncode == 0


@pytest.mark.parametrize("content", [b"not a database " * 100, b"SQLite format 3\0" + bytes(200)])
def test_a_damaged_file_is_named(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"mlflow-spool\.db: what MLflow has not got yet can't be read"):
        Spool(file)
    assert file.read_bytes() == content


def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "128k") as disk:
        spool = Spool(disk.folder / "mlflow-spool.db")
        spool.add(update(1))
        (disk.folder / "film").write_bytes(bytes((128 - _used(disk.folder)) * 1024))
        with pytest.raises(OSError, match=r"mlflow-spool\.db: database or disk is full"):
            _add(spool, range(2, 200))
        kept = spool.last()
        (disk.folder / "film").unlink()
        assert spool.add(update(200))
        assert [each.step for each in drained(spool)] == [*range(1, kept + 1), 200]
        spool.close()


def _add(spool: Spool, numbers: range) -> None:
    for number in numbers:
        spool.add(update(number))


def _used(folder: Path) -> int:
    """Return the KiB that files take, by whole pages of 4."""
    return sum(-(-file.stat().st_size // 4096) * 4 for file in folder.iterdir())
