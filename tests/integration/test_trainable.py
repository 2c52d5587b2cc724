"""The Tune trial: leases a group, submits a job and relays its reports."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
from faults import spoil_disk
from ray import tune
from tiny_models import setup, train_job

from search.objective import Objective, Score, score_metrics
from search.phases.leased_jobs import run_jobs
from search.phases.point_search import PlannedPoint, PointSearch
from search.phases.prediction_jobs import Asked, asked_of_base, predict
from search.results import Rung, TrialResult, TrialState
from spaces.points import Identity, Interpolation, Member, Point, Pruning, Soup
from spaces.space import Bounds, RecipeSpace
from trainables.checkpoint import apply_delta, export_delta
from trainables.pool import WorkerPool
from trainables.scoring.evaluation import Evaluation, read_evaluations
from trainables.trainable import GroupLost, RecipeTrainable, TrialContext, TrialError
from trainables.workers.execution import Execution, GroupShape
from trainables.workers.jobs import EvaluateJob, Report
from trainables.workers.workbench import Workbench

pytestmark = pytest.mark.usefixtures("local_ray", "_one_thread")

RUNGS = (2, 6)
SPACE = RecipeSpace(
    subsets=("full", "down"), learning_rate=Bounds(1e-4, 1e-2), steps=RUNGS[-1], batch_size=(4,)
)
OBJECTIVE = Objective(base={"easy": 0.0, "kept": 0.0}, targets=("easy",), held_out=("kept",))


@pytest.fixture(scope="module")
def pool(local_ray: None, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A pool with room for one group, so that a lease that is not given back shows at once."""
    actor = ray.remote(num_cpus=0, max_concurrency=100)(WorkerPool)
    made = actor.remote(setup(base), [{"CPU": 1}], str(tmp_path_factory.mktemp("storage")), 0)
    yield made
    ray.get(made.close.remote(), timeout=120)


def config(subset: str = "full", learning_rate: float = 1e-2) -> dict[str, Any]:
    return {"subset": subset, "learning_rate": learning_rate, "preset": None}


def make(pool: Any, folder: Path, how: dict[str, Any], score: Any = None) -> Any:
    context = TrialContext(
        pool=pool,
        executions=dict.fromkeys(SPACE.subsets, Execution(shape=GroupShape())),
        recipe=SPACE.recipe,
        score=score or partial(score_metrics, objective=OBJECTIVE),
        seed=3,
        rungs=RUNGS,
        folder=str(folder),
        keep_rungs=True,
    )
    return tune.with_parameters(RecipeTrainable, context=context)(how)


def fresh(base: Path, folder: Path, how: dict[str, Any]) -> list[Report]:
    """Run the same job in this process, on a model that was just loaded."""
    return list(
        Workbench(setup(base)).run(
            train_job(folder, how["subset"], rungs=RUNGS, learning_rate=how["learning_rate"])
        )
    )


def assert_idle(pool: Any) -> None:
    """Check that the pool's one group is free."""
    lease = ray.get(pool.lease.remote(GroupShape()), timeout=10)
    ray.get(pool.release.remote(lease.name))


def assert_reports(result: Mapping[str, Any], report: Report) -> None:
    metrics = {k: v for k, v in result["metrics"].items() if not k.startswith("cost/")}
    expected = score_metrics(report.evaluations, objective=OBJECTIVE)
    expected |= {k: v for k, v in report.metrics.items() if not k.startswith("cost/")}
    assert metrics == expected
    assert result["score"] == expected["score"]
    assert result["held_out_forgetting"] == expected["held_out_forgetting"]
    assert (result["step"], result["done"]) == (report.step, report.done)
    assert result["progress"] == report.step / RUNGS[-1]


