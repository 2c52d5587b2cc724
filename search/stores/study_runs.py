"""StudyRuns: writes updates to a study's runs in MLflow, each as often as it takes and never twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.stores.mlflow_store import log_batch, mlflow_client, quiet
from search.stores.nested_runs import NestedRun
from search.stores.run_update import STUDY, RunUpdate
from search.stores.spool import Spool


class StudyRuns:
    """The runs of one study.

    A run is made together with the tag by which it is found again, and noted in the spool. So an update may
    be written any number of times: MLflow ignores a point of a metric that it has, with the same time stamp,
    and everything else takes the place of itself.

    Args:
        uri: MLflow tracking URI.
        experiment: The experiment's id.
        spool: Notes which runs there are.
        register: Registers what a study's folder has selected; told client, experiment, study's run, folder.
    """

    def __init__(
        self, uri: str, experiment: str, spool: Spool, register: Callable[[Any, str, str, Path], object]
    ) -> None:
        self._client = mlflow_client(uri)
        self._experiment = experiment
        self._spool = spool
        self._register = register
        self._home = Path() if spool.file is None else spool.file.parent.absolute()

    def write(self, update: RunUpdate) -> None:
        """Write an update.

        Raises:
            Exception: What MLflow, its database driver or its HTTP client raises.
            LookupError: The run was never started.
            FileNotFoundError: An artifact is not there any more.
        """
        # MLflow would print the whole traceback of each attempt.
        with quiet(silent=True):
            if update.ends_open:
                self._delete_doubles()
                for key in self._spool.open_runs():
                    self._set_status(key, self._run(key), "KILLED", update.timestamp)
            run = self._run(update.run, update.made)
            log_batch(
                self._client,
                run,
                metrics=update.metrics,
                params=update.params,
                tags=update.tags,
                step=update.step,
                timestamp=update.timestamp,
            )
            for name, text in update.texts.items():
                self._client.log_text(run, text, name)
            if update.artifact is not None:
                self._log_path(run, self._home / update.artifact)
            if update.registers is not None:
                self._register(self._client, self._experiment, run, self._home / update.registers)
            if update.status is not None:
                self._set_status(update.run, run, update.status, update.timestamp)

    def _run(self, key: str, made: NestedRun | None = None) -> str:
        """Return the run of a key: the noted one, else the recorded one, else a new one."""
        if (known := self._spool.run(key)) is not None:
            return known
        study = self._spool.run(STUDY)
        if made is None or study is None:
            raise LookupError(f"{key} was never started")
        tag, value = made.key
        run = find_run(self._client, self._experiment, {"mlflow.parentRunId": study, tag: value})
        if run is None:
            tags = {"mlflow.parentRunId": study, tag: value, **made.tags}
            run = self._client.create_run(
                self._experiment, start_time=made.started, tags=tags, run_name=made.name
            )
        found: str = run.info.run_id
        log_batch(self._client, found, params=made.params)
        self._spool.note_run(key, found)
        return found

    def _delete_doubles(self) -> None:
        """Delete runs that a server made late, for a request that was not answered and so made again."""
        known, doubles, token = self._spool.known_runs(), list[str](), None
        query = f"tags.`mlflow.parentRunId` = '{self._spool.run(STUDY)}'"
        while token != "":
            page = self._client.search_runs([self._experiment], query, max_results=1000, page_token=token)
            # Nothing was ever written to such a run.
            empty = (run for run in page if not run.data.params and not run.data.metrics)
            doubles += [run.info.run_id for run in empty if run.info.run_id not in known]
            token = page.token or ""
        for run in doubles:
            self._client.delete_run(run)

    def _log_path(self, run: str, path: Path) -> None:
        if path.is_dir():
            self._client.log_artifacts(run, str(path), path.name)
        elif path.exists():
            self._client.log_artifact(run, str(path))
        else:
            raise FileNotFoundError(f"{path} is not there")

    def _set_status(self, key: str, run: str, status: str, timestamp: int) -> None:
        from mlflow.entities import RunStatus

        # `MlflowClient.set_terminated` prints two lines to stdout for every run of a server.
        store = self._client._tracking_client.store
        ended = None if status == "RUNNING" else timestamp
        store.update_run_info(run, RunStatus.from_string(status), ended, None)
        self._spool.note_status(key, status)


def find_run(client: Any, experiment: str, tags: dict[str, str]) -> Any:
    """Return the oldest run of an experiment with these tags; None where there is none.

    Args:
        client: MLflow's client.
        experiment: The experiment's id.
        tags: Tag -> value.
    """
    found = client.search_runs(
        [experiment],
        " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items()),
        max_results=1,
        order_by=["attributes.start_time ASC"],
    )
    return found[0] if found else None
