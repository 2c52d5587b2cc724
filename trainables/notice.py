"""Notice that a worker will be taken away: SIGTERM, that Ray drains its node, or that its group closes.

A process has one handler of a signal, set in its main thread, while Ray Train's workers train in another: so
what they share is the module's.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.train.v2._internal.execution.context import get_train_context

_AT_WORK = threading.Event()
_NOTICED = threading.Event()
_SIGNALLED = threading.Event()  # by SIGTERM; a closing group's notice may come first


def listen() -> None:
    """Take SIGTERM for a notice while a job is at work; idle, or the second time, the process ends."""
    signal.signal(signal.SIGTERM, _handle)


@contextmanager
def at_work() -> Iterator[None]:
    """Have a notice wait for the job's next step."""
    _AT_WORK.set()
    try:
        yield
    finally:
        _AT_WORK.clear()


def give_notice() -> None:
    """Have the job that is at work stop at its next step; without one, nothing happens."""
    if _AT_WORK.is_set():
        _NOTICED.set()


def noticed() -> bool:
    """Return whether this process, or one of its peers', will be taken away."""
    # `ray.train.get_preemption_info` would wait for all workers at each step.
    return _NOTICED.is_set() or get_train_context().preemption_context.preemption_info is not None


def _handle(*_: Any) -> None:
    if not _AT_WORK.is_set() or _SIGNALLED.is_set():
        raise SystemExit(1)
    _SIGNALLED.set()
    _NOTICED.set()