def test_one_step_is_one_rung(pool: Any, base: Path, tmp_path: Path) -> None:
    trial = make(pool, tmp_path / "trials", config())
    assert not (tmp_path / "trials").exists(), "nothing may start before the first step"
    results = [trial.step(), trial.step()]
    for result, report in zip(results, fresh(base, tmp_path / "fresh", config()), strict=True):
        assert_reports(result, report)
    assert_idle(pool)
    (home,) = (tmp_path / "trials").iterdir()
    names = {path.name for path in home.iterdir() if path.suffix == ".json"}
    assert names == {"evaluations_000002.json", "evaluations_000006.json", "manifest.json"}
    assert json.loads((home / "manifest.json").read_text())["subset"] == "full"
    scores = json.loads((home / "evaluations_000006.json").read_text())
    assert Evaluation.from_dict(scores["easy"]).value == results[-1]["metrics"]["target/easy"]
    assert Path(results[-1]["weights"]).is_file()
    assert results[-1]["nodes"] == [ray.util.get_node_ip_address()]


def test_a_stopped_trial_s_actor_takes_the_next_trial(pool: Any, base: Path, tmp_path: Path) -> None:
    trial = make(pool, tmp_path / "trials", config())
    trial.step()
    assert trial.reset_config(config("down")) is True
    assert_idle(pool)
    results = [trial.step(), trial.step()]
    for result, report in zip(results, fresh(base, tmp_path / "fresh", config("down")), strict=True):
        assert_reports(result, report)
    assert trial.reset_config(config()) is True
    trial.step()
    trial.cleanup()
    assert_idle(pool)


def test_a_trial_that_is_restored_goes_on_after_its_last_report(
    pool: Any, base: Path, tmp_path: Path
) -> None:
    trial = make(pool, tmp_path / "trials", config())
    trial.step()
    (tmp_path / "checkpoint").mkdir()
    trial.save_checkpoint(str(tmp_path / "checkpoint"))
    (pointer,) = (tmp_path / "checkpoint").iterdir()
    assert pointer.stat().st_size < 1000, "Tune's checkpoint is a pointer"
    trial.cleanup()

    restored = make(pool, tmp_path / "trials", config())
    restored.load_checkpoint(str(tmp_path / "checkpoint"))
    result = restored.step()
    last = fresh(base, tmp_path / "fresh", config())[-1]
    assert (result["step"], result["done"]) == (6, True)
    assert result["score"] == score_metrics(last.evaluations, objective=OBJECTIVE)["score"]
    assert_idle(pool)


def test_a_trial_that_is_handed_out_again_keeps_its_name_and_goes_on(
    pool: Any, base: Path, tmp_path: Path
) -> None:
    """Each life is another Tune trial, in another process; the study's own id and the pointers go with it."""
    how = {**config(), "trial_id": "t-7", "number": 7, "checkpoints": []}
    trial = make(pool, tmp_path / "trials", how)
    first = trial.step()
    # As when the study is interrupted, and when a trial's process dies and its group is taken back.
    trial.cleanup()
    later = make(pool, tmp_path / "trials", {**how, "checkpoints": [first["checkpoint"]]})
    result = later.step()
    assert [path.name for path in (tmp_path / "trials").iterdir()] == ["t-7"]
    assert_reports(result, fresh(base, tmp_path / "fresh", config())[-1])
    # What it could go on from is whoever's to drop who knows that it is over.
    assert len(list((tmp_path / "trials" / "t-7").glob("*.optimizer.safetensors"))) == 2
    assert_idle(pool)


def test_a_checkpoint_before_the_first_report_starts_from_the_base(pool: Any, tmp_path: Path) -> None:
    trial = make(pool, tmp_path / "trials", config())
    (tmp_path / "checkpoint").mkdir()
    trial.save_checkpoint(str(tmp_path / "checkpoint"))
    trial.load_checkpoint(str(tmp_path / "checkpoint"))
    assert trial.step()["step"] == 2
    trial.cleanup()


def test_a_failed_job_fails_the_trial_with_its_reason(pool: Any, tmp_path: Path) -> None:
    trial = make(pool, tmp_path / "trials", config(learning_rate=1e38))
    with pytest.raises(TrialError, match=r"^loss is nan at step 2$"):
        trial.step()
    assert_idle(pool)
    # The actor is still of use.
    trial.reset_config(config("down"))
    assert trial.step()["step"] == 2
    trial.cleanup()


