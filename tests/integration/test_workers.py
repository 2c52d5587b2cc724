"""One worker and two: the same seed and global batch give the same training and the same scores."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from faults import processes
from safetensors.torch import load_file
from tiny_models import measured, setup, task, train_job

from trainables.group import WorkerGroup
from trainables.metrics import MetricSpec
from trainables.workers.execution import GroupShape
from trainables.workers.jobs import EvaluateJob, Job, Report, WorkerSetup
from trainables.workers.workbench import Workbench

pytestmark = pytest.mark.usefixtures("local_ray", "_one_thread")

STEPS = range(1, 21)


def tasks_setup(base: Path) -> WorkerSetup:
    """Return tasks of odd sizes, answers of several lengths, and one that is scored by generation."""
    answers = ("yes", "cat dog", "1 : 45")
    return setup(
        base,
        (
            task("easy", "target", n=7, answers=answers),
            task("kept", "held_out", n=5),
            task("text", "held_out", n=1, images=False),
            task("said", "held_out", n=3, metric=MetricSpec("normalized_exact_match")),
        ),
    )


@pytest.fixture(scope="module")
def pair(local_ray: None, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A group of two workers that hold a shard of the model each, over gloo."""
    actor = ray.remote(num_cpus=0, max_concurrency=100)(WorkerGroup)
    group = actor.remote(
        "pair",
        tasks_setup(base),
        GroupShape(workers=2, cpus=0.5, sharded=True),
        str(tmp_path_factory.mktemp("storage")),
        1,
    )
    yield group
    ray.get(group.close.remote())
    ray.get(group.wait_closed.remote(), timeout=60)


@pytest.fixture(scope="module")
def alone(base: Path, _one_thread: None) -> Workbench:
    return Workbench(tasks_setup(base))


def served(group: Any, job: Job) -> list[Report]:
    sequence = ray.get(group.submit.remote(job))
    reports: list[Report] = []
    while not reports or not reports[-1].done:
        reports.append(ray.get(group.next_report.remote(sequence), timeout=120))
    assert reports[-1].error is None
    return reports


def test_the_base_scores_the_same_on_every_sample(pair: Any, alone: Workbench) -> None:
    (two,), (one,) = served(pair, EvaluateJob()), alone.run(EvaluateJob())
    assert two.evaluations == one.evaluations
    assert {name: evaluation.n for name, evaluation in two.evaluations.items()} == {
        "easy": 7,
        "kept": 5,
        "text": 1,
        "said": 3,
    }


@pytest.mark.parametrize("subset", ["full", "sa_proj", "gate_up"])
def test_losses_and_parameters_agree(pair: Any, alone: Workbench, subset: str, tmp_path: Path) -> None:
    """In `full` the vision tower's last layer has no part in the loss, and so no gradient."""
    two = served(pair, train_job(tmp_path / "two", subset, rungs=STEPS, learning_rate=1e-3))
    one = list(alone.run(train_job(tmp_path / "one", subset, rungs=STEPS, learning_rate=1e-3)))
    losses = [[report.metrics["train/loss"] for report in reports] for reports in (two, one)]
    assert len(losses[0]) == len(STEPS)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[1][0] - losses[1][-1] > 100 * 1e-4 * losses[1][0] or subset != "full", "nothing was learnt"

    tuned, expected = (load_file(str(reports[-1].checkpoint.path)) for reports in (two, one))  # type: ignore[union-attr]
    assert set(tuned) == set(expected)
    for name, tensor in expected.items():
        # A step of AdamW moves an element by up to the learning rate, 20 of them by up to 0.02.
        assert (tuned[name] - tensor).abs().max() < 1e-4, name


def test_scores_and_drift_of_a_tuned_model_agree(pair: Any, alone: Workbench, tmp_path: Path) -> None:
    how: dict[str, Any] = {"rungs": (15, 40), "learning_rate": 2e-2}
    two = served(pair, train_job(tmp_path / "two", **how))
    one = list(alone.run(train_job(tmp_path / "one", **how)))
    assert two[0].metrics["drift/kl_target"] == pytest.approx(one[0].metrics["drift/kl_target"], rel=1e-2)
    assert two[0].metrics["drift/kl_held_out"] == pytest.approx(one[0].metrics["drift/kl_held_out"], rel=1e-2)
    assert one[-1].evaluations["easy"].value > 0
    assert two[-1].evaluations["easy"] == one[-1].evaluations["easy"]


def test_the_group_s_base_is_whole_after_all_these_jobs(pair: Any, alone: Workbench, tmp_path: Path) -> None:
    first = served(pair, train_job(tmp_path / "a", "llm", rungs=(4,)))
    sequence = ray.get(pair.submit.remote(train_job(tmp_path / "b", "full", rungs=(2, 9), learning_rate=0.1)))
    ray.get(pair.next_report.remote(sequence))
    ray.get(pair.abandon.remote(sequence))
    assert measured(served(pair, train_job(tmp_path / "c", "llm", rungs=(4,)))) == measured(first)
    (two,), (one,) = served(pair, EvaluateJob()), alone.run(EvaluateJob())
    assert two.evaluations == one.evaluations


def test_a_loss_that_is_not_finite_fails_on_both_and_the_next_job_is_fine(
    pair: Any, alone: Workbench, tmp_path: Path
) -> None:
    sequence = ray.get(pair.submit.remote(train_job(tmp_path / "broken", learning_rate=1e38)))
    report = ray.get(pair.next_report.remote(sequence), timeout=60)
    assert report.error == "loss is nan at step 2"
    (two,), (one,) = served(pair, EvaluateJob()), alone.run(EvaluateJob())
    assert two.evaluations == one.evaluations


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_pair_that_loses_one_of_its_workers_goes_on_as_if_it_had_not(
    pair: Any, tmp_path: Path, name: str
) -> None:
    """The other waits for it in a collective; both start anew, from one checkpoint."""
    how: dict[str, Any] = {"rungs": (2, 80, 82), "learning_rate": 1e-3}
    undisturbed = served(pair, train_job(tmp_path / "undisturbed", **how))
    sequence = ray.get(pair.submit.remote(train_job(tmp_path / "disturbed", **how)))
    reports = [ray.get(pair.next_report.remote(sequence), timeout=60)]
    pending = pair.next_report.remote(sequence)
    time.sleep(0.3)
    workers = processes("worker")
    assert len(workers) == 2
    assert not ray.wait([pending], timeout=0)[0], "the rung was done before anything could happen"
    os.kill(workers[-1].pid, getattr(signal, name))
    reports.append(ray.get(pending, timeout=180))
    reports.append(ray.get(pair.next_report.remote(sequence), timeout=60))
    assert measured(reports) == measured(undisturbed)
    last = [load_file(str(each[-1].checkpoint.path)) for each in (reports, undisturbed)]
    assert all(torch.equal(last[0][key], last[1][key]) for key in last[1])
