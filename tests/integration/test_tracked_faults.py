"""What StudyTracker records while a real store takes nothing: all of it, in order, once."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest
from small_disk import small_disk
from tracked_study import RECIPE, Store, ended, study_config
from written_twice import written_twice

from search.results import TrialState
from search.tracking import StudyTracker


def tracker_of(store: Store, folder: Path, told: list[str] | None = None) -> StudyTracker:
    folder.mkdir(exist_ok=True)
    lines: list[str] = [] if told is None else told
    return StudyTracker(store.uri, store.experiment, folder / "mlflow-spool.db", lines.append)


def started(tracker: StudyTracker) -> str:
    return tracker.start_study(study_config(), tags={}, fingerprints={}, study_id="a1b2")


class TestFullDisk:
    def test_artifacts_wait_until_there_is_room(self, store: Store, tmp_path: Path) -> None:
        report = tmp_path / "study" / "report.html"
        with small_disk(tmp_path / "disk", "64k") as disk:
            store.client.create_experiment(store.experiment, artifact_location=disk.folder.as_uri())
            tracker = tracker_of(store, tmp_path / "study")
            parent = started(tracker)
            report.write_bytes(bytes(200_000))
            tracker.start_trial("t_1", 0, RECIPE)
            tracker.log_artifacts([report])
            tracker.log_rung("t_1", 10, {"score": 1.0})
            assert not tracker.flush(1.0)
            assert store.trial("t_1").data.metrics == {}
            disk.set("size=1m")
            assert tracker.flush(30.0)
            tracker.close()
            assert tracker.warnings == []
            assert store.trial("t_1").data.metrics == {"score": 1.0}
            (found,) = disk.folder.glob(f"{parent}/artifacts/report.html")
            assert found.read_bytes() == report.read_bytes()

    def test_what_is_left_at_the_end_is_written_later(self, store: Store, tmp_path: Path) -> None:
        study = tmp_path / "study"
        with small_disk(tmp_path / "disk", "64k") as disk:
            store.client.create_experiment(store.experiment, artifact_location=disk.folder.as_uri())
            tracker = tracker_of(store, study)
            parent = started(tracker)
            (study / "report.html").write_bytes(bytes(200_000))
            tracker.start_trial("t_1", 0, RECIPE)
            tracker.log_artifacts([study / "report.html"])
            tracker.end_trial(ended("t_1", 0, TrialState.COMPLETE))
            tracker.finish(True, {"score": 10.0})
            tracker.close(0.5)
            (warning,) = tracker.warnings
            assert "5 records could not be written ([Errno 28] No space left on device" in warning
            assert warning.endswith(
                f"kept in {study / 'mlflow-spool.db'}: `recipe-search resume {study}` writes them"
            )
            assert store.client.get_run(parent).info.status == "RUNNING"

            disk.set("size=1m")
            moved = study.rename(tmp_path / "moved")
            later = tracker_of(store, moved)
            later.replay()
            later.close()
            assert later.warnings == []
            run = store.client.get_run(parent)
            assert (run.info.status, run.data.metrics) == ("FINISHED", {"score": 10.0})
            assert store.trial("t_1").info.status == "FINISHED"
            assert {each.path for each in store.client.list_artifacts(parent)} == {
                "study.yaml",
                "report.html",
            }
            # Nothing waits: once more changes nothing.
            again = tracker_of(store, moved)
            again.replay()
            again.close()
            assert store.client.get_run(parent).info.end_time == run.info.end_time


class TestLockedDatabase:
    @pytest.mark.slow
    def test_for_longer_than_mlflow_waits(
        self, store: Store, mlflow_database: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        told: list[str] = []
        tracker = tracker_of(store, tmp_path / "study", told)
        started(tracker)
        tracker.start_trial("t_1", 0, RECIPE)
        assert tracker.flush(60.0)
        other = sqlite3.connect(mlflow_database, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        slowest = 0.0
        for step in range(1, 26):  # MLflow waits for 20 s
            began = time.monotonic()
            tracker.log_rung("t_1", step, {"score": float(step)})
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(1.0)
        assert len(told) == 1
        other.execute("ROLLBACK")
        other.close()
        assert tracker.flush(60.0)
        tracker.close()
        assert tracker.warnings == []
        assert slowest < 0.5
        history = store.client.get_metric_history(store.trial("t_1").info.run_id, "score")
        assert [point.step for point in history] == list(range(1, 26))
        away, back = told
        assert "(database is locked)" in away
        assert "records that waited are written now" in back
        assert "Traceback" not in capfd.readouterr().err


class TestGivenUp:
    def test_a_run_that_somebody_deleted_does_not_hold_up_the_rest(
        self, store: Store, tmp_path: Path
    ) -> None:
        tracker = tracker_of(store, tmp_path / "study")
        parent = started(tracker)
        tracker.start_trial("t_1", 0, RECIPE)
        tracker.start_trial("t_2", 1, RECIPE)
        assert tracker.flush(60.0)
        store.client.delete_run(store.trial("t_1").info.run_id)
        tracker.log_rung("t_1", 10, {"score": 1.0})
        tracker.log_rung("t_2", 10, {"score": 2.0})
        tracker.finish(True)
        tracker.close()
        assert store.trial("t_2").data.metrics == {"score": 2.0}
        assert store.client.get_run(parent).info.status == "FINISHED"
        assert "step 10 of trial t_1 was not written: MlflowException" in tracker.warnings[0]


class TestTwice:
    """Whatever was done before the driver was killed, and not noted, is done again and changes nothing."""

    def test_every_update_may_be_written_again(self, store: Store, tmp_path: Path) -> None:
        written_twice(store, tmp_path)

    def test_runs_that_were_made_and_not_noted_are_found(self, store: Store, tmp_path: Path) -> None:
        # The last thing each life did was to make a run.
        client = store.client
        experiment = client.create_experiment(store.experiment, artifact_location=tmp_path.as_uri())
        made = client.create_run(experiment, tags={"study_id": "a1b2"})
        tags = {"mlflow.parentRunId": made.info.run_id, "trial_id": "t_1"}
        trial = client.create_run(experiment, tags=tags)
        tracker = tracker_of(store, tmp_path / "study")
        assert started(tracker) == made.info.run_id
        tracker.start_trial("t_1", 0, RECIPE)
        tracker.close()
        assert tracker.warnings == []
        assert len(store.runs()) == 2
        found = store.trial("t_1")
        assert (found.info.run_id, found.data.params["subset"]) == (trial.info.run_id, "gate_up")
        assert client.get_run(made.info.run_id).data.params["search.trials"] == "2"

    def test_a_run_that_a_server_made_too_late_goes(self, store: Store, tmp_path: Path) -> None:
        tracker = tracker_of(store, tmp_path / "study")
        parent = started(tracker)
        tracker.start_trial("t_1", 0, RECIPE)
        tracker.log_rung("t_1", 10, {"score": 1.0})
        assert tracker.flush(60.0)
        # The first request to make the run, which the server answers when nobody listens any more.
        first = store.trial("t_1")
        experiment = first.info.experiment_id
        store.client.create_run(experiment, tags={"mlflow.parentRunId": parent, "trial_id": "t_1"})
        # What somebody else nests there stays.
        other = store.client.create_run(experiment, tags={"mlflow.parentRunId": parent, "kind": "note"})
        store.client.log_param(other.info.run_id, "who", "ann")
        tracker.finish(True)
        tracker.close()
        assert tracker.warnings == []
        assert store.trial("t_1").info.run_id == first.info.run_id
        assert {run.info.run_id for run in store.runs()} == {parent, first.info.run_id, other.info.run_id}

    def test_a_step_that_comes_again_is_the_first_one(self, store: Store, tmp_path: Path) -> None:
        for life, scores in enumerate([(1.0, 2.0), (7.0, 2.5, 3.0)]):
            tracker = tracker_of(store, tmp_path / "study")
            started(tracker)
            tracker.start_trial("t_1", 0, RECIPE)
            for step, score in enumerate(scores, start=1):
                tracker.log_rung("t_1", step, {"score": score})
            if life:
                tracker.end_trial(ended("t_1", 0, TrialState.COMPLETE))
            tracker.close()
            assert tracker.warnings == []
        run = store.trial("t_1")
        history = store.client.get_metric_history(run.info.run_id, "score")
        assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 2.0), (3, 3.0)]
        assert run.info.status == "FINISHED"
