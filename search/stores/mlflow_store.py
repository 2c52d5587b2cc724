"""The MLflow store: reaching it, making its tables and experiment, and writing a batch to a run."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from search.settings.study_file import InputError
from search.stores.database import prepared_alone, refusing, sqlite_file, tables

_PROBE = 4096  # bytes: a full disk takes an empty file
_BATCH = 100  # MLflow's bound on parameters, and on tags, in one call


def prepare_store(uri: str, experiment: str | None = None) -> None:
    """Create the store's tables once, or reach its server, before anything else touches it.

    Several processes that meet a fresh database at once leave it unusable. A database of an older
    MLflow is refused, not migrated: MLflow advises a backup first, and its message names the command.

    Args:
        uri: MLflow tracking URI.
        experiment: An experiment that must take writes, and artifacts where they lie in a local folder; made
            if there is none.

    Raises:
        InputError: The store cannot be reached or written; one line that names the URI.
    """
    is_database = _is_database(uri)
    with refusing_store(uri), quiet(), prepared_alone(uri) if is_database else nullcontext():
        if uri.startswith(("http://", "https://")):
            _reach_server(uri)
        # Both keep their version in a table of the same name, and each takes the other's for its own.
        if is_database and {"studies", "trials"} <= tables(uri):
            raise InputError("it holds Optuna's tables; give MLflow a database of its own")
        client = mlflow_client(uri)
        client.search_experiments(max_results=1)
        if experiment is not None:
            _try_to_write(client, experiment_id(client, uri, experiment))


def _try_to_write(client: Any, experiment: str) -> None:
    """Write a tag of an experiment, and a file beside its artifacts where these lie in a local folder."""
    # Another value each time: MLflow does not write one that is there.
    client.set_experiment_tag(experiment, "recipe_search.checked", str(time.time_ns()))
    location = urlsplit(client.get_experiment(experiment).artifact_location)
    if location.scheme not in ("", "file"):
        return
    folder = Path(unquote(location.path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE))
    except OSError as error:
        raise InputError(f"its artifacts can't be written to {folder}: {error.strerror}") from None


def mlflow_client(uri: str) -> Any:
    """Return MLflow's client of a store, which fails at once where no server answers, and shows no bars.

    By itself it would try for four minutes; who calls it tries again, or says so.
    """
    from mlflow import environment_variables as settings
    from mlflow.tracking import MlflowClient

    # MLflow has no other way, and reads them at each request; a person's own are left.
    os.environ.setdefault(settings.MLFLOW_HTTP_REQUEST_MAX_RETRIES.name, "0")
    os.environ.setdefault(settings.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.name, "false")
    return MlflowClient(uri)


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


def newest_study(uri: str) -> tuple[str, str] | None:
    """Return the experiment and the run of the study that was started last; None where there is none.

    Raises:
        InputError: The store can't be read; one line that names the URI.
    """
    with refusing_store(uri), quiet():
        from mlflow.tracking import MlflowClient

        client = MlflowClient(uri)
        experiments = [each.experiment_id for each in client.search_experiments()]
        runs = client.search_runs(
            experiments, "tags.kind = 'study'", max_results=1, order_by=["attributes.start_time DESC"]
        )
    return (runs[0].info.experiment_id, runs[0].info.run_id) if runs else None


def _artifact_folder(uri: str, experiment: str) -> str | None:
    """Return `mlruns/` beside a SQLite file, or in the working directory; a server has its own place.

    MLflow's own default would be the working directory that this process had when it first met the store.
    """
    if not _is_database(uri):
        return None
    database = sqlite_file(uri)
    home = Path.cwd() if database is None else database.parent
    return (home / "mlruns" / re.sub(r"[^\w.-]", "_", experiment)).as_uri()


def _is_database(uri: str) -> bool:
    return "://" in uri and not uri.startswith(("http:", "https:", "file:", "databricks"))


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


def refusing_store(uri: str) -> AbstractContextManager[None]:
    """Turn what MLflow, its database driver or its HTTP client raises into one line that names the URI."""
    return refusing("tracking.uri", "MLflow store", uri)


@contextmanager
def quiet(name: str = "mlflow.store.db.utils", *, silent: bool = False) -> Iterator[None]:
    """Keep a part of MLflow from telling on stderr what it does, such as that it makes its tables.

    Args:
        name: The part.
        silent: Whether its warnings and errors are kept from it, too.
    """
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1 if silent else logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
