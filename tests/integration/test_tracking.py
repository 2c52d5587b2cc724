"""StudyTracker against real MLflow stores: a SQLite file, and a server."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import yaml
from mlflow.tracking import MlflowClient
from mlflow_server import mlflow_server, sqlite_address
from sqlalchemy.engine import Engine

from search.config import StudyConfig
from search.objective import Score
from search.results import PointResult, Rung, TrialResult, TrialState
from search.study_file import parse_study
from search.tracking import StudyTracker, prepare_store
from spaces.points import Interpolation, Member, Point, Soup
from spaces.recipe import Recipe
from trainables.evaluation import Evaluation

RECIPE = Recipe(subset="gate_up", learning_rate=3.1e-4, steps=40, batch_size=8)
SCORE = Score(target_gain=12.0, held_out_forgetting=2.0, worst_forgetting=3.0, score=10.0)
DIGEST = "0123456789abcdef" * 4


def study_config(**changes: Any) -> StudyConfig:
    content = {
        "name": "lesson",
        "model": {"path": "tiny-llava"},
        "targets": ["counting"],
        "held_out": ["colour"],
        "space": {"subsets": ["gate_up", "full"], "learning_rate": [1e-5, 1e-2]},
        "training": {"steps": 40, "batch_size": 8},
        "search": {"trials": 2},
    }
    return parse_study(content | changes, "test")


def ended(
    trial_id: str, number: int, state: TrialState, error: str | None = None, nodes: tuple[str, ...] = ()
) -> TrialResult:
    progress = 1.0 if state is TrialState.COMPLETE else 0.5
    rung = Rung(step=int(40 * progress), progress=progress, score=SCORE, values={}, metrics={})
    return TrialResult(
        trial_id=trial_id,
        number=number,
        recipe=RECIPE,
        state=state,
        rungs=(rung,),
        error=error,
        seconds=1.0,
        nodes=nodes,
    )


@dataclass(frozen=True)
class Store:
    """A prepared store, with an experiment of its own for each test."""

    uri: str
    experiment: str

    @property
    def client(self) -> Any:
        return MlflowClient(self.uri)

    @contextmanager
    def study(self, run_id: str | None = None, **changes: Any) -> Iterator[tuple[StudyTracker, str]]:
        tracker = StudyTracker(self.uri, self.experiment)
        run = tracker.start_study(study_config(**changes), tags={}, fingerprints={}, run_id=run_id)
        yield tracker, run
        tracker.close()

    def runs(self) -> list[Any]:
        experiment = self.client.get_experiment_by_name(self.experiment)
        found: list[Any] = self.client.search_runs([experiment.experiment_id], max_results=1000)
        return found

    def trial(self, trial_id: str) -> Any:
        (run,) = [run for run in self.runs() if run.data.tags.get("trial_id") == trial_id]
        return run


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A blank, a number sign and a percent sign: the folder's name must survive as part of an address.
    file = tmp_path_factory.mktemp("a store #1%41") / "mlflow.db"
    prepare_store(sqlite_address(file))
    return file


@pytest.fixture
def store(database: Path, request: pytest.FixtureRequest) -> Store:
    return Store(sqlite_address(database), request.node.name)


class TestStudyRun:
    def test_holds_what_was_studied(self, store: Store) -> None:
        tracker = StudyTracker(store.uri, store.experiment)
        run_id = tracker.start_study(
            study_config(),
            tags={"git_commit": "abc123", "version.torch": "2.13.0"},
            fingerprints={"counting/train": DIGEST},
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
        run_id = tracker.start_study(study_config(tracking={"uri": uri}), tags={}, fingerprints={})
        tracker.close()
        file = store.client.download_artifacts(run_id, "study.yaml", str(tmp_path))
        assert "secret" not in store.client.get_run(run_id).data.params["tracking.uri"]
        assert "secret" not in Path(file).read_text()

    def test_more_settings_than_one_batch_takes(self, store: Store) -> None:
        tasks = {f"task{i}": {"search": f"{i}.jsonl"} for i in range(60)}  # four settings each
        with store.study(tasks=tasks, held_out=list(tasks)) as (_, run_id):
            pass
        params = store.client.get_run(run_id).data.params
        assert len(params) > 240
        assert [params[f"tasks.task{i}.search"] for i in range(60)] == [f"{i}.jsonl" for i in range(60)]

    def test_artifacts_lie_beside_the_database(
        self, store: Store, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        (report,) = database.parent.glob(f"mlruns/{store.experiment}/{run_id}/**/report.html")
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
        with store.study() as (tracker, first):
            tracker.finish(False)
        with store.study(run_id=first, search={"trials": 9}) as (tracker, again):
            assert again == first
            assert store.client.get_run(first).info.status == "RUNNING"
            tracker.finish(True)
        (run,) = store.runs()
        assert run.info.status == "FINISHED"

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
            tracker.start_study(study_config(), tags={}, fingerprints={})


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
        with store.study() as (tracker, first):
            for _ in range(3):
                tracker.start_trial("t_1", 0, RECIPE)
            tracker.log_rung("t_1", 10, {"score": 1.0})
            tracker.end_trial(ended("t_1", 0, TrialState.FAILED, "lost"))
        with store.study(run_id=first) as (tracker, _):
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


class TestRungs:
    def test_a_hundred_fast_rungs_keep_their_order(self, store: Store, database: Path) -> None:
        with store.study() as (tracker, _):
            tracker.start_trial("t_1", 0, RECIPE)
            started = time.monotonic()
            for step in range(1, 101):
                tracker.log_rung("t_1", step, {"score": step / 2, "held_out/colour": 100.0 - step})
            queued = time.monotonic() - started
            assert tracker.flush(60.0)
        assert queued < 0.1  # writing them takes seconds
        run = store.trial("t_1")
        assert run.data.metrics == {"score": 50.0, "held_out/colour": 0.0}
        connection = sqlite3.connect(database)
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

    def test_a_locked_database_delays_a_write(self, store: Store, database: Path) -> None:
        with store.study() as (tracker, _):
            tracker.start_trial("t_1", 0, RECIPE)
            assert tracker.flush(30.0)
            other = sqlite3.connect(database, isolation_level=None)
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
        assert "the end of the study came after" in tracker.warnings[0]


class TestServer:
    def test_a_study_on_a_server(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        with mlflow_server(tmp_path) as (uri, log):
            prepare_store(uri)
            store = Store(uri, "on a server")
            (tmp_path / "report.html").write_text("<p>report")
            with store.study() as (tracker, parent):
                tracker.start_trial("t_1", 0, RECIPE)
                tracker.flush()
                before = log.read_text().count("runs/log-batch")
                for step in range(1, 11):
                    tracker.log_rung("t_1", step, {"score": float(step), "held_out/colour": 90.0})
                tracker.flush()
                batches = log.read_text().count("runs/log-batch") - before
                tracker.end_trial(ended("t_1", 0, TrialState.PRUNED))
                tracker.log_artifacts([tmp_path / "report.html"])
                tracker.finish(True)
            assert tracker.warnings == []
            assert batches == 10
            run = store.trial("t_1")
            assert (run.info.status, run.data.tags["mlflow.parentRunId"]) == ("KILLED", parent)
            assert run.data.metrics == {"score": 10.0, "held_out/colour": 90.0}
            assert store.client.get_run(parent).info.status == "FINISHED"
            names = {artifact.path for artifact in store.client.list_artifacts(parent)}
            assert names == {"study.yaml", "report.html"}
        out, err = capfd.readouterr()
        assert "View run" not in out + err
