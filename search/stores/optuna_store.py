"""Where the Optuna study lies: a file in the study's folder, or a database that several studies share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

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
    return JournalStorage(JournalFileBackend(str(journal)))


def open_database(address: str) -> BaseStorage:
    """Open an Optuna storage in a database, making its tables if there are none."""
    # A study takes days, and a server may close what was idle for an hour.
    return _Database(address, engine_kwargs={"pool_pre_ping": True})


def optuna_study_name(name: str, address: str | None, run_id: str) -> str:
    """Return the name of a study within its storage.

    In a database, where others may have a study of the same name, the id of its MLflow run tells them apart;
    a study of the same name would otherwise be taken for this one, and its trials for this one's.
    """
    return name if address is None else f"{name}-{run_id}"


class _Database(RDBStorage):
    """Optuna's database, pickled without its password: Tune saves the searcher in the study's folder."""

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return state | {"url": without_password(state["url"])}
