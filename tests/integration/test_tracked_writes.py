"""How StudyTracker writes to a real MLflow store: in order, at once, after failures, to a server."""

from __future__ import annotations

import math
import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy.engine import Engine
from tracked_study import RECIPE, Store, ended

from search.results import TrialState


class TestRungs:
    def test_a_hundred_fast_rungs_keep_their_order(self, store: Store, mlflow_database: Path) -> None:
        with store.study() as (tracker, _):
            tracker.start_trial("t_1", 0, RECIPE)
            started = time.monotonic()
            for step in range(1, 101):
                tracker.log_rung("t_1", step, {"score": step / 2, "held_out/colour": 100.0 - step})
            queued = time.monotonic() - started
            assert tracker.flush(60.0)
        assert queued < 0.3  # writing them takes seconds
        run = store.trial("t_1")
        assert run.data.metrics == {"score": 50.0, "held_out/colour": 0.0}
        connection = sqlite3.connect(mlflow_database)
        written = connection.execute(
            "select step, value from metrics where run_uuid = ? and key = 'score' order by rowid",
            [run.info.run_id],
        ).fetchall()
        connection.close()
        assert written == [(step, step / 2) for step in range(1, 101)]

    def test_a_rung_is_written_at_once(self, store: Store) -> None:
        commits, counts = [], []
        many = {f"held_out/task{i}": float(i) for i in range(15)}

        def count(connection: Any) -> None:
            commits.append(connection)

        sqlalchemy.event.listen(Engine, "commit", count)
        with store.study() as (tracker, _):
            tracker.start_trial("t_1", 0, RECIPE)
            for step, metrics in enumerate([{"score": 1.0}, many]):
                tracker.flush()
                before = len(commits)
                tracker.log_rung("t_1", step, metrics)
                tracker.flush()
                counts.append(len(commits) - before)
        sqlalchemy.event.remove(Engine, "commit", count)
        assert counts[0] == counts[1] > 0
        assert store.trial("t_1").data.metrics == {"score": 1.0, **many}

    def test_what_is_not_finite_is_named_not_numbered(self, store: Store) -> None:
        metrics = {"score": 1.0, "train/loss": math.nan, "drift/kl_target": math.inf}
        with store.study() as (tracker, _):
            tracker.start_trial("t_1", 0, RECIPE)
            tracker.log_rung("t_1", 10, metrics)
        run = store.trial("t_1")
        assert run.data.metrics == {"score": 1.0}
        assert run.data.tags["not_finite"] == "step 10: drift/kl_target, train/loss"

    def test_a_late_rung_does_not_reopen_a_trial(self, store: Store) -> None:
        with store.study() as (tracker, _):
            tracker.start_trial("t_1", 0, RECIPE)
            tracker.end_trial(ended("t_1", 0, TrialState.PRUNED))
            tracker.log_rung("t_1", 30, {"score": 1.0})
        assert store.trial("t_1").info.status == "KILLED"


class TestFailedWrites:
    def test_one_lost_write_is_told_and_the_others_go_on(self, store: Store, tmp_path: Path) -> None:
        with store.study() as (tracker, _):
            tracker.start_trial("t_1", 0, RECIPE)
            tracker.log_rung("t_unknown", 10, {"score": 0.0})
            tracker.log_artifacts([tmp_path / "missing.html"])
            tracker.log_rung("t_1", 10, {"score": 1.0})
        assert store.trial("t_1").data.metrics == {"score": 1.0}
        unknown, missing = tracker.warnings
        assert store.uri in unknown
        assert "step 10 of trial t_unknown was not written: LookupError" in unknown
        assert "the artifact missing.html was not written" in missing

    def test_a_locked_database_delays_a_write(self, store: Store, mlflow_database: Path) -> None:
        with store.study() as (tracker, _):
            tracker.start_trial("t_1", 0, RECIPE)
            assert tracker.flush(30.0)
            other = sqlite3.connect(mlflow_database, isolation_level=None)
            other.execute("BEGIN EXCLUSIVE")
            tracker.log_rung("t_1", 10, {"score": 1.0})
            assert not tracker.flush(0.5)
            other.execute("ROLLBACK")
            other.close()
            assert tracker.flush(30.0)
        assert tracker.warnings == []
        assert store.trial("t_1").data.metrics == {"score": 1.0}

    def test_what_comes_after_the_end_is_told(self, store: Store) -> None:
        with store.study() as (tracker, _):
            pass
        tracker.close()
        tracker.finish(True)
        assert "came after the end" in tracker.warnings[0]
