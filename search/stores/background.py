"""BackgroundWriter: slow writes in order, in a thread of their own, so that no caller waits for them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

_PAUSES = (0.2, 1.0)  # seconds before each further attempt
_WARNINGS_KEPT = 10


@dataclass(frozen=True, slots=True)
class _Job:
    what: str
    action: Callable[[], object]


class BackgroundWriter:
    """Runs actions one after another in one daemon thread, which starts with the first action.

    An action that raises is tried again a few times, and so must bear being repeated. If it keeps failing
    it is given up, kept as a warning, and the next one follows.

    Args:
        where: What is written to, for the warnings.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._queue: queue.Queue[_Job | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._warnings: list[str] = []
        self._left_out = 0

    @property
    def warnings(self) -> list[str]:
        """What was given up, one line each: the first few, then how many more."""
        more = [f"{self._where}: {self._left_out} more writes failed"] if self._left_out else []
        return [*self._warnings, *more]

    def submit(self, what: str, action: Callable[[], object]) -> None:
        """Queue an action; never waits and never raises.

        Args:
            what: What is written, for a warning.
            action: Writes it; called again if it raises.
        """
        if self._closed:
            self._warn(f"{what} came after the end")
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="background-writer", daemon=True)
            self._thread.start()
        self._queue.put(_Job(what, action))

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything queued so far is done; False if that took longer than `timeout` seconds."""
        if self._thread is None or not self._thread.is_alive():
            return self._queue.empty()
        done = threading.Event()
        self._queue.put(_Job("", done.set))
        return done.wait(timeout)

    def close(self, timeout: float) -> None:
        """Finish what is queued, for at most `timeout` seconds; what is left then becomes a warning."""
        if self._closed:
            return
        self._closed = True
        if self._thread is None:
            return
        self._queue.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._warn(f"about {self._queue.qsize()} writes were not done within {timeout:g} s")

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            self._attempt(job)

    def _attempt(self, job: _Job) -> None:
        for pause in (*_PAUSES, None):
            try:
                job.action()
                return
            # The thread's boundary: whatever is wrong with one write must not end the others.
            except Exception as error:
                if pause is None:
                    reason = " ".join(str(error).split())[:300]
                    self._warn(f"{job.what} was not written: {type(error).__name__}: {reason}")
                else:
                    time.sleep(pause)

    def _warn(self, message: str) -> None:
        if len(self._warnings) < _WARNINGS_KEPT:
            self._warnings.append(f"{self._where}: {message}")
        else:
            self._left_out += 1
