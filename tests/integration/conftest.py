from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest


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
