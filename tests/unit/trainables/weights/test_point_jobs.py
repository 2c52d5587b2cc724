"""Points on a workbench: evaluated or written without training, and the base comes back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import adapters, assert_is_base, llava, save_llava, setup, task, train_job

from spaces.points import Identity, Interpolation, Member, Point, Pruning, Soup, Transform
from trainables.checkpoint import apply_delta, export_delta, read_manifest
from trainables.loop import TrialFailed
from trainables.manifest import TrainableManifest
from trainables.weights.merging import merge_adapters
from trainables.weights.points import TrainedWeights
from trainables.workers.jobs import ConfirmData, ConfirmJob, EvaluateJob, PointJob, Report
from trainables.workers.workbench import Workbench

SUBSETS = ("sa_proj", "gate_up")


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trial that was trained: its last report, and its weights after each of two rungs."""

    last: Report
    weights: tuple[TrainedWeights, TrainedWeights]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    return Workbench(setup(save_llava(tmp_path_factory.mktemp("base") / "llava")))


@pytest.fixture(scope="module")
def trained(bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """One trial of each subset, and one of adapters; both rungs are kept."""
    found = {}
    for name, fields in {**{subset: {} for subset in SUBSETS}, "adapters": adapters("dora")}.items():
        subset = name if name in SUBSETS else "sa_proj"
        job = train_job(tmp_path_factory.mktemp("trials") / name, subset, **fields)
        first, last = bench.run(dataclasses.replace(job, keep_rungs=True))
        assert first.manifest is not None
        manifest = TrainableManifest.from_dict(json.loads(json.dumps(first.manifest)))
        early, late = (
            TrainedWeights(path=report.checkpoint.path, manifest=manifest)
            for report in (first, last)
            if report.checkpoint is not None
        )
        found[name] = Trained(last, (early, late))
    return found


@pytest.fixture(autouse=True)
def _base_comes_back(bench: Workbench) -> Iterator[None]:
    yield
    assert_is_base(bench.model)


def run(
    bench: Workbench, transform: Transform, *members: TrainedWeights, write_to: Path | None = None
) -> Report:
    job = PointJob(
        point=Point(0, 6, transform), members=members, write_to=None if write_to is None else str(write_to)
    )
    (report,) = bench.run(job)
    assert (report.step, report.done, report.error) == (6, True, None)
    return report


@pytest.mark.parametrize("transform", [Identity(), Interpolation(1), Pruning(1), Soup((Member(0, 6),))])
def test_what_changes_nothing_measures_what_the_trial_did(
    bench: Workbench, trained: dict[str, Trained], transform: Transform
) -> None:
    own = trained["sa_proj"]
    report = run(bench, transform, own.weights[1])
    assert report.evaluations == own.last.evaluations
    for name in ("drift/kl_target", "drift/kl_held_out", "cost/trainable_parameters"):
        assert report.metrics[name] == own.last.metrics[name]
    assert report.metrics["cost/train_seconds"] == 0
    assert report.metrics["cost/eval_seconds"] > 0
    assert "train/loss" not in report.metrics


def test_the_base_is_measured_where_alpha_is_0(bench: Workbench, trained: dict[str, Trained]) -> None:
    report = run(bench, Interpolation(0), trained["gate_up"].weights[1])
    (base,) = bench.run(EvaluateJob())
    assert report.evaluations == base.evaluations
    assert report.metrics["drift/kl_target"] == 0


def test_the_further_from_the_base_the_more_drift(bench: Workbench, trained: dict[str, Trained]) -> None:
    drift = [
        run(bench, Interpolation(alpha), trained["sa_proj"].weights[1]).metrics["drift/kl_target"]
        for alpha in (0.25, 0.5, 1.0)
    ]
    assert 0 < drift[0] < drift[1] < drift[2]


class TestConfirming:
    """The confirm splits come with the job, and are scored as the search splits are."""

    TASKS = (task("easy", "target", n=7, answers=("yes",)), task("kept", "held_out", n=9))

    def confirm(self, bench: Workbench, point: Point | None, *members: TrainedWeights) -> Report:
        (report,) = bench.run(ConfirmJob(data=ConfirmData(tasks=self.TASKS), point=point, members=members))
        assert (report.done, report.error, report.manifest, report.checkpoint) == (True, None, None, None)
        return report

    def test_a_point_scores_what_a_search_on_these_samples_would_find(
        self, bench: Workbench, trained: dict[str, Trained]
    ) -> None:
        weights = trained["sa_proj"].weights[1]
        searching = Workbench(dataclasses.replace(bench._setup, tasks=self.TASKS))
        for transform in (Identity(), Interpolation(0.5)):
            report = self.confirm(bench, Point(0, 6, transform), weights)
            assert report.evaluations == run(searching, transform, weights).evaluations
            assert {name: each.n for name, each in report.evaluations.items()} == {"easy": 7, "kept": 9}

    def test_what_was_learnt_shows(self, bench: Workbench, tmp_path: Path) -> None:
        """All samples of the target have one answer, which the base does not know."""
        first, last = bench.run(train_job(tmp_path, "full"))
        assert first.manifest is not None
        assert last.checkpoint is not None
        weights = TrainedWeights(
            path=last.checkpoint.path, manifest=TrainableManifest.from_dict(dict(first.manifest))
        )
        assert self.confirm(bench, Point(0, 6, Identity()), weights).evaluations["easy"].value > 0
        assert self.confirm(bench, None).evaluations["easy"].value == 0

    def test_the_base_is_scored_as_it_is(self, bench: Workbench) -> None:
        (found,) = Workbench(dataclasses.replace(bench._setup, tasks=self.TASKS)).run(EvaluateJob())
        assert self.confirm(bench, None).evaluations == found.evaluations

    def test_the_next_job_scores_the_search_splits_again(self, bench: Workbench) -> None:
        (before,) = bench.run(EvaluateJob())
        self.confirm(bench, None)
        (after,) = bench.run(EvaluateJob())
        assert after.evaluations == before.evaluations
        assert {name: each.n for name, each in after.evaluations.items()} == {"easy": 6, "kept": 5}


def test_an_earlier_rung_holds_its_parameters_alone(
    bench: Workbench, trained: dict[str, Trained], tmp_path: Path
) -> None:
    early, late = trained["sa_proj"].weights
    tensors = load_file(early.path)
    assert tensors
    assert all(name.startswith("parameter/") for name in tensors)
    assert not all(torch.equal(tensors[name], value) for name, value in load_file(late.path).items())
    run(bench, Identity(), early, write_to=tmp_path / "early")
    written = load_file(tmp_path / "early")
    assert all(torch.equal(written[name], tensors[name]) for name in tensors | written)


def test_a_soup_averages_over_the_union_of_what_its_members_trained(
    bench: Workbench, trained: dict[str, Trained], tmp_path: Path
) -> None:
    """The subsets share no tensor, so each member moves its own half as far."""
    members = [trained[subset].weights[1] for subset in SUBSETS]
    report = run(bench, Soup((Member(0, 6), Member(1, 6))), *members, write_to=tmp_path / "soup")
    written, base = load_file(tmp_path / "soup"), llava().state_dict()
    own = {name: tensor for member in members for name, tensor in load_file(member.path).items()}
    assert set(written) == set(own)
    for name, tensor in own.items():
        middle = (base[name.removeprefix("parameter/")] + tensor) / 2
        torch.testing.assert_close(written[name], middle)
    assert report.manifest is not None
    assert report.manifest["subset"] == "sa_proj, gate_up"


def test_a_point_of_adapters_is_of_the_weights_that_they_make(
    bench: Workbench, trained: dict[str, Trained], tmp_path: Path
) -> None:
    own = trained["adapters"]
    merged = run(bench, Identity(), own.weights[1])
    assert merged.evaluations == own.last.evaluations
    for name in ("drift/kl_target", "drift/kl_held_out", "cost/trainable_parameters"):
        assert merged.metrics[name] == pytest.approx(own.last.metrics[name], rel=1e-3)
    path = tmp_path / "half"
    half = run(bench, Interpolation(0.5), own.weights[1], write_to=path)
    assert half.manifest is not None
    assert (half.manifest["method"], half.manifest["subset"]) == ("selective", "sa_proj")
    export_delta(path, half.manifest, "base", tmp_path / "selected")
    base, model, whole = llava(), llava(), llava()
    apply_delta(model, tmp_path / "selected")
    merge_adapters(whole, own.weights[1].manifest, values_of(own.weights[1].path))
    for name, tensor in model.state_dict().items():
        middle = (base.state_dict()[name] + whole.state_dict()[name]) / 2
        torch.testing.assert_close(tensor, middle, rtol=1e-5, atol=1e-6)
    mixed = [trained["sa_proj"].weights[1], own.weights[1]]
    report = run(bench, Soup((Member(0, 6), Member(1, 6))), *mixed)
    assert report.metrics["drift/kl_target"] > 0


def values_of(path: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix("parameter/"): tensor for name, tensor in load_file(path).items()}


@pytest.mark.parametrize("transform", [Interpolation(0.5), Pruning(0.3), Soup((Member(0, 6), Member(1, 6)))])
def test_what_is_handed_over_scores_as_it_was_evaluated(
    bench: Workbench, trained: dict[str, Trained], tmp_path: Path, transform: Transform
) -> None:
    members = [trained[subset].weights[1] for subset in SUBSETS][: 2 if isinstance(transform, Soup) else 1]
    evaluated = run(bench, transform, *members)
    assert evaluated.metrics["drift/kl_target"] != trained["sa_proj"].last.metrics["drift/kl_target"]
    written = run(bench, transform, *members, write_to=tmp_path / "point.safetensors")
    assert written.checkpoint is not None
    assert written.manifest is not None
    assert not written.evaluations
    export_delta(Path(written.checkpoint.path), written.manifest, "", tmp_path / "selected")
    other = Workbench(bench._setup)
    apply_delta(other.model, tmp_path / "selected")
    assert other.evaluator.evaluate()[0] == evaluated.evaluations
    # So it is where a worker group takes it as it lies there.
    _, manifest = read_manifest(tmp_path / "selected")
    delta = TrainedWeights(
        path=str(tmp_path / "selected" / "delta.safetensors"), manifest=manifest, prefix=""
    )
    assert run(bench, Identity(), delta).evaluations == evaluated.evaluations


def test_weights_that_are_gone_fail_the_job_alone(
    bench: Workbench, trained: dict[str, Trained], tmp_path: Path
) -> None:
    gone = dataclasses.replace(trained["sa_proj"].weights[1], path=str(tmp_path / "gone"))
    with pytest.raises(TrialFailed, match=r"checkpoint .*gone is missing"):
        run(bench, Interpolation(0.5), gone)


def test_damaged_weights_fail_the_job_alone(
    bench: Workbench, trained: dict[str, Trained], tmp_path: Path
) -> None:
    (tmp_path / "cut").write_bytes(Path(trained["sa_proj"].weights[1].path).read_bytes()[:-1])
    cut = dataclasses.replace(trained["sa_proj"].weights[1], path=str(tmp_path / "cut"))
    with pytest.raises(TrialFailed, match=r"checkpoint .*cut is damaged"):
        run(bench, Interpolation(0.5), cut)
