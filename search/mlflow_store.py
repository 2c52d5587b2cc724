"""The MLflow store: reaching it, making its tables and experiment, and writing a batch to a run."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from search.study_file import InputError

_BATCH = 100  # MLflow's bound on parameters, and on tags, in one call


def prepare_store(uri: str) -> None:
    """Create the store's tables once, or reach its server, before anything else touches it.

    Several processes that meet a fresh SQLite file at once leave it unusable. A database of an older
    MLflow is refused, not migrated: MLflow advises a backup first, and its message names the command.

    Args:
        uri: MLflow tracking URI.

    Raises:
        InputError: The store cannot be reached or written; one line that names the URI.
    """
    with refusing(uri), quiet():
        from mlflow.tracking import MlflowClient

        if uri.startswith(("http://", "https://")):
            _reach_server(uri)
        elif "://" in uri and not uri.startswith(("file:", "databricks")):
            _reach_database(uri)
        MlflowClient(uri).search_experiments(max_results=1)


def log_batch(
    client: Any,
    run: str,
    *,
    metrics: Mapping[str, float] | None = None,
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    step: int = 0,
    timestamp: int = 0,
) -> None:
    """Write a batch; one call unless there are more parameters or tags than MLflow takes at once."""
    from mlflow.entities import Metric, Param, RunTag

    finite = {name: value for name, value in (metrics or {}).items() if math.isfinite(value)}
    all_tags = dict(tags or {})
    if missing := sorted((metrics or {}).keys() - finite.keys()):
        all_tags["not_finite"] = f"step {step}: {', '.join(missing)}"
    points = [Metric(name, value, timestamp, step) for name, value in finite.items()]
    pairs = [Param(name, value) for name, value in (params or {}).items()]
    labels = [RunTag(name, value) for name, value in all_tags.items()]
    if points or labels[:_BATCH] or pairs[:_BATCH]:
        client.log_batch(run, metrics=points, params=pairs[:_BATCH], tags=labels[:_BATCH])
    for start in range(_BATCH, max(len(pairs), len(labels)), _BATCH):
        some = slice(start, start + _BATCH)
        client.log_batch(run, params=pairs[some], tags=labels[some])


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested plain values as MLflow parameters: dotted names, values as a study file spells them."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            flat[prefix + key] = ", ".join(map(str, value))
        else:
            flat[prefix + key] = value if isinstance(value, str) else json.dumps(value)
    return flat


def experiment_id(client: Any, uri: str, name: str) -> str:
    """Return the id of the experiment of this name, made if there is none.

    Raises:
        InputError: The experiment was deleted.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=_artifact_folder(uri, name)))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another study was quicker
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise InputError(f"the experiment {name!r} was deleted there: restore it or choose another name")
    return str(found.experiment_id)


def _artifact_folder(uri: str, experiment: str) -> str | None:
    """Return a folder beside a SQLite database; MLflow's own default would be the working directory's."""
    database = _sqlite_file(uri)
    if database is None:
        return None
    return (database.parent / "mlruns" / re.sub(r"[^\w.-]", "_", experiment)).as_uri()


def _sqlite_file(uri: str) -> Path | None:
    from sqlalchemy.engine import make_url

    if not uri.startswith("sqlite:"):
        return None
    database = make_url(uri).database
    return Path(database).absolute() if database and database != ":memory:" else None


def _reach_database(uri: str) -> None:
    """Connect once, and try whether a file can be written: MLflow alone would try again for minutes."""
    import sqlalchemy

    if (file := _sqlite_file(uri)) is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    engine = sqlalchemy.create_engine(uri)
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                # A write that is never committed: on a read-only file even BEGIN IMMEDIATE succeeds.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                connection.exec_driver_sql("CREATE TABLE recipe_search_probe (x)")
                connection.exec_driver_sql("ROLLBACK")
    finally:
        engine.dispose()


def _reach_server(uri: str) -> None:
    """Ask once, with MLflow's own credentials and TLS settings; its client would try for minutes."""
    import requests
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request_safe

    try:
        http_request_safe(
            get_default_host_creds(uri),
            "/api/2.0/mlflow/experiments/search",
            "POST",
            json={"max_results": 1},
            max_retries=0,
            timeout=15,
        )
    except MlflowException as error:
        if isinstance(error.__context__, requests.ConnectionError | requests.Timeout):
            raise InputError("no MLflow server answers there") from error
        raise


@contextmanager
def refusing(uri: str) -> Iterator[None]:
    """Turn what MLflow, its database driver or its HTTP client raises into one line that names the URI."""
    try:
        yield
    # Drivers and servers share no base class of errors.
    except Exception as error:
        cause = getattr(error, "orig", None) or error
        reason = " ".join(str(cause).split()).replace(uri, shown(uri))[:300]
        raise InputError(f"tracking.uri: cannot use the MLflow store {shown(uri)}: {reason}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep MLflow from telling on stderr that it makes its tables."""
    logger = logging.getLogger("mlflow.store.db.utils")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def shown(uri: str) -> str:
    """Return a URI without its password."""
    return re.sub(r"(://[^:/@]+):[^@/]+@", r"\1:***@", uri)
