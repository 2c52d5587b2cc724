"""One process, two and four, each with the whole model (DDP) or a shard of it (FSDP2): the same results."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from tiny_models import adapters, measured, samples, setup, task, train_job
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from worlds import in_world

from spaces.parts import Slice
from spaces.points import Interpolation, Member, Point, Pruning, Soup, Transform
from trainables.checkpoint import optimizer_file
from trainables.collate import Encoder
from trainables.loop import TrialFailed
from trainables.manifest import build_manifest
from trainables.metrics import MetricSpec
from trainables.pointer import Pointer
from trainables.scoring.evaluation import Evaluation
from trainables.scoring.evaluator import Evaluator
from trainables.training.optimizer import MasterAdamW
from trainables.training.parallel import Share, full_tensor, shard_model, training_forward
from trainables.weights.points import TrainedWeights
from trainables.weights.slices import LiveTensor, sliced
from trainables.workers.jobs import EvaluateJob, PointJob, TrainJob, WorkerSetup
from trainables.workers.workbench import Workbench

pytestmark = pytest.mark.usefixtures("_one_thread")

LEARNING_RATE = 1e-3
RUNGS = (3, 6)
RECIPES: dict[str, dict[str, Any]] = {
    "vision": {"subset": "vision"},
    "sa_proj": {"subset": "sa_proj"},
    "gate_up": {"subset": "gate_up", "batch_size": 5},
    # The last one before the base is evaluated again: it changes every parameter.
    "full": {"subset": "full", "weight_decay": 0.1},
}
# Recipes of other methods, for one process and two: what they add does not know how many there are.
METHODS: dict[str, dict[str, Any]] = {
    "kept": {"subset": "mlp", "lwf_weight": 2.0, "l2sp_weight": 0.1, "replay_ratio": 0.3},
    # With images and with text alone: in some passes the tower's adapters get no gradient.
    "adapters": {"subset": "full", "lwf_weight": 2.0, **adapters("dora")},
}
POINTS: dict[str, tuple[Transform, tuple[str, ...]]] = {
    "interpolated": (Interpolation(0.5), ("full",)),
    "pruned": (Pruning(0.2), ("sa_proj",)),
    "soup": (Soup((Member(0, RUNGS[-1]), Member(1, RUNGS[-1]))), ("vision", "gate_up")),
}
# How several processes carry them out; one process takes its share in one pass and recomputes nothing.
# Of a matrix of 6 rows and 4 columns; they share no element.
SLICES = {"rows": Slice(0, 1, 4, 6), "row of each head": Slice(0, 2, 0, 1)}
EXECUTIONS: dict[str, dict[str, Any]] = {
    "sa_proj": {"micro_batch_size": 1, "activation_checkpointing": True},
    "gate_up": {"micro_batch_size": 2},
    "kept": {"micro_batch_size": 1},
    "adapters": {"micro_batch_size": 1, "activation_checkpointing": True},
}


class Outcome(NamedTuple):
    """What a job measured at its rungs, and the tensors that it ended with."""

    measured: list[Any]
    tensors: Mapping[str, Tensor]


def worker_setup(base: Path, dtype: str = "float32") -> WorkerSetup:
    """Return tasks of odd sizes that mix samples with and without an image; one is scored by generation."""
    mixed = (*samples("pictures", 7), *samples("words", 6, images=False))
    tasks = (
        task("easy", "target", n=7, answers=("yes", "cat dog", "1 : 45"), train=mixed),
        replace(task("kept", "held_out"), search=mixed[4:9]),
        task("said", "held_out", n=3, metric=MetricSpec("normalized_exact_match")),
    )
    again = samples("again", 5, images=False)
    # Fewer are scored at a rung before the last than there are processes, and fewer than drift takes.
    return replace(setup(base, tasks), dtype=dtype, replay=again, rung_samples=2)  # type: ignore[arg-type]


def job_of(name: str, folder: Path, execution: Mapping[str, Any]) -> TrainJob:
    job = train_job(folder / name, rungs=RUNGS, learning_rate=LEARNING_RATE, **(RECIPES | METHODS)[name])
    return replace(job, **execution)


def serve(workbench: Workbench, job: TrainJob, keep: Path | None = None) -> Outcome:
    """Run a job; copy its first rung's checkpoint, with the optimiser, to `keep` before the job's end."""
    reports = []
    for report in workbench.run(job):
        reports.append(report)
        if keep is not None and report.checkpoint is not None and not report.done:
            shutil.copy(report.checkpoint.path, keep)
            shutil.copy(str(report.checkpoint.optimizer), optimizer_file(keep))
    pointer = reports[-1].checkpoint
    return Outcome(measured(reports), {} if pointer is None else load_file(pointer.path))


def serve_all(
    workbench: Workbench,
    folder: Path,
    executions: Mapping[str, Any],
    first: bool,
    names: Iterable[str] = (*METHODS, *RECIPES),
) -> dict[str, Outcome]:
    """Run recipes and then evaluate the base; keep the first rungs, as the first process does."""
    folder.mkdir(exist_ok=True)
    outcomes = {}
    for name in names:
        job = job_of(name, folder, executions.get(name, {}))
        outcomes[name] = serve(workbench, job, rung_of(folder, name) if first else None)
    outcomes["base"] = Outcome(measured(workbench.run(EvaluateJob())), {})
    return outcomes


def rung_of(folder: Path, name: str) -> Path:
    """Return where the first rung of a recipe is kept."""
    return folder / f"{name}.safetensors"


def resumed(workbench: Workbench, written: Path, folder: Path) -> Outcome:
    """Go on with `full` from a copy of a first rung: a run deletes what it has gone beyond."""
    folder.mkdir(exist_ok=True)
    path = Path(shutil.copy(rung_of(written, "full"), folder / f"{os.getpid()}.safetensors"))
    optimizer = Path(shutil.copy(optimizer_file(rung_of(written, "full")), optimizer_file(path)))
    checksums = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (path, optimizer)]
    pointer = Pointer(str(path), checksums[0], RUNGS[0], str(optimizer), checksums[1])
    return serve(workbench, replace(job_of("full", folder / "resumed", {}), resume=(pointer,)))


def points(workbench: Workbench, written: Path, folder: Path) -> dict[str, Outcome]:
    """Evaluate and write points of the trials whose weights lie in `written`."""
    found = {}
    for name, (transform, trials) in POINTS.items():
        members = tuple(
            TrainedWeights(
                path=str(written / trial / f"step_{RUNGS[-1]:06d}.safetensors"),
                manifest=build_manifest(workbench.model, RECIPES[trial]["subset"]),
            )
            for trial in trials
        )
        job = PointJob(point=Point(0, RUNGS[-1], transform), members=members)
        path = folder / f"{name}.safetensors"
        list(workbench.run(replace(job, write_to=str(path))))
        found[name] = Outcome(measured(workbench.run(job)), load_file(path))
    with pytest.raises(TrialFailed, match="is missing"):
        list(workbench.run(replace(job, members=(replace(members[0], path=str(folder / "gone")),))))
    return found


def answers(workbench: Workbench, base: Path, share: Share) -> tuple[dict[str, Evaluation], ...]:
    """Return scores and answers of tasks whose samples have several references, and choices.

    Those of all samples, and those of the first two.
    """
    mixed = (*samples("pictures", 7), *samples("words", 6, images=False))[4:9]
    several = tuple(replace(sample, references=("no", sample.answer)) for sample in mixed)
    choices = ("cat", "red cat", "sun sun sun")
    # Some have fewer choices.
    weighed = [
        replace(sample, answer="cat", choices=choices[: 2 + index % 2]) for index, sample in enumerate(mixed)
    ]
    tasks = (
        replace(task("several", "target"), search=several),
        replace(
            task("weighed", "held_out", metric=MetricSpec("multiple_choice_norm")), search=tuple(weighed)
        ),
    )
    encoder = Encoder.load(str(base))
    worker = replace(setup(base, tasks), eval_batch_size=2, rung_samples=2)
    evaluator = Evaluator(worker, workbench.model, encoder, share)
    return evaluator.evaluate_base(predictions=True), evaluator.evaluate(predictions=True, early=True)[0]


def work(rank: int, size: int, base: Path, folder: Path, written: Path) -> dict[str, Any] | None:
    """Serve with a replica in each process, then with a shard in each; go on from what others wrote."""
    found: dict[str, Any] = {}
    names = RECIPES if size > 2 else (*METHODS, *RECIPES)
    for sharded in (False, True):
        home = folder / f"{size}-{'fsdp' if sharded else 'ddp'}"
        workbench = Workbench(worker_setup(base), share=Share(rank, size, sharded))
        found[home.name] = serve_all(workbench, home, EXECUTIONS, rank == 0, names)
        found[f"{home.name} resumed"] = resumed(workbench, written, home)
        found[f"{home.name} answers"] = answers(workbench, base, Share(rank, size, sharded))
        if size == 2:
            found[f"{home.name} points"] = points(workbench, written, home)
    half = Workbench(worker_setup(base, "bfloat16"), share=Share(rank, size, sharded=True))
    found["bfloat16"] = serve(half, job_of("sa_proj", folder / f"{size}-half", EXECUTIONS["sa_proj"]))
    found["slices"] = {home: trained_slices(rank, home == "fsdp") for home in ("ddp", "fsdp")}
    found["mean gradients"] = [mean_gradient(rank, sharded) for sharded in (False, True)]
    return found if rank == 0 else None


def mean_gradient(rank: int, sharded: bool) -> float:
    """Return the mean of gradients of which bfloat16 would lose some: 1, 2^-9, -1, 2^-9."""
    model = nn.Linear(4, 1, bias=False, dtype=torch.bfloat16).requires_grad_(False)
    share = Share(rank, dist.get_world_size(), sharded)
    if sharded:
        shard_model(model, init_device_mesh("cpu", (dist.get_world_size(),)))
    model(torch.ones(1, 4, dtype=torch.bfloat16))  # as the base is evaluated before any training
    model.requires_grad_(True)
    forward = training_forward(model, share)
    forward(torch.full((1, 4), (1.0, 2.0**-9, -1.0, 2.0**-9)[rank], dtype=torch.bfloat16)).sum().backward()
    assert model.weight.grad is not None
    return full_tensor(model.weight.grad)[0, 0].item()


def trained_slices(rank: int = 0, sharded: bool = False, size: int | None = None) -> dict[str, Tensor]:
    """Train slices of one matrix for four steps; after two a new optimiser goes on from the state.

    Returns:
        The matrix before and after, with its slices copied back, and the optimiser's last state; all whole.
    """
    size = size or dist.get_world_size()
    torch.manual_seed(0)
    model = nn.Linear(4, 6, bias=False)
    inputs, targets = torch.randn(4, 4), torch.randn(4, 6)
    found = {"before": model.weight.detach().clone()}
    if sharded:
        shard_model(model, init_device_mesh("cpu", (size,)))
    forward = training_forward(model, Share(rank, size, sharded))
    live = {key: LiveTensor(model.weight, part) for key, part in SLICES.items()}
    saved = {key: each.value.clone() for key, each in live.items()}
    state: Mapping[str, Tensor] = {}
    for _ in range(2):
        optimizer = MasterAdamW(live, weight_decay=0.1, max_grad_norm=1.0)
        optimizer.load_state(state) if state else None
        for _ in range(2):
            loss = ((forward(inputs[rank::size]) - targets[rank::size]) ** 2).sum()
            (loss * size).backward()
            optimizer.take_gradients()
            optimizer.step(LEARNING_RATE)
        state = {key: full_tensor(tensor).clone() for key, tensor in optimizer.state().items()}
    found["after"] = full_tensor(model.weight).detach().clone()
    for key, value in saved.items():
        live[key].copy_(value)
    return {**found, "restored": full_tensor(model.weight).detach().clone(), **state}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parallel")


@pytest.fixture(scope="module")
def workbench(base: Path) -> Workbench:
    return Workbench(worker_setup(base))


@pytest.fixture(scope="module")
def alone(workbench: Workbench, folder: Path) -> dict[str, Outcome]:
    return serve_all(workbench, folder / "1", {}, first=True)


@pytest.fixture(scope="module")
def two(base: Path, folder: Path, alone: dict[str, Outcome]) -> dict[str, Any]:
    """Two processes, which also go on from what one wrote."""
    return in_world(2, work, 2, base, folder, folder / "1")[0]


@pytest.fixture(scope="module")
def four(base: Path, folder: Path, two: dict[str, Any]) -> dict[str, Any]:
    """Four processes, which also go on from what two wrote."""
    return in_world(4, work, 4, base, folder, folder / "2-fsdp")[0]


def test_one_process_scores_the_first_samples_alone_before_the_last_rung(alone: dict[str, Outcome]) -> None:
    (_, _, first, _), (_, _, last, _) = alone["full"].measured
    assert [evaluation.n for evaluation in first.values()] == [2, 2, 2]
    assert [evaluation.n for evaluation in last.values()] == [7, 5, 3]


def assert_same(outcome: Outcome, expected: Outcome) -> None:
    for (step, done, evaluations, metrics), wanted in zip(outcome.measured, expected.measured, strict=True):
        assert (step, done, evaluations) == wanted[:3]
        assert metrics == pytest.approx(wanted[3], rel=1e-3, abs=1e-6)
    assert set(outcome.tensors) == set(expected.tensors)
    for name, tensor in expected.tensors.items():
        # Six steps of AdamW move an element by up to 6e-3; sums in another order move it by far less.
        assert (outcome.tensors[name] - tensor).abs().max() < LEARNING_RATE * 1e-2, name


@pytest.mark.parametrize(
    ("name", "home"),
    [
        *((name, home) for name in (*RECIPES, "base") for home in ("2-ddp", "2-fsdp", "4-ddp", "4-fsdp")),
        *((name, home) for name in METHODS for home in ("2-ddp", "2-fsdp")),
    ],
)
def test_training_scores_and_the_base_after_it_are_the_same(
    request: pytest.FixtureRequest, alone: dict[str, Outcome], home: str, name: str
) -> None:
    several = request.getfixturevalue("two" if home.startswith("2") else "four")
    assert_same(several[home][name], alone[name])


@pytest.mark.parametrize("home", ["2-ddp", "2-fsdp", "4-ddp", "4-fsdp"])
def test_a_checkpoint_of_one_or_two_processes_goes_on_in_more(
    request: pytest.FixtureRequest, alone: dict[str, Outcome], home: str
) -> None:
    several = request.getfixturevalue("two" if home.startswith("2") else "four")
    assert_same(several[f"{home} resumed"], Outcome(alone["full"].measured[1:], alone["full"].tensors))


def test_several_references_and_choices_are_answered_alike(
    workbench: Workbench, base: Path, two: dict[str, Any], four: dict[str, Any]
) -> None:
    alone = answers(workbench, base, Share())
    assert [len(set(evaluation.predictions)) > 1 for evaluation in alone[0].values()] == [True, True]
    assert alone[1] == {task: evaluation.first(2) for task, evaluation in alone[0].items()}
    for found, size in ((two, 2), (four, 4)):
        for home in (f"{size}-ddp", f"{size}-fsdp"):
            assert found[f"{home} answers"] == alone, home


@pytest.mark.parametrize("home", ["2-ddp", "2-fsdp"])
def test_points_are_the_same_bit_for_bit(
    alone: dict[str, Outcome],
    two: dict[str, Any],
    workbench: Workbench,
    folder: Path,
    tmp_path: Path,
    home: str,
) -> None:
    expected = points(workbench, folder / "1", tmp_path)
    for name, (found, tensors) in two[f"{home} points"].items():
        ((_, _, evaluations, metrics),) = found
        ((_, _, wanted, wanted_metrics),) = expected[name].measured
        assert evaluations == wanted
        assert metrics == pytest.approx(wanted_metrics, rel=1e-3, abs=1e-6)
        assert set(tensors) == set(expected[name].tensors)
        assert all(torch.equal(tensors[key], value) for key, value in expected[name].tensors.items())


@pytest.mark.parametrize("home", ["2-ddp", "2-fsdp", "4-fsdp"])
def test_a_checkpoint_of_several_processes_goes_on_in_one(
    alone: dict[str, Outcome],
    four: dict[str, Any],
    workbench: Workbench,
    folder: Path,
    tmp_path: Path,
    home: str,
) -> None:
    expected = Outcome(alone["full"].measured[1:], alone["full"].tensors)
    assert_same(resumed(workbench, folder / home, tmp_path), expected)


def test_bfloat16_trains_alike_but_for_rounding(
    two: dict[str, Any], four: dict[str, Any], base: Path, tmp_path: Path
) -> None:
    expected = serve(Workbench(worker_setup(base, "bfloat16")), job_of("sa_proj", tmp_path, {}))
    for several in (two, four):
        for (*_, metrics), (*_, wanted) in zip(several["bfloat16"].measured, expected.measured, strict=True):
            assert metrics["train/loss"] == pytest.approx(wanted["train/loss"], rel=1e-2)


@pytest.mark.parametrize("home", ["ddp", "fsdp"])
def test_slices_train_alike_and_alone(two: dict[str, Any], four: dict[str, Any], home: str) -> None:
    expected = trained_slices(size=1)
    others = torch.ones(6, 4, dtype=torch.bool)
    for part in SLICES.values():
        sliced(others, part).fill_(False)
    assert others.sum() == 2 * 4
    for found in (two["slices"][home], four["slices"][home]):
        assert set(found) == set(expected)
        for key, tensor in expected.items():
            assert torch.allclose(found[key], tensor, rtol=1e-5, atol=1e-7), key
        assert torch.equal(found["after"][others], found["before"][others])
        assert not torch.isclose(found["after"][~others], found["before"][~others], rtol=0, atol=1e-5).any()
        assert torch.equal(found["restored"], found["before"])


def test_bfloat16_gradients_are_averaged_in_fp32(four: dict[str, Any]) -> None:
    """(1 + 2^-9 - 1 + 2^-9) / 4 = 2^-10; in bfloat16 1 + 2^-9 is 1."""
    assert four["mean gradients"] == [2.0**-10, 2.0**-10]
