"""StudyTracker in a real MLflow store: the runs of a study and of its base."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tracked_study import Store, study_config

from search.settings.study_file import parse_study
from search.tracking import StudyTracker
from trainables.scoring.evaluation import Evaluation

DIGEST = "0123456789abcdef" * 4


class TestStudyRun:
    def test_holds_what_was_studied(self, store: Store) -> None:
        tracker = StudyTracker(store.uri, store.experiment)
        run_id = tracker.start_study(
            study_config(),
            tags={"git_commit": "abc123", "version.torch": "2.13.0"},
            fingerprints={"counting/train": DIGEST},
            study_id="a1b2",
        )
        tracker.close()
        run = store.client.get_run(run_id)
        assert run.info.run_name == "lesson"
        assert run.info.status == "RUNNING"
        tags = run.data.tags
        assert tags["kind"] == "study"
        assert tags["git_commit"] == tags["mlflow.source.git.commit"] == "abc123"
        assert tags["version.torch"] == "2.13.0"
        assert tags["data/counting/train"] == DIGEST
        params = run.data.params
        assert params["training.steps"] == "40"
        assert params["space.subsets"] == "gate_up, full"
        assert params["space.learning_rate"] == "1e-05, 0.01"
        assert params["search.pruning"] == "null"
        (data,) = run.inputs.dataset_inputs
        assert (data.dataset.name, data.dataset.digest) == ("counting/train", DIGEST[:36])

    def test_holds_the_resolved_configuration(self, store: Store, tmp_path: Path) -> None:
        with store.study() as (_, run_id):
            pass
        file = store.client.download_artifacts(run_id, "study.yaml", str(tmp_path))
        assert parse_study(yaml.safe_load(Path(file).read_text()), "artifact") == study_config()

    def test_a_password_in_the_address_is_not_recorded(self, store: Store, tmp_path: Path) -> None:
        uri = store.uri + "?user=http://me:secret@host"
        tracker = StudyTracker(uri, store.experiment)
        config = study_config(tracking={"uri": uri})
        run_id = tracker.start_study(config, tags={}, fingerprints={}, study_id="a1b2")
        tracker.close()
        file = store.client.download_artifacts(run_id, "study.yaml", str(tmp_path))
        assert "secret" not in store.client.get_run(run_id).data.params["tracking.uri"]
        assert "secret" not in Path(file).read_text()

    def test_more_settings_than_one_batch_takes(self, store: Store) -> None:
        tasks = {f"task{i}": {"search": f"{i}.jsonl"} for i in range(60)}  # four settings each
        with store.study(tasks=tasks, held_out=list(tasks), finalists=None) as (_, run_id):
            pass
        params = store.client.get_run(run_id).data.params
        assert len(params) > 240
        assert [params[f"tasks.task{i}.search"] for i in range(60)] == [f"{i}.jsonl" for i in range(60)]

    def test_artifacts_lie_beside_the_database(
        self, store: Store, mlflow_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "report.html").write_text("<p>report")
        (tmp_path / "selected").mkdir()
        (tmp_path / "selected" / "manifest.json").write_text("{}")
        with store.study() as (tracker, run_id):
            tracker.log_artifacts([tmp_path / "report.html", tmp_path / "selected"])
        assert tracker.warnings == []
        names = {artifact.path for artifact in store.client.list_artifacts(run_id)}
        assert names == {"study.yaml", "report.html", "selected"}
        (report,) = mlflow_database.parent.glob(f"mlruns/{store.experiment}/{run_id}/**/report.html")
        assert report.read_text() == "<p>report"
        assert not (tmp_path / "mlruns").exists()

    @pytest.mark.parametrize(("succeeded", "status"), [(True, "FINISHED"), (False, "FAILED")])
    def test_finish(self, store: Store, succeeded: bool, status: str) -> None:
        with store.study() as (tracker, run_id):
            tracker.finish(succeeded, {"score": 10.0}, {"selected": "t_1"})
        run = store.client.get_run(run_id)
        assert run.info.status == status
        assert run.info.end_time >= run.info.start_time
        assert run.data.metrics == {"score": 10.0}
        assert run.data.tags["selected"] == "t_1"

    def test_a_resumed_study_goes_on_in_its_run(self, store: Store) -> None:
        with store.study("a1b2") as (tracker, first):
            tracker.finish(False)
        with store.study("a1b2", search={"trials": 9}) as (tracker, again):
            assert again == first
            assert tracker.flush(30.0)
            assert store.client.get_run(first).info.status == "RUNNING"
            tracker.finish(True)
        (run,) = store.runs()
        assert run.info.status == "FINISHED"
        assert run.data.params["search.trials"] == "2"  # MLflow lets no parameter change

    def test_two_studies_share_an_experiment(self, store: Store) -> None:
        with store.study() as (_, first), store.study(name="other") as (_, second):
            pass
        assert {run.info.run_name: run.info.run_id for run in store.runs()} == {
            "lesson": first,
            "other": second,
        }

    def test_a_deleted_experiment_is_refused(self, store: Store) -> None:
        client = store.client
        client.delete_experiment(client.create_experiment(store.experiment))
        tracker = StudyTracker(store.uri, store.experiment)
        with pytest.raises(ValueError, match="was deleted there: restore it or choose another name"):
            tracker.start_study(study_config(), tags={}, fingerprints={}, study_id="a1b2")


class TestBaseRun:
    def test_metrics_at_step_0(self, store: Store) -> None:
        # 3 of 4 right is 75 points, 1 of 2 is 50.
        base = {
            "counting": Evaluation(task="counting", scores=(100.0, 100.0, 100.0, 0.0)),
            "colour": Evaluation(task="colour", scores=(100.0, 0.0)),
        }
        with store.study() as (tracker, parent):
            tracker.log_base(base, cached=True)
            tracker.log_base(base, cached=True)
        assert tracker.warnings == []
        (run,) = [run for run in store.runs() if run.info.run_id != parent]
        assert run.info.run_name == "base"
        assert run.info.status == "FINISHED"
        assert run.data.metrics == {"target/counting": 75.0, "held_out/colour": 50.0}
        tags = run.data.tags
        assert (tags["kind"], tags["cached"], tags["mlflow.parentRunId"]) == ("base", "true", parent)
        assert {m.step for m in store.client.get_metric_history(run.info.run_id, "held_out/colour")} == {0}
