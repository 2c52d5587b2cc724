from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tracked_study import Store


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """A Ray of two cores for one test file, ended with it."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
        assert not ray.is_initialized(), "an earlier test left its Ray behind"
        ray.init(
            address="local",
            num_cpus=2,
            resources={"train_driver": 100},
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random LLaVA."""
    from tiny_models import save_llava

    return save_llava(tmp_path_factory.mktemp("base") / "llava")


@pytest.fixture(scope="module")
def _one_thread() -> Iterator[None]:
    """As many threads as a worker has, so that what is computed here is what a worker computes."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared MLflow store's file, which the tests that write studies' runs share."""
    from mlflow_server import sqlite_address

    from search.tracking import prepare_store

    # A blank, a number sign and a percent sign: the folder's name must survive as part of an address.
    file = tmp_path_factory.mktemp("a store #1%41") / "mlflow.db"
    prepare_store(sqlite_address(file))
    return file


@pytest.fixture
def store(mlflow_database: Path, request: pytest.FixtureRequest) -> Store:
    """The MLflow store, with an experiment for this test alone."""
    from mlflow_server import sqlite_address
    from tracked_study import Store

    return Store(sqlite_address(mlflow_database), request.node.name)
