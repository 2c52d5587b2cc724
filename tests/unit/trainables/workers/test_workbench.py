from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import (
    adapters,
    assert_is_base,
    encoder,
    llava,
    measured,
    samples,
    save_llama,
    save_llava,
    setup,
    task,
    train_job,
)

from trainables.checkpoint import apply_delta, export_delta, load_checkpoint
from trainables.cost.spent import Spent
from trainables.evaluate import evaluate_task
from trainables.loop import TrialFailed
from trainables.metrics import EXACT_MATCH, MetricSpec
from trainables.model import model_fingerprint
from trainables.pointer import Pointer
from trainables.scoring.generation import generated_answers
from trainables.weights.rung_files import settle, taken_up
from trainables.workers.jobs import EvaluateJob, Report, WorkerSetup
from trainables.workers.workbench import Stopped, Workbench


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llava(tmp_path_factory.mktemp("base") / "llava")


@pytest.fixture(scope="module")
def prepared(base: Path) -> WorkerSetup:
    return setup(base)


@pytest.fixture(scope="module")
def used(prepared: WorkerSetup) -> Workbench:
    """One workbench for all tests: each of them starts where others have left it."""
    return Workbench(prepared)


def test_evaluates_the_base_on_every_task(used: Workbench, prepared: WorkerSetup) -> None:
    (report,) = used.run(EvaluateJob())
    assert (report.step, report.done, report.error) == (0, True, None)
    for task_ in prepared.tasks:
        data = [encoder().encode(sample) for sample in task_.search]
        expected = evaluate_task(
            llava(),
            encoder().tokenizer,
            data,
            samples=task_.search,
            metric=EXACT_MATCH,
            batch_size=2,
            keep=0,
        )
        assert list(report.evaluations[task_.name].scores) == expected.scores
    assert list(report.evaluations) == ["easy", "kept"]


def test_tells_what_was_answered_where_a_job_asks_for_it(used: Workbench, prepared: WorkerSetup) -> None:
    (report,) = used.run(EvaluateJob(predictions=True))
    (silent,) = used.run(EvaluateJob())
    for task_ in prepared.tasks:
        told, untold = report.evaluations[task_.name], silent.evaluations[task_.name]
        assert (told.scores, untold.predictions) == (untold.scores, ())
        data = [encoder().encode(sample) for sample in task_.search]
        written = [text.strip() for text in generated_answers(llava(), encoder().tokenizer, data, 2)]
        # A random model says nothing right.
        assert (set(told.scores), list(told.predictions)) == ({0.0}, written)


def test_reports_at_each_rung(used: Workbench, tmp_path: Path) -> None:
    first, last = used.run(train_job(tmp_path, "sa_proj"))
    assert [(r.step, r.done) for r in (first, last)] == [(2, False), (6, True)]
    assert set(first.metrics) == {
        "drift/kl_target",
        "drift/kl_held_out",
        "train/loss",
        "cost/train_seconds",
        "cost/eval_seconds",
        "cost/gpu_seconds",
        "cost/peak_memory_bytes",
        "cost/trainable_parameters",
        "cost/train_flops",
        "cost/full_train_flops",
        "cost/micro_batch_size",
        "cost/stored_bytes",
        "cost/full_stored_bytes",
        "cost/cpu_seconds",
        "cost/energy_measured_joules",
        "cost/energy_estimated_joules",
    }
    # Two layers of four matrices of 16 x 16.
    assert last.metrics["cost/trainable_parameters"] == 2 * 4 * 16 * 16
    assert last.metrics["drift/kl_target"] > first.metrics["drift/kl_target"] > 0
    assert last.metrics["cost/train_seconds"] > first.metrics["cost/train_seconds"] > 0
    assert last.metrics["cost/gpu_seconds"] == 0
    assert last.metrics["cost/stored_bytes"] == 4 * last.metrics["cost/trainable_parameters"]
    assert last.metrics["cost/full_stored_bytes"] == 4 * sum(p.numel() for p in llava().parameters())
    assert last.metrics["cost/cpu_seconds"] > first.metrics["cost/cpu_seconds"] > 0
    assert last.metrics["cost/energy_measured_joules"] + last.metrics["cost/energy_estimated_joules"] > 0
    assert first.manifest is not None
    assert first.manifest["subset"] == "sa_proj"
    assert last.manifest is None
    assert first.started_at is not None
    assert last.started_at is None


