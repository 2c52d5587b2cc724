"""Every kind of update written twice to a real store: the second time changes nothing."""

from __future__ import annotations

from pathlib import Path

from mlflow.tracking import MlflowClient
from tracked_study import RECIPE, Store

from search.stores.nested_runs import trial_run
from search.stores.run_update import STUDY, RunUpdate
from search.stores.spool import Spool
from search.stores.study_runs import StudyRuns


def written_twice(store: Store, folder: Path) -> None:
    """Write every kind of update twice to a store, and compare what it holds with what it held before."""
    client = store.client
    experiment = client.create_experiment(store.experiment, artifact_location=folder.as_uri())
    spool = Spool(folder / "spool.db")
    spool.note_run(STUDY, client.create_run(experiment).info.run_id)
    (folder / "card.md").write_text("a card")
    updates = [
        RunUpdate(what="start", run="t_1", made=trial_run("t_1", 0, RECIPE, None), status="RUNNING"),
        RunUpdate(what="manifest", run="t_1", params={"a": "1"}, texts={"manifest.json": "{}"}),
        RunUpdate(what="rung", run="t_1", metrics={"score": 0.1 + 0.2, "drift/kl_target": 1e-9}, step=10),
        RunUpdate(what="artifact", artifact="card.md"),
        RunUpdate(what="open", ends_open=True),
        RunUpdate(what="end", metrics={"score": 1.0}, tags={"verdict": "yes"}, status="FINISHED"),
    ]
    runs = StudyRuns(store.uri, experiment, spool, lambda *_: None)
    found = []
    for again in (False, True):
        for update in updates:
            runs.write(update)
            if again:
                runs.write(update)
        found.append(_content(client, store))
    assert found[0] == found[1]
    (trial,) = [run for name, run in found[0].items() if name.startswith("000")]
    assert trial["status"] == "KILLED"
    assert [point[1:] for point in trial["score"]] == [(10, 0.1 + 0.2)]


def _content(client: MlflowClient, store: Store) -> dict[str, dict[str, object]]:
    return {
        run.info.run_name: {
            "status": run.info.status,
            "ended": run.info.end_time,
            "params": run.data.params,
            "tags": run.data.tags,
            **{
                name: [
                    (point.timestamp, point.step, point.value)
                    for point in client.get_metric_history(run.info.run_id, name)
                ]
                for name in run.data.metrics
            },
        }
        for run in store.runs()
    }
