"""Spool: a file that keeps what MLflow has not got yet, in order, whatever dies."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from search.settings.user_input import InputError
from search.stores.run_update import STUDY, RunUpdate

_TABLES = (
    # Ids of what was written are not used again, so that `flush` can wait for one.
    "CREATE TABLE IF NOT EXISTS waiting (id INTEGER PRIMARY KEY AUTOINCREMENT, content TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS once (key TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS runs (key TEXT PRIMARY KEY, run TEXT NOT NULL, status TEXT)",
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """An update that is to be written.

    Attributes:
        id: Its place in the order.
        update: The update.
    """

    id: int
    update: RunUpdate


class Spool:
    """Updates that wait for MLflow, what was ever submitted, and the runs that are known.

    A SQLite file that one process holds at a time: a write-ahead log under an exclusive lock needs no shared
    memory, so that it also works on a network's file system, and one fsync a call. Any thread may call.

    Args:
        file: The file; made if there is none. None keeps everything in memory.

    Raises:
        InputError: Another process holds it, or it is damaged or can't be made.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(
                ":memory:" if file is None else file, timeout=1.0, check_same_thread=False
            )
            for setting in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
                self._connection.execute(f"PRAGMA {setting}")
            for table in _TABLES:
                self._connection.execute(table)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                raise InputError(f"{file}: another recipe-search is recording this study") from None
            raise self._damaged(error) from None

    def check(self) -> None:
        """Check that all of it can be read.

        Raises:
            InputError: It is damaged, is another program's, or names what lies outside the study's folder.
        """
        try:
            with self._lock:
                (verdict,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
                if verdict != "ok":
                    raise ValueError(verdict)
                for query in ("SELECT key, run, status FROM runs", "SELECT key FROM once"):
                    self._connection.execute(query).fetchone()
                for _, content in self._connection.execute("SELECT id, content FROM waiting"):
                    update = RunUpdate.from_json(content)
                    for path in filter(None, (update.artifact, update.registers)):
                        if Path(path).is_absolute() or ".." in Path(path).parts:
                            raise ValueError(f"{update.what}: {path} lies outside the study's folder")
        except (sqlite3.Error, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> InputError:
        return InputError(
            f"{self.file}: what MLflow has not got yet can't be read ({error}); without this file the study "
            "goes on, and what waited in it stays unrecorded"
        )

    def add(self, update: RunUpdate, once: str | None = None) -> bool:
        """Keep an update; it lasts once this returns.

        Args:
            update: The update.
            once: What it is, where it must not come twice in a study.

        Returns:
            Whether it is new.

        Raises:
            OSError: The file can't be written.
        """
        try:
            with self._lock, self._connection as connection:
                if once is not None:
                    kept = connection.execute("INSERT OR IGNORE INTO once VALUES (?)", [once])
                    if not kept.rowcount:
                        return False
                connection.execute("INSERT INTO waiting (content) VALUES (?)", [update.to_json()])
                return True
        except sqlite3.OperationalError as error:
            raise OSError(f"{self.file}: {error}") from error

    def first(self) -> Waiting | None:
        """Return the update that comes next; None where none waits."""
        with self._lock:
            row = self._connection.execute("SELECT id, content FROM waiting ORDER BY id LIMIT 1").fetchone()
        return None if row is None else Waiting(row[0], RunUpdate.from_json(row[1]))

    def drop(self, waiting: Waiting) -> None:
        """Forget an update that was written, or that never can be."""
        with self._lock, self._connection as connection:
            connection.execute("DELETE FROM waiting WHERE id = ?", [waiting.id])

    def count(self, until: int | None = None) -> int:
        """Return how many updates wait, up to the one with this id."""
        bound = self.last() if until is None else until
        with self._lock:
            row = self._connection.execute("SELECT count(*) FROM waiting WHERE id <= ?", [bound]).fetchone()
        return int(row[0])

    def last(self) -> int:
        """Return the largest id that an update was ever given; 0 before the first."""
        with self._lock:
            row = self._connection.execute("SELECT max(seq) FROM sqlite_sequence").fetchone()
        return int(row[0] or 0)

    def run(self, key: str) -> str | None:
        """Return the MLflow run that a key stands for; None where none is known."""
        with self._lock:
            row = self._connection.execute("SELECT run FROM runs WHERE key = ?", [key]).fetchone()
        return None if row is None else str(row[0])

    def note_run(self, key: str, run: str) -> None:
        """Note the MLflow run that a key stands for; another run for the study forgets all of the last."""
        with self._lock, self._connection as connection:
            if key == STUDY:
                connection.execute(
                    "DELETE FROM runs WHERE NOT EXISTS (SELECT 1 FROM runs WHERE key = ? AND run = ?)",
                    [key, run],
                )
            connection.execute("INSERT OR IGNORE INTO runs VALUES (?, ?, NULL)", [key, run])

    def note_status(self, key: str, status: str) -> None:
        """Note a run's status."""
        with self._lock, self._connection as connection:
            connection.execute("UPDATE runs SET status = ? WHERE key = ?", [status, key])

    def known_runs(self) -> frozenset[str]:
        """Return the MLflow runs of all keys."""
        with self._lock:
            return frozenset(run for (run,) in self._connection.execute("SELECT run FROM runs"))

    def open_runs(self) -> tuple[str, ...]:
        """Return the keys of the nested runs that were started and have not ended."""
        query = "SELECT key FROM runs WHERE status = 'RUNNING' AND key != ? ORDER BY key"
        with self._lock:
            return tuple(key for (key,) in self._connection.execute(query, [STUDY]))

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()
