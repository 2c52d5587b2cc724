"""BackgroundWriter: in order, without waiting, and never silent about a loss."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from search.stores.background import BackgroundWriter


@pytest.fixture
def writer() -> Iterator[BackgroundWriter]:
    made = BackgroundWriter("the store")
    yield made
    made.close(5.0)


def test_actions_run_in_order_in_one_other_thread(writer: BackgroundWriter) -> None:
    done: list[tuple[int, int]] = []
    for number in range(200):
        writer.submit("a number", lambda number=number: done.append((number, threading.get_ident())))
    assert writer.flush(5.0)
    assert [number for number, _ in done] == list(range(200))
    assert len({thread for _, thread in done} - {threading.get_ident()}) == 1


def test_submitting_never_waits(writer: BackgroundWriter) -> None:
    gate = threading.Event()
    started = time.monotonic()
    writer.submit("slow", lambda: gate.wait(10))
    writer.submit("next", lambda: None)
    assert time.monotonic() - started < 1.0
    assert not writer.flush(0.05)
    gate.set()
    assert writer.flush(5.0)


def test_a_passing_fault_is_overcome(writer: BackgroundWriter) -> None:
    attempts: list[int] = []

    def fail_once() -> None:
        attempts.append(len(attempts))
        if len(attempts) == 1:
            raise OSError("disk is busy")

    writer.submit("the report", fail_once)
    assert writer.flush(5.0)
    assert attempts == [0, 1]
    assert writer.warnings == []


def test_a_lasting_fault_is_told_and_the_next_action_runs(writer: BackgroundWriter) -> None:
    attempts: list[int] = []
    done: list[str] = []

    def fail() -> None:
        attempts.append(1)
        raise OSError("no space\nleft")

    writer.submit("the report", fail)
    writer.submit("the end", lambda: done.append("end"))
    assert writer.flush(10.0)
    assert len(attempts) == 3
    assert done == ["end"]
    assert writer.warnings == ["the store: the report was not written: OSError: no space left"]


def test_many_warnings_are_counted() -> None:
    writer = BackgroundWriter("the store")
    writer.close(1.0)
    for number in range(14):
        writer.submit(f"write {number}", lambda: None)
    assert len(writer.warnings) == 11
    assert writer.warnings[9] == "the store: write 9 came after the end"
    assert writer.warnings[10] == "the store: 4 more writes failed"


def test_closing_writes_what_is_left() -> None:
    writer = BackgroundWriter("the store")
    done: list[int] = []
    for number in range(50):
        writer.submit("a number", lambda number=number: done.append(number))
    writer.close(5.0)
    assert done == list(range(50))
    assert writer.warnings == []


def test_closing_waits_no_longer_than_told() -> None:
    writer = BackgroundWriter("the store")
    gate = threading.Event()
    writer.submit("stuck", lambda: gate.wait(30))
    writer.submit("never reached", lambda: None)
    started = time.monotonic()
    writer.close(0.2)
    assert time.monotonic() - started < 2.0
    assert "were not done within 0.2 s" in writer.warnings[0]
    gate.set()


def test_closing_what_never_wrote() -> None:
    writer = BackgroundWriter("the store")
    writer.close(1.0)
    writer.close(1.0)
    assert writer.flush(1.0)
    assert writer.warnings == []