def searched(pool: Any, folder: Path, trial: TrialResult, objective: Objective) -> PointSearch:
    return PointSearch(
        pool=pool,
        executions=dict.fromkeys(SPACE.subsets, Execution(shape=GroupShape())),
        at_a_time=2,
        trials=(trial,),
        trial_folders=folder / "trials",
        folder=folder / "points",
        metrics=partial(score_metrics, objective=objective),
    )


def test_points_are_made_of_what_a_trial_leaves(pool: Any, base: Path, tmp_path: Path) -> None:
    """The target's base value is -200, so that every point gains and the trial's noted score is below all."""
    objective = replace(OBJECTIVE, base={"easy": -200.0, "kept": 0.0})
    trainable = make(pool, tmp_path / "trials", config())
    results = [trainable.step(), trainable.step()]
    (home,) = (tmp_path / "trials").iterdir()
    trial = TrialResult(
        trial_id=home.name,
        number=0,
        recipe=SPACE.recipe(config()),
        state=TrialState.COMPLETE,
        rungs=tuple(rung_of(result) for result in results),
    )
    soup = Soup((Member(0, RUNGS[0]), Member(0, RUNGS[1])))
    points = [Interpolation(1.0), Interpolation(0.5), Pruning(0.5), soup, Identity()]
    plan = [
        PlannedPoint(number=number, point=Point(0, RUNGS[number != 4], transform), trial=trial, preset=None)
        for number, transform in enumerate(points)
    ]
    search = searched(pool, tmp_path, trial, objective)
    found = {result.number: result for result in search.evaluate(plan)}
    assert [found[number].error for number in range(5)] == [None] * 5
    last = results[-1]["metrics"]
    assert found[0].measured.values == trial.last.values
    assert found[0].measured.metrics["drift/kl_target"] == last["drift/kl_target"]
    assert 0 < found[1].measured.metrics["drift/kl_target"] < last["drift/kl_target"]
    assert found[4].measured is trial.rungs[0]
    assert_idle(pool)

    # A point's weights are written when they are asked for; what can't be written says why.
    (chosen,) = search.written([found[1]])
    assert chosen.measured.metrics["cost/stored_bytes"] == last["cost/stored_bytes"]
    assert chosen.measured.metrics["cost/full_stored_bytes"] == last["cost/full_stored_bytes"]
    path = chosen.measured.weights or ""
    export_delta(
        Path(path), json.loads((Path(path).parent / "manifest.json").read_text()), "", tmp_path / "out"
    )
    bench = Workbench(setup(base))
    apply_delta(bench.model, tmp_path / "out")
    evaluations, _ = bench.evaluator.evaluate()
    assert {name: each.value for name, each in evaluations.items()} == chosen.measured.values
    Path(trial.last.weights or "").unlink()
    (lost,) = search.written([found[2]])
    assert lost.rung is found[2].rung
    assert "is missing" in str(lost.unwritten)
    assert_idle(pool)


def test_a_job_that_no_group_can_do_is_a_report_with_an_error(pool: Any) -> None:
    jobs = {"fits": (GroupShape(), EvaluateJob()), "too large": (GroupShape(cpus=64), EvaluateJob())}
    reports = dict(run_jobs(pool, jobs, at_a_time=2))
    assert reports["fits"].error is None
    assert set(reports["fits"].evaluations) == {"easy", "kept"}
    assert "64" in str(reports["too large"].error)
    assert_idle(pool)


def test_a_model_that_cannot_be_asked_is_a_warning_and_the_base_s_answers_are_kept(
    pool: Any, tmp_path: Path
) -> None:
    (report,) = dict(run_jobs(pool, {"base": (GroupShape(), EvaluateJob())}, at_a_time=1)).values()
    cache = tmp_path / "base.json"
    asked = {
        "selected": Asked(
            called="selected recipe",
            shape=GroupShape(cpus=64),
            job=EvaluateJob(predictions=True),
            recorded=report.evaluations,
        ),
        "base": asked_of_base(GroupShape(), report.evaluations, cache),
    }
    found = predict(pool, asked, at_a_time=2)
    assert list(found.models) == ["base"]
    assert {task: each.scores for task, each in found.models["base"].items()} == {
        task: each.scores for task, each in report.evaluations.items()
    }
    assert all(len(each.predictions) == each.n for each in found.models["base"].values())
    assert read_evaluations(cache) == found.models["base"]
    (warning,) = found.warnings
    assert warning.startswith("what the selected recipe answers is not known: ")
    assert "64" in warning
    assert_idle(pool)


