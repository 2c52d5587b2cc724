"""Which failures of a write to MLflow pass by themselves, and what a person is told of them."""

from __future__ import annotations

from typing import Final

from search.stores.database import reason

# A login that has run out is renewed, and too many requests become fewer.
_PASSING_REFUSALS: Final = frozenset({401, 403, 408, 425, 429})
_PERMANENT: Final = (FileNotFoundError, LookupError, TypeError, ValueError, AttributeError)


def lasts(error: Exception) -> bool:
    """Return whether a write that failed would fail whenever it is tried: its content is wrong.

    What says nothing of the content passes: no connection, a locked database, a full disk, an error
    inside a server, a login that is refused.

    Args:
        error: What the write raised.
    """
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

    if isinstance(error, MlflowException):
        # MLflow takes any error of a database but one for a wrong request, a lost connection too.
        if isinstance(error.__cause__, DBAPIError):
            return isinstance(error.__cause__, DataError | IntegrityError)
        return _refused(error.get_http_status_code())
    if isinstance(error, requests.RequestException):
        return error.response is not None and _refused(error.response.status_code)
    return isinstance(error, _PERMANENT)


def why(error: Exception, uri: str) -> str:
    """Return in one line why a write failed.

    Args:
        error: What the write raised.
        uri: MLflow tracking URI.
    """
    import requests
    from sqlalchemy.exc import DBAPIError

    cause = error.__cause__ or error.__context__
    if isinstance(cause, requests.ConnectionError | requests.Timeout):
        return "no MLflow server answers there"
    return reason(cause if isinstance(cause, DBAPIError) else error, uri)


def _refused(status: int) -> bool:
    return 400 <= status < 500 and status not in _PASSING_REFUSALS
