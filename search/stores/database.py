"""Databases by their address: reaching one, and one line for why it can't be used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from search.settings.study_file import InputError
from search.stores.passwords import shown
from spaces.nearest import did_you_mean

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_KINDS: Final = ("sqlite", "postgresql", "mysql", "mssql")
_INSTALL: Final = "pip install -c constraints.txt -e '.[postgres]'"
_TIMEOUT: Final = 10.0  # seconds for a server to answer
# Any number that other programs are unlikely to lock.
_LOCK: Final = 0x7265_6369
_LOCK_TIMEOUT: Final = "120s"


def sqlite_file(address: str) -> Path | None:
    """Return the file of a SQLite database; None for any other address and for one in memory."""
    from sqlalchemy.engine import make_url

    if not address.startswith("sqlite"):
        return None
    database = make_url(address).database
    return Path(database).absolute() if database and database != ":memory:" else None


def tables(address: str, timeout: float = _TIMEOUT) -> frozenset[str]:
    """Connect once and return the names of the tables; a SQLite file is made if there is none.

    Args:
        address: An SQLAlchemy address.
        timeout: Seconds that a server may take to answer.

    Raises:
        Exception: What SQLAlchemy or the driver raises; see `refusing`.
    """
    import sqlalchemy

    with _connected(address, timeout) as connection:
        return frozenset(sqlalchemy.inspect(connection).get_table_names())


def check_database(key: str, what: str, address: str) -> None:
    """Refuse a database that can't be reached, without making one.

    Args:
        key: The study file's key that has the address.
        what: What the address leads to.
        address: An SQLAlchemy address.

    Raises:
        InputError: It can't be reached; one line.
    """
    with refusing(key, what, address):
        if sqlite_file(address) is None:
            tables(address)


@contextmanager
def prepared_alone(address: str) -> Iterator[None]:
    """Hold a database for the making of its tables, so that two programs don't make them at once.

    Connects once, with a bound on the time, and tries whether a SQLite file can be written: MLflow and
    Optuna alone would try for minutes.

    Raises:
        Exception: What SQLAlchemy or the driver raises; see `refusing`.
    """
    if (file := sqlite_file(address)) is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    with _connected(address, _TIMEOUT) as connection:
        if connection.dialect.name == "sqlite":
            # A write that is never committed: on a read-only file even BEGIN IMMEDIATE succeeds.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            connection.exec_driver_sql("CREATE TABLE recipe_search_probe (x)")
            connection.exec_driver_sql("ROLLBACK")
        if connection.dialect.name == "postgresql":
            # The lock belongs to the connection, so that it goes with this process at the latest.
            connection.exec_driver_sql(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
            connection.exec_driver_sql(f"SELECT pg_advisory_lock({_LOCK})")
            connection.commit()
            yield
            return
    yield


@contextmanager
def refusing(key: str, what: str, address: str) -> Iterator[None]:
    """Turn what a store, its database driver or its HTTP client raises into one line.

    Args:
        key: The study file's key that has the address.
        what: What the address leads to.
        address: The address; its password is not shown.

    Raises:
        InputError: In place of whatever was raised.
    """
    try:
        yield
    # Drivers and servers share no base class of errors.
    except Exception as error:
        raise InputError(
            f"{key}: cannot use the {what} {shown(address)}: {reason(error, address)}"
        ) from error


def reason(error: Exception, address: str) -> str:
    """Return in one line why an address can't be used."""
    from sqlalchemy.exc import NoSuchModuleError

    kind = re.split(r"[+:]", address, maxsplit=1)[0]
    cause = getattr(error, "orig", None) or error
    if isinstance(error, NoSuchModuleError):
        return f"unknown kind of database {kind!r}: {did_you_mean(kind, _KINDS)}"
    if isinstance(cause, ModuleNotFoundError) and kind == "postgresql":
        return f"its driver {cause.name!r} is not installed; the extra `postgres` brings psycopg: {_INSTALL}"
    return " ".join(str(cause).split()).replace(address, shown(address))[:300]


@contextmanager
def _connected(address: str, timeout: float) -> Iterator[Connection]:
    import sqlalchemy
    from sqlalchemy.engine import make_url

    options: dict[str, Any] = {}
    if make_url(address).get_backend_name() in ("postgresql", "mysql"):
        options["connect_args"] = {"connect_timeout": max(1, round(timeout))}
    engine = sqlalchemy.create_engine(address, **options)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