def rung_of(result: Mapping[str, Any]) -> Rung:
    """Return a rung as it was measured, but for a score that any other one beats."""
    metrics = result["metrics"]
    return Rung(
        step=result["step"],
        progress=result["progress"],
        score=Score(target_gain=-1.0, held_out_forgetting=0.0, worst_forgetting=0.0, score=-1.0),
        values={name: metrics[f"{role}/{name}"] for role, name in (("target", "easy"), ("held_out", "kept"))},
        metrics=metrics,
        weights=result["weights"],
    )


def not_a_number(evaluations: Mapping[str, Evaluation]) -> dict[str, float]:
    return {"score": float("nan"), "held_out_forgetting": 0.0}


def test_a_metric_that_is_not_finite_fails_the_trial(pool: Any, tmp_path: Path) -> None:
    trial = make(pool, tmp_path / "trials", config(), not_a_number)
    with pytest.raises(TrialError, match=r"^metric score is nan at step 2$"):
        trial.step()
    assert_idle(pool)


def test_a_group_that_dies_fails_the_trial_and_leaves_the_pool(pool: Any, tmp_path: Path) -> None:
    trial = make(pool, tmp_path / "trials", config())
    trial.step()
    ray.kill(trial._lease.group)
    with pytest.raises(GroupLost, match=r"^the worker group failed: "):
        trial.step()
    # Its place is free for a new group.
    status = ray.get(pool.status.remote())
    assert not status.leased
    assert not status.idle


@pytest.mark.slow
def test_a_trial_whose_disk_fails_is_lost_and_goes_well_elsewhere(
    pool: Any, base: Path, tmp_path: Path
) -> None:
    trial = make(pool, tmp_path / "trials", {**config(), "trial_id": "t-1"})
    first = trial.step()
    spoil_disk("worker")
    with pytest.raises(GroupLost, match=r"^its workers died 1 times: OSError: \[Errno 27\] File too large"):
        trial.step()
    assert trial._lease is None
    again = make(
        pool, tmp_path / "trials", {**config(), "trial_id": "t-1", "checkpoints": [first["checkpoint"]]}
    )
    _, expected = fresh(base, tmp_path / "fresh", config())
    assert_reports(again.step(), expected)


@pytest.mark.slow
def test_a_job_of_the_driver_s_is_lost_with_its_machine_and_reported_when_that_was_too_often(
    pool: Any, tmp_path: Path
) -> None:
    lease = ray.get(pool.lease.remote(GroupShape()), timeout=60)
    ray.get(pool.release.remote(lease.name))
    spoil_disk("worker")
    job = train_job(tmp_path / "job", "full", rungs=RUNGS)
    ((key, report),) = run_jobs(pool, {"a": (GroupShape(), job)}, at_a_time=1)
    assert (key, report.done) == ("a", True)
    assert report.lost
    assert str(report.error).startswith("its workers died 1 times: OSError: [Errno 27]")
    assert ray.get(pool.status.remote()).leased == {}


@pytest.mark.slow
def test_a_group_that_died_while_idle_is_replaced(pool: Any, tmp_path: Path) -> None:
    lease = ray.get(pool.lease.remote(GroupShape()), timeout=60)
    ray.get(pool.release.remote(lease.name))
    ray.kill(lease.group)
    deadline = time.monotonic() + 30
    while ray.get(pool.status.remote()).idle:
        assert time.monotonic() < deadline, "a dead group is still offered"
        time.sleep(0.1)
    trial = make(pool, tmp_path / "second", config())
    assert trial.step()["step"] == RUNGS[0]
    trial.cleanup()
