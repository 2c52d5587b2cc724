"""MLflow and Optuna in a real PostgreSQL: many writers at once, what is refused, and what is not told."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
import pytest
import yaml
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState as OptunaState
from postgres_server import PASSWORD, PostgresServer, postgres_binaries, postgres_server
from tracked_study import Store
from written_twice import written_twice

from search import cli
from search.clusters.doctor import check_database, check_tracking
from search.objective import Score
from search.results import Rung, TrialResult, TrialState
from search.sampler import RecipeSampler
from search.settings.study_file import InputError, parse_study
from search.stores.mlflow_store import prepare_store
from search.stores.optuna_store import open_database, prepare_storage
from search.tracking import StudyTracker
from spaces.presets import preset_params
from spaces.recipe import Recipe
from spaces.space import Bounds, RecipeSpace

TRIALS = 4  # of each writer
WRITERS = pytest.mark.parametrize("writers", [3, pytest.param(10, marks=pytest.mark.slow)])
SPACE = RecipeSpace(
    subsets=("full", "sa_proj", "gate_up"), learning_rate=Bounds(1e-5, 1e-2), steps=40, batch_size=(8,)
)
PRESETS = preset_params(SPACE, 1e-3)
PRELOADED = [
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.tracking",
    "optuna.storages",
    "psycopg",
    "search.cli",
    "search.clusters.doctor",
    "search.stores.optuna_store",
    "search.sampler",
    "search.tracking",
]


@pytest.fixture(autouse=True)
def where_artifacts_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A database store keeps artifacts in the folder that a program is started in."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    binaries = postgres_binaries()
    if binaries is None:
        message = "no PostgreSQL server here (looked for initdb on the PATH and in /usr/lib/postgresql)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with postgres_server(binaries) as running:
        yield running


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Starts processes that have MLflow, Optuna and Ray imported, which takes seconds, but no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


@pytest.fixture(scope="module")
def mlflow_store(server: PostgresServer, processes: ForkServerContext) -> str:
    """A store that several programs prepared at once."""
    address = server.create("mlflow")
    at_once(processes, prepare_store, [(address,)] * 3)
    return address


def at_once(
    processes: ForkServerContext,
    work: Callable[..., None],
    arguments: list[tuple[Any, ...]],
    seconds: float = 120,
) -> None:
    """Run a function in processes that begin together; all of them must end well."""
    barrier = processes.Barrier(len(arguments))
    started = [
        processes.Process(target=_after_all_are_there, args=(barrier, work, each), daemon=True)
        for each in arguments
    ]
    for process in started:
        process.start()
    deadline = time.monotonic() + seconds
    for process in started:
        process.join(max(0.0, deadline - time.monotonic()))
    assert [process.exitcode for process in started] == [0] * len(arguments)


def _after_all_are_there(barrier: Any, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    barrier.wait(120)
    work(*arguments)


def study_config(name: str, **changes: Any) -> Any:
    content = {
        "name": name,
        "model": {"path": "tiny-llava"},
        "targets": ["counting"],
        "held_out": ["colour"],
        "space": {"subsets": ["gate_up", "full"], "learning_rate": [1e-5, 1e-2]},
        "training": {"steps": 40, "batch_size": 8},
        "finalists": None,
        "search": {"trials": 2},
    }
    return parse_study(content | changes, "test")


def score_of(writer: int, trial: int) -> float:
    return writer + trial / 10


def record_a_study(address: str, experiment: str, writer: int) -> None:
    tracker = StudyTracker(address, experiment)
    with tracker:
        tracker.start_study(study_config(f"study{writer}"), tags={}, fingerprints={}, study_id=f"id{writer}")
        for number in range(TRIALS):
            recipe = Recipe(subset="gate_up", learning_rate=1e-3, steps=40, batch_size=8)
            value = score_of(writer, number)
            # Every study calls its trials the same.
            tracker.start_trial(f"t_{number}", number, recipe)
            for step in (20, 40):
                tracker.log_rung(f"t_{number}", step, {"score": value + step, "held_out/colour": value})
            score = Score(target_gain=value, held_out_forgetting=0.0, worst_forgetting=0.0, score=value)
            rung = Rung(step=40, progress=1.0, score=score, values={}, metrics={})
            tracker.end_trial(
                TrialResult(
                    trial_id=f"t_{number}",
                    number=number,
                    recipe=recipe,
                    state=TrialState.COMPLETE,
                    rungs=(rung,),
                )
            )
        tracker.finish(True, {"score": value})
    assert tracker.warnings == []


@WRITERS
def test_several_studies_record_at_once_and_nothing_is_lost(
    writers: int,
    mlflow_store: str,
    processes: ForkServerContext,
) -> None:
    name = f"shared by {writers}"
    at_once(processes, record_a_study, [(mlflow_store, name, writer) for writer in range(writers)])
    client = MlflowClient(mlflow_store)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    studies = {run.data.tags["study"]: run for run in runs if run.data.tags["kind"] == "study"}
    assert sorted(studies) == [f"study{writer}" for writer in range(writers)]
    assert len(runs) == writers * (1 + TRIALS)
    assert {run.info.status for run in runs} == {"FINISHED"}
    for writer in range(writers):
        parent = studies[f"study{writer}"].info.run_id
        assert studies[f"study{writer}"].data.params["training.steps"] == "40"
        nested = {
            run.data.tags["trial_id"]: run
            for run in runs
            if run.data.tags.get("mlflow.parentRunId") == parent
        }
        assert sorted(nested) == [f"t_{number}" for number in range(TRIALS)]
        for number in range(TRIALS):
            run, value = nested[f"t_{number}"], score_of(writer, number)
            assert run.data.params["subset"] == "gate_up"
            assert run.data.tags["state"] == "COMPLETE"
            assert run.data.metrics == {"score": value + 40, "held_out/colour": value}
            history = client.get_metric_history(run.info.run_id, "score")
            assert [(point.step, point.value) for point in history] == [(20, value + 20), (40, value + 40)]


def sampler(address: str, writer: int) -> RecipeSampler:
    return RecipeSampler(
        SPACE,
        presets=PRESETS,
        violation=lambda forgetting: forgetting - 5.0,
        storage=open_database(address),
        study_name=f"study {writer}",
        seed=0,
        startup_trials=3,
        trials=TRIALS,
    )


def search(address: str, writer: int) -> None:
    searcher = sampler(address, writer)
    for number in range(TRIALS):
        trial, value = f"{writer}-{number}", score_of(writer, number)
        assert searcher.suggest(trial) is not None
        rung = {"score": value - 1, "step": 20, "progress": 0.5, "held_out_forgetting": 1.0}
        searcher.on_trial_result(trial, rung)
        if number == 2:
            searcher.give_up(trial)
            continue
        end = {"score": value, "step": 40, "progress": 1.0, "held_out_forgetting": 1.0}
        searcher.on_trial_complete(trial, rung if number == 1 else end)


@WRITERS
def test_several_studies_share_a_database_and_no_trial_is_lost_or_taken_twice(
    writers: int, server: PostgresServer, processes: ForkServerContext
) -> None:
    address = server.create(f"optuna{writers}")
    at_once(processes, prepare_storage, [(address,)] * writers)
    at_once(processes, search, [(address, writer) for writer in range(writers)])
    for writer in range(writers):
        study = optuna.load_study(study_name=f"study {writer}", storage=open_database(address))
        trials = study.get_trials()
        assert [trial.number for trial in trials] == list(range(TRIALS))
        # Of each study's four trials one was stopped at its first rung and one failed.
        assert [(trial.state, trial.value) for trial in trials] == [
            (OptunaState.COMPLETE, score_of(writer, 0)),
            (OptunaState.PRUNED, score_of(writer, 1) - 1),
            (OptunaState.FAIL, None),
            (OptunaState.COMPLETE, score_of(writer, 3)),
        ]
        assert all(set(trial.intermediate_values) == {20} for trial in trials)
        presets = [trial.user_attrs["preset"] for trial in trials if "preset" in trial.user_attrs]
        assert presets == list(PRESETS)


def test_the_doctor_asks_the_server(server: PostgresServer, mlflow_store: str) -> None:
    well = check_database("optuna storage", mlflow_store, 5)
    assert well.ok
    assert PASSWORD not in well.detail
    unwell = check_tracking(server.address("postgres", password="wrong"), Path(), 5)
    assert not unwell.ok
    assert "password authentication failed" in unwell.detail
    assert "wrong" not in unwell.detail


def test_the_doctor_asks_what_a_study_names(
    server: PostgresServer, study_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = cli.main(["doctor", str(study_file), "--json", f"search.storage={server.address('nowhere')}"])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert status == 1
    assert checks["mlflow store"]["ok"]
    assert 'database "nowhere" does not exist' in checks["optuna storage"]["detail"]


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    """A study of next to nothing."""
    study = yaml.safe_load((Path(__file__).parents[2] / "examples" / "quickstart.yaml").read_text())
    study |= {
        "held_out": ["digits"],
        "training": {"steps": 2, "batch_size": 2, "samples": 8},
        "evaluation": {"samples": 4, "drift_samples": 4},
        "space": {"subsets": ["gate_up", "projector"], "learning_rate": [1e-4, 1e-3]},
        "finalists": None,
        "search": {"trials": 3},
        "resources": {"max_concurrent_trials": 1},
        "output": str(tmp_path / "runs"),
        "tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db"},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    return tmp_path / "study.yaml"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_with_both_in_postgres(
    server: PostgresServer,
    mlflow_store: str,
    study_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    storage = server.create("optuna_of_the_study")
    changes = [f"tracking.uri={mlflow_store}", f"search.storage={storage}", "tracking.experiment=whole"]
    # Two people call their study the same.
    for output in ("one", "two"):
        assert cli.main(["run", str(study_file), f"output={tmp_path / output}", *changes]) == 0
    out, err = capfd.readouterr()
    assert err == ""

    client = MlflowClient(mlflow_store)
    experiment = client.get_experiment_by_name("whole")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if run.data.tags["kind"] == "study"]
    assert [run.info.status for run in parents] == ["FINISHED", "FINISHED"]
    for parent in parents:
        name = f"quickstart-{parent.info.run_id}"
        told = optuna.load_study(study_name=name, storage=open_database(storage)).get_trials()
        nested = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        scores = [run.data.metrics["score"] for run in nested if run.data.tags["kind"] == "trial"]
        assert sorted(trial.value for trial in told) == sorted(scores)
        assert len(told) == 3
    # The password is in no file and in no line of either study, MLflow's copies included.
    spellings = [PASSWORD.encode(), quote(PASSWORD, safe="").encode()]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"study.yaml", "report.html"} <= {path.name for path in (tmp_path / "mlruns").rglob("*")}
    holding = [path for path in files for spelling in spellings if spelling in path.read_bytes()]
    assert holding == []
    assert not any(spelling.decode() in out for spelling in spellings)
    assert not any(PASSWORD in value for parent in parents for value in parent.data.params.values())


def test_everything_written_twice(mlflow_store: str, tmp_path: Path) -> None:
    written_twice(Store(mlflow_store, "written twice"), tmp_path)


def test_a_study_whose_database_goes_away(server: PostgresServer, mlflow_store: str, tmp_path: Path) -> None:
    told: list[str] = []
    store = Store(mlflow_store, "goes away")
    tracker = StudyTracker(store.uri, store.experiment, tmp_path / "mlflow-spool.db", told.append)
    tracker.start_study(study_config("away"), tags={}, fingerprints={}, study_id="away")
    recipe = Recipe(subset="gate_up", learning_rate=1e-3, steps=40, batch_size=8)
    tracker.start_trial("t_away", 0, recipe)
    assert tracker.flush(60.0)
    server.execute("ALTER DATABASE mlflow ALLOW_CONNECTIONS false")
    server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'mlflow'")
    for step in range(1, 21):
        tracker.log_rung("t_away", step, {"score": float(step)})
    assert not tracker.flush(1.0)
    server.execute("ALTER DATABASE mlflow ALLOW_CONNECTIONS true")
    assert tracker.flush(60.0)
    tracker.finish(True)
    tracker.close()
    assert tracker.warnings == []
    history = store.client.get_metric_history(store.trial("t_away").info.run_id, "score")
    assert [(point.step, point.value) for point in history] == [(step, step) for step in range(1, 21)]


def test_a_user_who_may_only_read_is_refused(server: PostgresServer, mlflow_store: str) -> None:
    prepare_store(mlflow_store, "read only")
    server.execute("CREATE ROLE reader LOGIN PASSWORD 'reads'")
    server.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", "mlflow")
    with pytest.raises(InputError, match=r"^tracking\.uri: .*permission denied for table") as caught:
        prepare_store(f"postgresql://reader:reads@127.0.0.1:{server.port}/mlflow", "read only")
    assert "reads@" not in str(caught.value)
    assert "\n" not in str(caught.value)


class TestRefused:
    def line(self, work: Callable[[str], None], address: str) -> str:
        started = time.monotonic()
        with pytest.raises(InputError) as caught:
            work(address)
        assert time.monotonic() - started < 30
        message = str(caught.value)
        assert "\n" not in message
        assert PASSWORD not in message
        return message

    @pytest.mark.parametrize(
        ("work", "key"), [(prepare_store, "tracking.uri"), (prepare_storage, "search.storage")]
    )
    def test_what_can_not_be_used(
        self, server: PostgresServer, work: Callable[[str], None], key: str
    ) -> None:
        wrong = self.line(work, server.address("postgres", password="wr@ng"))
        assert wrong.startswith(f"{key}: cannot use the ")
        assert f"ann:***@127.0.0.1:{server.port}/postgres" in wrong
        assert 'password authentication failed for user "ann"' in wrong
        assert "wr%40ng" not in wrong
        assert 'database "nowhere" does not exist' in self.line(work, server.address("nowhere"))
        assert "refused" in self.line(work, "postgresql://ann@127.0.0.1:1/mlflow")
        assert "its driver 'pg8000' is not installed; the extra `postgres`" in self.line(
            work, "postgresql+pg8000://ann@127.0.0.1/mlflow"
        )
        assert "unknown kind of database 'postgres': did you mean 'postgresql'?" in self.line(
            work, "postgres://ann@127.0.0.1/mlflow"
        )

    def test_no_right_to_make_tables(self, server: PostgresServer) -> None:
        address = server.create("guarded")
        server.execute("CREATE USER guest PASSWORD 'guest'")
        guest = address.replace(address.partition("//")[2].partition("@127")[0], "guest:guest")
        for work in (prepare_store, prepare_storage):
            assert "permission denied for schema public" in self.line(work, guest)

    def test_mlflow_and_optuna_in_one_database(self, server: PostgresServer, mlflow_store: str) -> None:
        """Both call the table of their version the same, and would take each other for outdated."""
        assert "it holds MLflow's tables; give Optuna a database of its own" in self.line(
            prepare_storage, mlflow_store
        )
        optunas = server.create("optunas_own")
        prepare_storage(optunas)
        assert "it holds Optuna's tables; give MLflow a database of its own" in self.line(
            prepare_store, optunas
        )
        server.execute("CREATE SCHEMA aside", "mlflow")
        prepare_storage(f"{mlflow_store}?options=-csearch_path%3Daside")

    def test_the_command_ends_with_status_2(
        self, server: PostgresServer, study_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        address = server.address("postgres", password="wrong")
        status = cli.main(["run", str(study_file), f"search.storage={address}"])
        assert status == 2
        error = capsys.readouterr().err
        assert error.startswith("error: search.storage: cannot use the Optuna storage postgresql://ann:***@")
        assert error.count("\n") == 1
        assert "password authentication failed" in error
        assert not (tmp_path / "runs").exists()
