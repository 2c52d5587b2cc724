"""Replayer: in order, each until it is written, and never silent about a loss."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from search.stores.replayer import Replayer
from search.stores.run_update import RunUpdate
from search.stores.spool import Spool


class Store:
    """Takes updates, unless `fault` names an error; whoever looks may wait at the gate."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.attempts = 0
        self.written: list[str] = []
        self.told: list[str] = []

    def write(self, update: RunUpdate) -> None:
        self.attempts += 1
        self.gate.wait(30)
        if self.fault is not None and (update.tags.get("bad") or not isinstance(self.fault, ValueError)):
            raise self.fault
        self.written.append(update.what)


@pytest.fixture
def store() -> Store:
    return Store()


@contextmanager
def replaying(store: Store, file: Path | None = None) -> Iterator[Replayer]:
    made = Replayer(
        Spool(file),
        store.write,
        lasts=lambda error: isinstance(error, ValueError),
        reason=str,
        where="the store",
        tell=store.told.append,
    )
    made.start()
    yield made
    store.gate.set()
    made.close(5.0)


def submit(replayer: Replayer, *names: str, **tags: str) -> None:
    for name in names:
        replayer.submit(RunUpdate(what=name, tags=tags))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_updates_are_written_in_order(store: Store) -> None:
    names = [str(number) for number in range(200)]
    with replaying(store) as replayer:
        submit(replayer, *names)
        assert replayer.flush(5.0)
        assert store.written == names
    assert replayer.warnings == []


def test_submitting_never_waits_for_the_store(store: Store) -> None:
    store.gate.clear()
    with replaying(store) as replayer:
        started = time.monotonic()
        submit(replayer, "first", "second")
        assert time.monotonic() - started < 1.0
        assert not replayer.flush(0.05)
        store.gate.set()
        assert replayer.flush(5.0)


def test_a_fault_that_passes_keeps_the_order(store: Store) -> None:
    store.fault = OSError("no space left")
    with replaying(store) as replayer:
        submit(replayer, "first", "second")
        until(lambda: store.attempts >= 4)
        submit(replayer, "third")
        store.fault = None
        assert replayer.flush(5.0)
    assert store.written == ["first", "second", "third"]
    assert (replayer.warnings, store.told) == ([], [])  # it was over soon


def test_a_fault_that_lasts_is_given_up_and_the_next_is_written(store: Store) -> None:
    store.fault = ValueError("too long")
    with replaying(store) as replayer:
        submit(replayer, "the report", bad="yes")
        submit(replayer, "the end")
        assert replayer.flush(5.0)
    assert store.written == ["the end"]
    assert store.attempts == 2
    assert replayer.warnings == ["the store: the report was not written: ValueError: too long"]


def test_many_warnings_are_counted(store: Store) -> None:
    store.fault = ValueError("no")
    with replaying(store) as replayer:
        submit(replayer, *(f"write {number}" for number in range(14)), bad="yes")
    assert len(replayer.warnings) == 11
    assert replayer.warnings[9] == "the store: write 9 was not written: ValueError: no"
    assert replayer.warnings[10] == "the store: 4 more writes failed"


def test_a_person_is_told_once_that_it_lasts_and_once_that_it_is_over(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.stores.replayer._TOLD_AFTER", 0.5)
    store.fault = ConnectionError("refused")
    with replaying(store, tmp_path / "spool.db") as replayer:
        submit(replayer, "first", "second", "third")
        until(lambda: len(store.told) == 1)
        before = store.attempts
        until(lambda: store.attempts > before)
        store.fault = None
        assert replayer.flush(5.0)
    away, back = store.told
    assert away.startswith("the store: takes nothing since ")
    assert away.endswith(
        f"(refused); the study goes on, and what it records waits in {tmp_path / 'spool.db'}"
    )
    assert "answers again since" in back
    assert back.endswith("; 2 records that waited are written now")


def test_attempts_become_rare(store: Store) -> None:
    store.fault = OSError("away")
    with replaying(store) as replayer:
        submit(replayer, "first")
        time.sleep(2.0)
        # At 0, 0.2, 0.6 and 1.4 s, and no sooner because something new comes.
        submit(replayer, "second")
        assert 2 <= store.attempts <= 4
        store.fault = None


def test_closing_writes_what_is_left(store: Store) -> None:
    names = [str(number) for number in range(50)]
    with replaying(store) as replayer:
        submit(replayer, *names)
        replayer.close(5.0)
        assert store.written == names
    assert replayer.warnings == []


def test_what_stays_is_told_and_written_by_the_next(store: Store, tmp_path: Path) -> None:
    store.fault = OSError("away")
    file = tmp_path / "spool.db"
    with replaying(store, file) as replayer:
        submit(replayer, "first", "second")
        started = time.monotonic()
        replayer.close(0.5)
        assert time.monotonic() - started < 3.0
    assert replayer.warnings == [
        f"the store: 2 records could not be written (away); kept in {file}: "
        f"`recipe-search resume {tmp_path}` writes them"
    ]
    assert store.written == []
    store.fault = None
    with replaying(store, file) as again:
        assert again.flush(5.0)
    assert store.written == ["first", "second"]


def test_closing_waits_no_longer_than_told(store: Store) -> None:
    store.gate.clear()
    with replaying(store) as replayer:
        submit(replayer, "stuck", "never reached")
        started = time.monotonic()
        replayer.close(0.2)
        assert time.monotonic() - started < 3.0
        assert replayer.warnings == ["the store: 2 records could not be written"]


def test_what_comes_after_the_end_is_told(store: Store) -> None:
    with replaying(store) as replayer:
        replayer.close(1.0)
        replayer.close(1.0)
        submit(replayer, "late")
    assert replayer.warnings == ["the store: late came after the end"]


def test_waiting_ends_where_the_store_takes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.stores.replayer._PATIENCE", 0.5)
    store.fault = OSError("away")
    with replaying(store) as replayer:
        submit(replayer, "first")
        started = time.monotonic()
        assert not replayer.flush(60.0)
        assert 0.4 < time.monotonic() - started < 5.0
        store.fault = None
