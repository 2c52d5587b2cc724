from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.placement import place


def test_as_many_groups_as_the_cpus_hold() -> None:
    placed = place({"CPU": 8, "train_driver": 1000}, workers=2, cpus=1.5, gpus=0, trials=16, limit=None)
    # 8 / (2 x 1.5) = 2.67
    assert placed.concurrency == 2
    assert placed.trial_resources == {"train_driver": 1.0}
    assert (placed.pool_cpus, placed.pool_gpus) == (8, 0)


def test_the_scarcer_resource_decides() -> None:
    cluster = {"CPU": 64.0, "GPU": 4.0, "train_driver": 1000.0}
    assert place(cluster, workers=1, cpus=4, gpus=1, trials=99, limit=None).concurrency == 4
    assert place(cluster, workers=1, cpus=32, gpus=1, trials=99, limit=None).concurrency == 2
    assert place(cluster, workers=1, cpus=1, gpus=0.5, trials=99, limit=None).concurrency == 8
    assert place(cluster, workers=4, cpus=1, gpus=1, trials=99, limit=None).concurrency == 1


def test_never_more_than_the_trials_the_limit_or_the_drivers() -> None:
    cluster = {"CPU": 64.0, "train_driver": 1000.0}
    assert place(cluster, workers=1, cpus=1, gpus=0, trials=3, limit=None).concurrency == 3
    assert place(cluster, workers=1, cpus=1, gpus=0, trials=30, limit=5).concurrency == 5
    assert (
        place({"CPU": 64, "train_driver": 2}, workers=1, cpus=1, gpus=0, trials=9, limit=None).concurrency
        == 2
    )


@pytest.mark.parametrize(
    ("cpus", "expected"),
    [
        # Two groups of one core and two drivers of 0.01 need 2.02 cores.
        (2, 1),
        (2.02, 2),
        (64, 63),
    ],
)
def test_without_a_driver_resource_drivers_take_a_share_of_a_core(cpus: float, expected: int) -> None:
    """However many trials a study has: only those that run at a time need a driver."""
    placed = place({"CPU": cpus}, workers=1, cpus=1, gpus=0, trials=100_000, limit=None)
    assert placed.concurrency == expected
    assert placed.trial_resources == {"CPU": 0.01}
    assert placed.pool_cpus == pytest.approx(cpus - 0.01 * expected)


@pytest.mark.parametrize(
    ("cluster", "workers", "cpus", "gpus", "message"),
    [
        ({"CPU": 2, "train_driver": 9}, 3, 1, 0, r"needs 3 worker\(s\) x \(1 CPU, 0 GPU\).*2 CPU and 0 GPU"),
        ({"CPU": 2, "train_driver": 9}, 1, 1, 1, r"\(1 CPU, 1 GPU\), and there are 2 CPU and 0 GPU"),
        ({"CPU": 1}, 1, 1, 0, r"\(1 CPU, 0 GPU\) and 0.01 CPU for its driver, and there are 1 CPU"),
        ({}, 1, 1, 0, "0 CPU"),
    ],
)
def test_what_can_never_fit_is_an_error(
    cluster: dict[str, float], workers: int, cpus: float, gpus: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        place(cluster, workers=workers, cpus=cpus, gpus=gpus, trials=4, limit=None)


@given(
    cluster=st.fixed_dictionaries(
        {"CPU": st.integers(0, 300).map(float), "GPU": st.integers(0, 16).map(float)},
        optional={"train_driver": st.integers(0, 1000).map(float)},
    ),
    workers=st.integers(1, 8),
    cpus=st.sampled_from([0.25, 0.5, 1.0, 1.5, 4.0]),
    gpus=st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]),
    trials=st.integers(1, 5000),
    limit=st.one_of(st.none(), st.integers(1, 50)),
)
def test_groups_and_drivers_fit_together_and_no_more_would(
    cluster: dict[str, float], workers: int, cpus: float, gpus: float, trials: int, limit: int | None
) -> None:
    """Were drivers and groups to need more than there is, trials could wait for each other for ever."""

    def fits(concurrency: int) -> bool:
        declared = cluster.get("train_driver", 0) >= 1
        driver_cpus = 0 if declared else 0.01 * concurrency
        return (
            concurrency * workers * cpus + driver_cpus <= cluster["CPU"] + 1e-6
            and concurrency * workers * gpus <= cluster["GPU"] + 1e-6
            and (not declared or concurrency <= cluster["train_driver"])
        )

    try:
        placed = place(cluster, workers=workers, cpus=cpus, gpus=gpus, trials=trials, limit=limit)
    except ValueError:
        assert not fits(1)
        return
    assert 1 <= placed.concurrency <= min(trials, limit or trials)
    assert fits(placed.concurrency)
    assert placed.concurrency == min(trials, limit or trials) or not fits(placed.concurrency + 1)
    # What the pool may take leaves room for every driver, and holds every group.
    driver = placed.trial_resources.get("CPU", 0)
    assert placed.pool_cpus + driver * placed.concurrency <= cluster["CPU"] + 1e-6
    assert placed.concurrency * workers * cpus <= placed.pool_cpus + 1e-6
    assert placed.concurrency * workers * gpus <= placed.pool_gpus + 1e-6
    assert math.isfinite(placed.pool_cpus)


def test_a_worker_must_fit_on_one_node() -> None:
    # 16 GPUs are five times three, but each node of four holds only one worker of three.
    node = {"CPU": 32.0, "GPU": 4.0}
    cluster = {"CPU": 128.0, "GPU": 16.0, "train_driver": 100.0}
    asked = {"cpus": 1.0, "gpus": 3.0, "trials": 50, "limit": None}
    assert place(cluster, workers=1, **asked).concurrency == 5
    assert place(cluster, workers=1, nodes=[node] * 4, **asked).concurrency == 4
    assert place(cluster, workers=2, nodes=[node] * 4, **asked).concurrency == 2
    with pytest.raises(ValueError, match="on 4 nodes"):
        place(cluster, workers=5, nodes=[node] * 4, **asked)
