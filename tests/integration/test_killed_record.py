"""A driver killed while it records: MLflow has in the end what it has of a study that nothing disturbed."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from mlflow_server import mlflow_server, sqlite_address
from scripted_study import ALL_CALLS, TRIALS, record_life, recorded


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Starts processes that have MLflow imported, which takes seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["mlflow.tracking", "mlflow.store.tracking.sqlalchemy_store", "search.tracking"]
    )
    return context


@pytest.fixture(scope="module")
def twin(mlflow_database: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What MLflow has of the study if nothing disturbs it."""
    uri = sqlite_address(mlflow_database)
    folder = tmp_path_factory.mktemp("undisturbed")
    record_life(uri, "undisturbed", folder)
    return recorded(uri, folder.name)


def killed(processes: ForkServerContext, uri: str, folder: Path, seed: int, kills: int) -> int:
    """Record a study whose driver is killed at random, at most so often; return how often it was."""
    draws, lives = random.Random(seed), 0
    folder.mkdir()
    while True:
        calls = processes.Value("i", 0)
        life = processes.Process(target=record_life, args=(uri, "killed", folder, calls), daemon=True)
        life.start()
        if lives == kills:
            life.join(200)
            assert life.exitcode == 0
            return lives
        # After so many calls, or while the last are written.
        moment = draws.randint(0, ALL_CALLS)
        pause = draws.uniform(0, 0.1 if moment else 1.0)
        while life.is_alive() and calls.value < moment:
            time.sleep(0.001)
        life.join(pause)
        life.kill()
        life.join(60)
        if life.exitcode == 0:
            return lives
        assert life.exitcode == -signal.SIGKILL
        lives += 1


class TestTwin:
    def test_is_whole(self, twin: list[dict[str, Any]]) -> None:
        # The study, its base, five trials, three points and two finalists.
        assert len(twin) == 1 + 1 + TRIALS + 3 + 2
        by_name = {run["name"]: run for run in twin}
        assert by_name["lesson"]["status"] == "FINISHED"
        assert by_name["lesson"]["artifacts"] == [
            ("report.html", 21),
            ("selected/card", 14),
            ("selected/weights", 17),
            ("study.yaml", by_name["lesson"]["artifacts"][-1][1]),
        ]
        second = by_name["002 gate_up lr=3.1e-04"]
        assert second["metrics"]["score"] == [(10, 3.0), (20, 4.0), (30, 5.0), (40, 6.0)]
        assert second["tags"]["not_finite"] == "step 20: drift/kl_target"
        states = {run["tags"]["number"]: run["status"] for run in twin if run["tags"]["kind"] == "trial"}
        assert states == {"0": "FINISHED", "1": "KILLED", "2": "FINISHED", "3": "FAILED", "4": "FINISHED"}


class TestKilled:
    def check(
        self, processes: ForkServerContext, uri: str, folder: Path, twin: list[dict[str, Any]], kills: int
    ) -> None:
        done = seed = 0
        while done < kills:
            study = folder / f"{folder.name}-{seed}"
            done += killed(processes, uri, study, seed, min(4, kills - done))
            found = recorded(uri, study.name)
            assert [run["name"] for run in found] == [run["name"] for run in twin], f"seed {seed}"
            for ours, undisturbed in zip(found, twin, strict=True):
                assert ours == undisturbed, f"seed {seed}"
            seed += 1
        print(f"{done} kills over {seed} studies")

    def test_three_times(
        self, processes: ForkServerContext, mlflow_database: Path, tmp_path: Path, twin: list[dict[str, Any]]
    ) -> None:
        self.check(processes, sqlite_address(mlflow_database), tmp_path, twin, 3)

    @pytest.mark.slow
    def test_forty_times(
        self, processes: ForkServerContext, mlflow_database: Path, tmp_path: Path, twin: list[dict[str, Any]]
    ) -> None:
        other = tmp_path / "others"
        other.mkdir()
        self.check(processes, sqlite_address(mlflow_database), other, twin, 40)

    @pytest.mark.slow
    def test_twenty_times_on_a_server(
        self, processes: ForkServerContext, tmp_path: Path, twin: list[dict[str, Any]]
    ) -> None:
        with mlflow_server(tmp_path) as (uri, _):
            self.check(processes, uri, tmp_path, twin, 20)
