"""Which failures of a write are tried again: those that say nothing of what is written."""

from __future__ import annotations

import errno
import sqlite3

import pytest
import requests
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, INTERNAL_ERROR, TEMPORARILY_UNAVAILABLE
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, OperationalError

from search.settings.user_input import InputError
from search.stores.write_failures import lasts, why


def rest(code: str) -> RestException:
    return RestException({"error_code": code, "message": "what the server says"})


def http(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError("refused", response=response)


def of_database(kind: type, code: int = BAD_REQUEST) -> MlflowException:
    error = MlflowException("wrapped", code)
    error.__cause__ = kind("INSERT", {}, sqlite3.OperationalError("database is locked"))
    return error


@pytest.mark.parametrize(
    "error",
    [
        MlflowException("API request failed with exception", INTERNAL_ERROR),
        *map(rest, ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")),
        *map(rest, ("PERMISSION_DENIED", "UNAUTHENTICATED")),
        *map(http, (500, 503, 429, 403)),
        requests.ConnectionError("refused"),
        requests.Timeout("slow"),
        of_database(OperationalError, TEMPORARILY_UNAVAILABLE),
        of_database(InterfaceError),
        OSError(errno.ENOSPC, "No space left on device"),
        PermissionError(errno.EROFS, "Read-only file system"),
    ],
)
def test_what_passes(error: Exception) -> None:
    assert not lasts(error)


@pytest.mark.parametrize(
    "error",
    [
        *map(rest, ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "ENDPOINT_NOT_FOUND")),
        http(404),
        of_database(DataError),
        of_database(IntegrityError),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        InputError("the folder is no study's"),
        LookupError("t_1 was never started"),
    ],
)
def test_what_lasts(error: Exception) -> None:
    assert lasts(error)


def test_why_is_short() -> None:
    away = MlflowException("API request to http://me:secret@host/api failed with exception ...")
    away.__context__ = requests.ConnectionError("HTTPConnectionPool(host=...): Max retries exceeded")
    assert why(away, "http://me:secret@host") == "no MLflow server answers there"
    assert why(of_database(OperationalError), "sqlite:///mlflow.db") == "database is locked"
    refused = MlflowException("at http://me:secret@host\nno")
    assert why(refused, "http://me:secret@host") == "at http://me:***@host no"
