"""Where the Optuna study lies: a file in the study's folder, or a database that several studies share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from search.settings.study_file import InputError
from search.stores.database import prepared_alone, refusing, tables
from search.stores.passwords import without_password

KEY = "search.storage"
_WHAT = "Optuna storage"


def prepare_storage(address: str) -> None:
    """Make Optuna's tables once, before several writers meet a fresh database.

    Args:
        address: An SQLAlchemy address.

    Raises:
        InputError: The database can't be reached or written, or belongs to MLflow; one line.
    """
    with refusing(KEY, _WHAT, address), prepared_alone(address):
        # Both keep their version in a table of the same name, and each takes the other's for its own.
        if "experiments" in tables(address):
            raise InputError("it holds MLflow's tables; give Optuna a database of its own")
        open_database(address)


def open_storage(address: str | None, journal: Path) -> BaseStorage:
    """Open the storage of one study.

    Args:
        address: A database whose tables were prepared, or None for a file.
        journal: The file, which is then this study's alone.
    """
    if address is not None:
        return open_database(address)
    _drop_half_a_line(journal)
    return JournalStorage(JournalFileBackend(str(journal)))


def _drop_half_a_line(journal: Path) -> None:
    """Cut off what a full disk or a power failure left of a journal's last line; Optuna could not read on."""
    if not journal.is_file():
        return
    with journal.open("r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)


def known_trials(journal: Path, study_name: str) -> dict[int, FrozenTrial]:
    """Return a study's trials by number, as a file holds them: those that were begun.

    Raises:
        ValueError: The file holds no such study.
        KeyError, TypeError, AttributeError, IndexError: It is damaged.
    """
    try:
        storage = JournalStorage(_Lines(journal))
        studies = {each.study_name: each._study_id for each in storage.get_all_studies()}
        if not studies:
            return {}
        if study_name not in studies:
            raise ValueError(f"it holds the study {min(studies)!r}, not {study_name!r}")
        known = storage.get_all_trials(studies[study_name], deepcopy=False)
    except (OptunaError, AssertionError) as error:
        raise ValueError(f"Optuna can't read it: {error}") from None
    return {trial.number: trial for trial in known if trial.state is not TrialState.WAITING}


def open_database(address: str) -> BaseStorage:
    """Open an Optuna storage in a database, making its tables if there are none."""
    # A study takes days, and a server may close what was idle for an hour.
    return _Database(address, engine_kwargs={"pool_pre_ping": True})


def optuna_study_name(name: str, address: str | None, study_id: str) -> str:
    """Return the name of a study within its storage.

    In a database, where others may have a study of the same name, its own id tells them apart;
    a study of the same name would otherwise be taken for this one, and its trials for this one's.
    """
    return name if address is None else f"{name}-{study_id}"


class _Lines(BaseJournalBackend):
    """A journal that is only read, up to its last whole line."""

    def __init__(self, file: Path) -> None:
        whole, _, _ = file.read_bytes().rpartition(b"\n")
        self._lines = whole.splitlines()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Yield what was logged, from some line on."""
        for line in self._lines[log_number_from:]:
            yield json.loads(line)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Refuse to write."""
        raise NotImplementedError("this journal is only read")


class _Database(RDBStorage):
    """Optuna's database, pickled without its password: Tune saves the searcher in the study's folder."""

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return state | {"url": without_password(state["url"])}
