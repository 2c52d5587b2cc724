"""StudyTracker in a real MLflow store: the runs of trials and of points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tracked_study import RECIPE, Store, ended

from search.results import PointResult, TrialState
from spaces.points import Interpolation, Member, Point, Soup


class TestTrialRun:
    def test_is_nested_and_says_its_recipe(self, store: Store) -> None:
        with store.study() as (tracker, parent):
            tracker.start_trial("t_7", 7, RECIPE, "paper_gate_up")
        run = store.trial("t_7")
        assert run.info.run_name == "007 gate_up lr=3.1e-04"
        assert run.info.status == "RUNNING"
        tags = run.data.tags
        assert (tags["kind"], tags["preset"], tags["number"]) == ("trial", "paper_gate_up", "7")
        assert tags["mlflow.parentRunId"] == parent
        assert run.data.params == {
            "subset": "gate_up",
            "layers": "all",
            "method": "selective",
            "learning_rate": "0.00031",
            "steps": "40",
            "batch_size": "8",
            "warmup_ratio": "0.03",
            "schedule": "cosine",
            "weight_decay": "0.0",
            "max_grad_norm": "1.0",
            "lwf_weight": "0.0",
            "lwf_temperature": "2.0",
            "l2sp_weight": "0.0",
            "replay_ratio": "0.0",
        }

    def test_a_point_is_a_run_that_has_ended_with_its_trial_s_recipe(self, store: Store) -> None:
        of = ended("t_1", 4, TrialState.COMPLETE)
        rung = replace(of.last, metrics={"score": 10.0, "drift/kl_target": 0.5})
        wise_ft = Point(4, 40, Interpolation(0.9))
        soup = Point(4, 40, Soup((Member(4, 40), Member(2, 40))))
        with store.study() as (tracker, parent):
            tracker.log_point(
                PointResult(number=0, point=wise_ft, trial=of, rung=rung, preset="paper_wise_ft")
            )
            tracker.log_point(PointResult(number=1, point=soup, trial=of, error="gone"))
        assert tracker.warnings == []
        first, second = sorted(
            (run for run in store.runs() if run.data.tags["kind"] == "point"),
            key=lambda run: run.data.tags["point"],
        )
        assert (first.info.run_name, first.info.status) == ("004 gate_up alpha 0.9", "FINISHED")
        assert first.data.tags["mlflow.parentRunId"] == parent
        assert first.data.tags["preset"] == "paper_wise_ft"
        assert first.data.metrics == {"score": 10.0, "drift/kl_target": 0.5}
        own = {"trial": "4", "step": "40", "transform": "interpolation", "alpha": "0.9"}
        assert first.data.params.items() >= own.items() | {"learning_rate": "0.00031"}.items()
        assert (second.info.run_name, second.info.status) == ("004-002 soup of 2", "FAILED")
        assert second.data.tags["error"] == "gone"
        assert second.data.params == {
            "trial": "4",
            "step": "40",
            "transform": "soup",
            "members": "4@40 2@40",
        }

    def test_one_run_for_one_trial_id(self, store: Store) -> None:
        with store.study("a1b2") as (tracker, _):
            for _ in range(3):
                tracker.start_trial("t_1", 0, RECIPE)
            tracker.log_rung("t_1", 10, {"score": 1.0})
            tracker.end_trial(ended("t_1", 0, TrialState.FAILED, "lost"))
        with store.study("a1b2") as (tracker, _):
            tracker.start_trial("t_1", 0, RECIPE)
            tracker.flush()
            assert store.trial("t_1").info.status == "RUNNING"
            tracker.log_rung("t_1", 20, {"score": 2.0})
            tracker.end_trial(ended("t_1", 0, TrialState.COMPLETE))
        assert tracker.warnings == []
        run = store.trial("t_1")
        assert run.info.status == "FINISHED"
        history = store.client.get_metric_history(run.info.run_id, "score")
        assert [(m.step, m.value) for m in history] == [(10, 1.0), (20, 2.0)]

    def test_the_same_trial_id_in_another_study_is_another_trial(self, store: Store) -> None:
        for name in ("one", "two"):
            with store.study(name=name) as (tracker, _):
                tracker.start_trial("t_1", 0, RECIPE)
        assert len([run for run in store.runs() if run.data.tags.get("trial_id") == "t_1"]) == 2

    @pytest.mark.parametrize(
        ("state", "status"),
        [
            (TrialState.COMPLETE, "FINISHED"),
            (TrialState.PRUNED, "KILLED"),
            (TrialState.FAILED, "FAILED"),
        ],
    )
    def test_status_is_true(self, store: Store, state: TrialState, status: str) -> None:
        error = "loss is not finite at step 3" if state is TrialState.FAILED else None
        with store.study() as (tracker, _):
            tracker.start_trial("t_1", 0, RECIPE)
            tracker.end_trial(ended("t_1", 0, state, error, ("10.0.0.2", "10.0.0.3")))
            tracker.finish(True)
        run = store.trial("t_1")
        assert run.info.status == status
        assert run.info.end_time >= run.info.start_time
        assert run.data.tags["state"] == state.value
        assert run.data.tags.get("error") == error
        assert run.data.tags["nodes"] == "10.0.0.2 10.0.0.3"

    def test_a_trial_cut_short_is_killed_and_has_no_state(self, store: Store) -> None:
        with store.study() as (tracker, _):
            tracker.start_trial("t_1", 0, RECIPE)
            tracker.finish(False)
        run = store.trial("t_1")
        assert run.info.status == "KILLED"
        assert "state" not in run.data.tags

    def test_a_trial_that_failed_before_its_start_is_recorded(self, store: Store) -> None:
        with store.study() as (tracker, _):
            tracker.end_trial(ended("t_1", 4, TrialState.FAILED, "x" * 9000))
        run = store.trial("t_1")
        assert run.info.run_name == "004 gate_up lr=3.1e-04"
        assert run.data.tags["error"] == "x" * 5000

    def test_manifest(self, store: Store, tmp_path: Path) -> None:
        manifest = {"trained": 12, "share": 0.25, "subset": "gate_up", "parameters": [{"name": "a.weight"}]}
        with store.study() as (tracker, _):
            tracker.start_trial("t_1", 0, RECIPE)
            tracker.log_manifest("t_1", manifest)
        run = store.trial("t_1")
        params = run.data.params
        assert (params["manifest.trained"], params["manifest.share"]) == ("12", "0.25")
        assert params["subset"] == params["manifest.subset"] == "gate_up"
        assert "manifest.parameters" not in params
        file = store.client.download_artifacts(run.info.run_id, "manifest.json", str(tmp_path))
        assert yaml.safe_load(Path(file).read_text()) == manifest
