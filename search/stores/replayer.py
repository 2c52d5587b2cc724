"""Replayer: writes what a spool holds, in order, for as long as it takes, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from search.stores.run_update import RunUpdate
from search.stores.spool import Spool, Waiting

_FIRST_PAUSE: Final = 0.2  # seconds before a write is tried again; doubled each time
_LONGEST_PAUSE: Final = 15.0
_TOLD_AFTER: Final = 5.0  # seconds; what passes sooner is nobody's concern
_PATIENCE: Final = 30.0  # seconds for which `flush` and `close` wait for a store that takes nothing
_WARNINGS_KEPT: Final = 10


@dataclass
class _Trouble:
    """A store that takes nothing.

    Attributes:
        began: Since when, on the monotonic clock.
        clock: The same, for a person.
        reason: Why, in one line.
        pause: Seconds before the next attempt.
        told: Whether a person knows.
    """

    began: float
    clock: str
    reason: str = ""
    pause: float = _FIRST_PAUSE
    told: bool = False


class Replayer:
    """Writes a spool's updates one after another; its thread begins with `start` and closes the spool.

    A write that fails for a reason that passes is tried again until it succeeds, and the later ones wait
    behind it. One whose content is wrong is given up and kept as a warning.

    Args:
        spool: What is written; also where it stays if the store never takes it.
        write: Writes one update, and bears being repeated.
        lasts: Whether an error would come again however often the update is written.
        reason: Says an error in one line.
        where: What is written to, for messages.
        tell: Shows a person that the store went away, or is back.
    """

    def __init__(
        self,
        spool: Spool,
        write: Callable[[RunUpdate], object],
        *,
        lasts: Callable[[Exception], bool],
        reason: Callable[[Exception], str],
        where: str,
        tell: Callable[[str], object],
    ) -> None:
        self._spool = spool
        self._write = write
        self._lasts = lasts
        self._reason = reason
        self._where = where
        self._tell = tell
        self._changed = threading.Condition()
        self._at_once = threading.Event()
        self._closing = self._stopping = False
        self._trouble: _Trouble | None = None
        self._warnings: list[str] = []
        self._left_out = 0
        self._thread = threading.Thread(target=self._work, name="mlflow-writer", daemon=True)

    @property
    def warnings(self) -> list[str]:
        """What was given up or is left, one line each: the first few, then how many more."""
        more = [f"{self._where}: {self._left_out} more writes failed"] if self._left_out else []
        return [*self._warnings, *more]

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def submit(self, update: RunUpdate, once: str | None = None) -> None:
        """Keep an update; it is written later, and lasts once this returns.

        Args:
            update: The update.
            once: What it is, where it must not come twice in a study.

        Raises:
            OSError: The spool can't be written.
        """
        if self._closing:
            self._warn(f"{update.what} came after the end")
        elif self._spool.add(update, once):
            with self._changed:
                self._changed.notify_all()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything so far is written.

        Returns:
            False if that took longer than `timeout` seconds, or the store takes nothing for long.
        """
        if not self._thread.is_alive():
            return False
        last = self._spool.last()
        return self._wait(lambda: not self._spool.count(last), timeout)

    def close(self, timeout: float) -> None:
        """Write what is left, for at most `timeout` seconds; a warning says what stays and where."""
        if self._closing:
            return
        self._closing = True
        self._wait(lambda: not self._thread.is_alive() or not self._spool.count(), timeout)
        left = self._spool.count()
        self._stopping = True
        self._at_once.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(1.0)
        if left:
            self._warn(self._left(left))

    def _wait(self, done: Callable[[], bool], timeout: float | None) -> bool:
        began = time.monotonic()

        def hopeless() -> bool:
            trouble = self._trouble
            return trouble is not None and time.monotonic() - max(trouble.began, began) > _PATIENCE

        self._at_once.set()
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: done() or hopeless(), timeout)
        return done()

    def _work(self) -> None:
        while (waiting := self._next()) is not None:
            began = time.monotonic()
            # The thread's boundary: whatever is wrong with one write must not end the others.
            try:
                self._write_or_give_up(waiting)
                self._spool.drop(waiting)
            except Exception as error:
                self._bear(error, began)
            else:
                self._recover()
        self._spool.close()

    def _write_or_give_up(self, waiting: Waiting) -> None:
        try:
            self._write(waiting.update)
        except Exception as error:
            if not self._lasts(error):
                raise
            self._warn(
                f"{waiting.update.what} was not written: {type(error).__name__}: {self._reason(error)}"
            )

    def _next(self) -> Waiting | None:
        """Wait for an update; None at the end."""
        with self._changed:
            while not self._stopping:
                if (waiting := self._spool.first()) is not None:
                    return waiting
                self._changed.wait()
        return None

    def _bear(self, error: Exception, began: float) -> None:
        """Wait before the next attempt; tell a person once it lasts."""
        trouble = self._trouble
        if trouble is None:
            clock = time.strftime("%H:%M:%S", time.localtime(time.time() - (time.monotonic() - began)))
            trouble = self._trouble = _Trouble(began, clock)
        trouble.reason = self._reason(error)
        if not trouble.told and time.monotonic() - trouble.began > _TOLD_AFTER:
            trouble.told = True
            place = "memory" if self._spool.file is None else self._spool.file
            self._tell(
                f"{self._where}: takes nothing since {trouble.clock} ({trouble.reason}); the study goes on, "
                f"and what it records waits in {place}"
            )
        with self._changed:
            self._changed.notify_all()
        if self._at_once.wait(trouble.pause):
            self._at_once.clear()
            trouble.pause = _FIRST_PAUSE
        else:
            trouble.pause = min(2 * trouble.pause, _LONGEST_PAUSE)

    def _recover(self) -> None:
        trouble, self._trouble = self._trouble, None
        if trouble is not None and trouble.told:
            self._tell(
                f"{self._where}: answers again since {time.strftime('%H:%M:%S')}; "
                f"{self._spool.count()} records that waited are written now"
            )
        with self._changed:
            self._changed.notify_all()

    def _left(self, count: int) -> str:
        why = f" ({self._trouble.reason})" if self._trouble else ""
        lost = f"{count} record{'' if count == 1 else 's'} could not be written{why}"
        file = self._spool.file
        if file is None:
            return lost
        return f"{lost}; kept in {file}: `recipe-search resume {file.parent}` writes them"

    def _warn(self, message: str) -> None:
        if len(self._warnings) < _WARNINGS_KEPT:
            self._warnings.append(f"{self._where}: {message}")
        else:
            self._left_out += 1