def test_what_full_tuning_would_have_cost_is_what_it_costs(used: Workbench, tmp_path: Path) -> None:
    """The same steps on the same samples, whatever was trained; LwF's pass of the base is no part of it."""
    *_, full = used.run(train_job(tmp_path / "full", "full"))
    *_, part = used.run(train_job(tmp_path / "part", "down"))
    job = train_job(tmp_path / "lwf", "down")
    held = replace(job, recipe=replace(job.recipe, lwf_weight=0.5, lwf_temperature=2.0))
    *_, distilled = used.run(held)
    whole = full.metrics["cost/train_flops"]
    assert [each.metrics["cost/full_train_flops"] for each in (full, part, distilled)] == [whole] * 3
    assert part.metrics["cost/train_flops"] < distilled.metrics["cost/train_flops"] != whole
    assert part.metrics["cost/full_stored_bytes"] == full.metrics["cost/stored_bytes"]


@pytest.mark.parametrize(("early", "passed"), [(2, 3 + 3), (4, 4 + 4), (9, 6 + 5)])
def test_rungs_before_the_last_are_scored_on_the_first_samples(
    used: Workbench, prepared: WorkerSetup, tmp_path: Path, early: int, passed: int
) -> None:
    """Of 6 and 5 samples; drift takes 3 of each task at every rung, so no fewer go through the model."""
    bench = Workbench(replace(prepared, rung_samples=early))
    (base,) = bench.run(EvaluateJob())
    assert [each.n for each in base.evaluations.values()] == [6, 5]
    seen: list[int] = []
    bench.model.register_forward_pre_hook(
        lambda _, __, inputs: None if torch.is_grad_enabled() else seen.append(len(inputs["input_ids"])),
        with_kwargs=True,
    )
    counts = []
    whole = list(used.run(train_job(tmp_path / "whole", rungs=(3, 6, 9))))
    reports = []
    for report in bench.run(train_job(tmp_path / "early", rungs=(3, 6, 9))):
        reports.append(report)
        counts.append(sum(seen))
        seen.clear()
    assert counts == [passed, passed, 6 + 5]
    expected = [
        replace(
            report,
            evaluations={name: each.first(min(early, each.n)) for name, each in report.evaluations.items()},
        )
        for report in whole[:2]
    ]
    for one, other in zip(measured(reports), measured([*expected, whole[2]]), strict=True):
        assert one[:3] == other[:3]
        # Passes of other samples round otherwise.
        assert one[3] == pytest.approx(other[3], rel=1e-4)
    # What is learnt must differ between the first samples and all, or this shows nothing.
    assert {score for report in whole for score in report.evaluations["easy"].scores} == {0.0, 100.0}


METHODS: dict[str, dict[str, Any]] = {
    "full": {"subset": "full"},
    "sa_proj": {"subset": "sa_proj", "lwf_weight": 0.5, "l2sp_weight": 0.1},
    "vision_projector": {"subset": "vision_projector"},
    "adapters": {"subset": "llm", **adapters("dora"), "lora_dropout": 0.1, "lwf_weight": 0.5},
}


