"""Which notice a worker's process obeys at its job's next step, and which ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from trainables import notice


@pytest.fixture(autouse=True)
def _process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Listen as a worker's process does that has just started; what is set goes back to this one's."""
    for name in ("_AT_WORK", "_NOTICED", "_SIGNALLED"):
        monkeypatch.setattr(notice, name, threading.Event())
    before = signal.getsignal(signal.SIGTERM)
    notice.listen()
    yield
    signal.signal(signal.SIGTERM, before)


def terminate() -> None:
    signal.raise_signal(signal.SIGTERM)


def test_the_second_signal_ends_a_process_at_work() -> None:
    with notice.at_work():
        terminate()
        assert notice.noticed()
        with pytest.raises(SystemExit):
            terminate()


def test_a_first_signal_after_the_group_s_notice_leaves_time_for_the_checkpoint() -> None:
    with notice.at_work():
        notice.give_notice()
        terminate()
        assert notice.noticed()
        with pytest.raises(SystemExit):
            terminate()


def test_an_idle_process_ends_at_once_and_hears_of_no_closing_group() -> None:
    notice.give_notice()
    with pytest.raises(SystemExit):
        terminate()
    with notice.at_work():
        assert not notice._NOTICED.is_set()