@pytest.mark.parametrize("name", METHODS)
def test_a_used_workbench_measures_what_a_fresh_one_does(
    used: Workbench, prepared: WorkerSetup, name: str, tmp_path: Path
) -> None:
    with closing(used.run(train_job(tmp_path / "stopped", "llm", learning_rate=1.0))) as stopped:
        next(stopped)
    with pytest.raises(TrialFailed):
        list(used.run(train_job(tmp_path / "failed", learning_rate=1e38)))
    list(used.run(train_job(tmp_path / "other", "mlp")))
    list(used.run(train_job(tmp_path / "adapted", "sa_proj", **adapters())))
    assert_is_base(used.model)
    again = list(used.run(train_job(tmp_path / "again", **METHODS[name])))
    fresh = list(Workbench(prepared).run(train_job(tmp_path / "fresh", **METHODS[name])))
    assert measured(again) == measured(fresh)
    names = [Path(reports[-1].checkpoint.path) for reports in (again, fresh) if reports[-1].checkpoint]
    one, other = map(load_file, names)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_base_is_evaluated_for_drift_once_and_not_for_each_job(
    prepared: WorkerSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, calls = Workbench(prepared), []
    evaluate = bench.evaluator.evaluate
    monkeypatch.setattr(bench.evaluator, "evaluate", lambda **how: calls.append(1) or evaluate(**how))
    for number in range(3):
        list(bench.run(train_job(tmp_path / str(number), "down", rungs=(1,))))
    assert len(calls) == 1 + 3


def test_learns_what_can_be_learnt(used: Workbench, tmp_path: Path) -> None:
    (report,) = used.run(train_job(tmp_path, rungs=(12,)))
    assert report.evaluations["easy"].value == 100.0


RUNGS = (2, 4, 6, 8)


def interrupted(bench: Workbench, folder: Path, *, after: int, **fields: object) -> tuple[Pointer, ...]:
    """Run a job until some rungs were reported; return where the last two lie, the newest first."""
    with closing(bench.run(train_job(folder, rungs=RUNGS, **fields))) as run:
        saved = [next(run).checkpoint for _ in range(after)]
    # The job's process dies here: nothing that follows may tell it that the job is over.
    pointers = tuple(pointer for pointer in reversed(saved[-2:]) if pointer is not None)
    assert all(load_checkpoint(pointer) for pointer in pointers)
    return pointers


def resumed(bench: Workbench, folder: Path, pointers: tuple[Pointer, ...], **fields: object) -> list[Report]:
    return list(bench.run(replace(train_job(folder, rungs=RUNGS, **fields), resume=pointers)))


def flops(reports: list[Report]) -> list[float]:
    return [report.metrics["cost/train_flops"] for report in reports]


def parameters(report: Report) -> dict[str, torch.Tensor]:
    assert report.checkpoint is not None
    return load_file(report.checkpoint.path)


KINDS: dict[str, dict[str, Any]] = {
    "full": {},
    "adapters": {**adapters("dora"), "lora_dropout": 0.1, "lwf_weight": 0.5, "subset": "llm"},
    "pulled back": {"l2sp_weight": 0.1, "subset": "sa_proj"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lost", ["nothing", "the last", "the last's optimiser", "both"])
def test_goes_on_as_if_nothing_had_happened(
    used: Workbench, tmp_path: Path, kind: str, lost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the last checkpoint, the one before if that is damaged, or the base: all numbers are the same."""
    how = KINDS[kind]
    whole = list(used.run(train_job(tmp_path / "whole", rungs=RUNGS, **how)))
    pointers = interrupted(used, tmp_path / "part", after=3, **how)
    damaged = {
        "nothing": [],
        "the last": [pointers[0].path],
        "the last's optimiser": [pointers[0].optimizer],
        "both": [pointers[0].path, pointers[1].optimizer],
    }[lost]
    for path in damaged:
        content = bytearray(Path(str(path)).read_bytes())
        content[-1] ^= 1
        Path(str(path)).write_bytes(content)
    rest = resumed(used, tmp_path / "part", pointers, **how)
    assert [report.step for report in rest] == [8], "a rung is reported once"
    assert measured(rest) == measured(whole[3:])
    assert flops(rest) == flops(whole[3:])
    tuned, expected = parameters(rest[0]), parameters(whole[3])
    assert set(tuned) == set(expected)
    assert all(torch.equal(tuned[name], expected[name]) for name in expected)
    assert capsys.readouterr().err.count("is damaged") == len(damaged)
    # What was reported before can be read again: points are made of it.
    assert all(load_checkpoint(pointer) for pointer in pointers[:1])


def test_a_run_that_had_to_stop_trains_what_is_left_and_no_more(
    used: Workbench, prepared: WorkerSetup, tmp_path: Path
) -> None:
    """Whoever began it is gone: what is known is the job, and what lies in its folder."""
    job = train_job(tmp_path / "stopped", rungs=(2, 9))
    undisturbed = list(used.run(train_job(tmp_path / "twin", rungs=(2, 9))))
    steps = 0

    def count(*_: Any) -> None:
        nonlocal steps
        steps += torch.is_grad_enabled()

    stopping = Workbench(prepared, stops=lambda: steps >= 5)
    stopping.model.register_forward_hook(count)
    run = stopping.run(job)
    first = next(run)
    with pytest.raises(Stopped):
        next(run)
    assert 5 <= steps < 9
    assert first.checkpoint is not None

    stopping = Workbench(prepared)
    stopping.model.register_forward_hook(count)
    (last,) = stopping.run(taken_up(replace(job, resume=(first.checkpoint,))))
    assert steps == 9
    assert measured([last]) == measured(undisturbed[-1:])
    assert last.checkpoint is not None
    assert undisturbed[-1].checkpoint is not None
    assert last.checkpoint.sha256 == undisturbed[-1].checkpoint.sha256


def test_a_lost_rung_that_comes_out_otherwise_is_not_put_in_its_place(
    used: Workbench, tmp_path: Path
) -> None:
    """As on GPUs: what was reported has another checksum, and the file may be whole for others."""
    last, before = interrupted(used, tmp_path, after=3)
    assert last.optimizer is not None
    Path(last.path).write_bytes(b"damaged")
    optimizer = Path(last.optimizer).read_bytes()
    (report,) = resumed(used, tmp_path, (replace(last, sha256="0" * 64), before))
    assert report.step == 8
    assert Path(last.path).read_bytes() == b"damaged"
    assert Path(last.optimizer).read_bytes() == optimizer
    assert not (tmp_path / ".again").exists()


def test_the_time_of_all_lives_counts(used: Workbench, tmp_path: Path) -> None:
    pointers = interrupted(used, tmp_path, after=2)
    before = Spent.from_dict(pointers[0].spent)
    assert before.train_seconds > 0
    pretended = replace(
        before, train_seconds=1000.0, eval_seconds=100.0, measured=7e6, peak_memory_bytes=1e15
    )
    first, last = resumed(used, tmp_path, (replace(pointers[0], spent=pretended.to_dict()), pointers[1]))
    assert 1000 < first.metrics["cost/train_seconds"] < last.metrics["cost/train_seconds"] < 1001
    assert 100 < last.metrics["cost/eval_seconds"] < 101
    assert last.metrics["cost/energy_measured_joules"] >= 7e6
    assert last.metrics["cost/cpu_seconds"] > before.core_seconds
    assert last.metrics["cost/peak_memory_bytes"] == 1e15


@pytest.mark.parametrize("keep_rungs", [False, True])
def test_the_last_two_checkpoints_stay_until_the_job_is_over(
    used: Workbench, tmp_path: Path, keep_rungs: bool
) -> None:
    job = replace(train_job(tmp_path, rungs=RUNGS), keep_rungs=keep_rungs)
    (tmp_path / ".step_000001.safetensors.77.tmp").write_bytes(b"a process that was killed left this")
    steps = []
    with closing(used.run(job)) as run:
        for report in run:
            optimizers = {path.name[5:11] for path in tmp_path.glob("*.optimizer.safetensors")}
            steps.append((report.step, sorted(map(int, optimizers))))
    # A rung's report is out before the third last is dropped.
    assert steps == [(2, [2]), (4, [2, 4]), (6, [2, 4, 6]), (8, [4, 6, 8])]
    settle(tmp_path, keep_rungs=keep_rungs)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"step_{step:06d}.safetensors" for step in (RUNGS if keep_rungs else RUNGS[-1:])}
    assert all(name.startswith("parameter/") for name in load_file(tmp_path / "step_000008.safetensors"))


def test_a_job_that_can_not_be_served_leaves_the_base(used: Workbench, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        list(used.run(train_job(tmp_path / "file" / "folder")))
    assert_is_base(used.model)


@pytest.mark.parametrize("subset", ["full", "gate_up", "llm"])
def test_selected_weights_reproduce_the_reported_scores(
    used: Workbench, base: Path, prepared: WorkerSetup, subset: str, tmp_path: Path
) -> None:
    fields = adapters() if subset == "llm" else {}
    report = list(used.run(train_job(tmp_path / "trial", subset, rungs=(3, 7), **fields)))[-1]
    first = next(iter(used.run(train_job(tmp_path / "twin", subset, rungs=(3, 7), **fields))))
    assert report.checkpoint is not None
    assert first.manifest is not None
    export_delta(
        Path(report.checkpoint.path), first.manifest, model_fingerprint(str(base)), tmp_path / "selected"
    )

    bench = Workbench(prepared)
    untuned, base_log_probs = bench.evaluator.evaluate()
    apply_delta(bench.model, tmp_path / "selected")
    evaluations, log_probs = bench.evaluator.evaluate()
    assert evaluations == report.evaluations
    moved = any(not torch.equal(p, q) for p, q in zip(base_log_probs["easy"], log_probs["easy"], strict=True))
    assert moved, "the selected weights must be other than the base's"
    assert untuned != evaluations or subset == "gate_up"
    description = json.loads((tmp_path / "selected" / "manifest.json").read_text())
    assert description["trained"] == sum(
        t.numel() for t in load_file(tmp_path / "selected" / "delta.safetensors").values()
    )


def test_replayed_samples_are_trained_on(prepared: WorkerSetup, used: Workbench, tmp_path: Path) -> None:
    replayed = replace(prepared, replay=samples("replayed", 3, answers=("no",)))
    job = train_job(tmp_path / "trial", replay_ratio=0.5, rungs=(2,))
    (report,) = Workbench(replayed).run(job)
    (plain,) = used.run(train_job(tmp_path / "plain", rungs=(2,)))
    assert report.metrics["train/loss"] != plain.metrics["train/loss"]
    with pytest.raises(ValueError, match="no samples for replay"):
        list(used.run(job))


def test_a_metric_that_generates_runs_through_training_too(base: Path, tmp_path: Path) -> None:
    easy = task("easy", "target", answers=("yes",))
    kept = task("kept", "held_out", answers=("the cat .", "no"), metric=MetricSpec("normalized_exact_match"))
    (report,) = Workbench(setup(base, (easy, kept))).run(train_job(tmp_path, rungs=(3,)))
    assert report.evaluations["kept"].n == 6
    assert report.metrics["drift/kl_held_out"] > 0


def test_serves_a_text_model(tmp_path: Path) -> None:
    tasks = (task("easy", "target", answers=("yes",), images=False), task("kept", "held_out", images=False))
    bench = Workbench(setup(save_llama(tmp_path / "llama"), tasks))
    (report,) = bench.run(train_job(tmp_path / "trial", rungs=(12,)))
    assert report.evaluations["easy"].value == 100.0
    with pytest.raises(ValueError, match="matches no parameter"):
        list(bench.run(train_job(tmp_path / "other", "vision")))
