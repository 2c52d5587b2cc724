"""lm-eval's tasks on a model in memory: the values that lm-eval itself gives, and nothing changed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lm_eval_world import (
    LEARNT,
    UNSEEN,
    WEIGHED,
    WRITTEN,
    encoder,
    half_taught,
    lm_eval_alone,
    own_samples,
    rows,
    scored,
    write_task,
)
from tiny_models import adapters, llava, recipe
from torch import nn

from trainables.collate import Encoder
from trainables.evaluate import evaluate_task
from trainables.metrics import MetricSpec
from trainables.scoring.lm_eval_library import LmEvalError
from trainables.scoring.lm_eval_scoring import LmEvalScorer
from trainables.scoring.lm_eval_task import LmEvalTask
from trainables.tiny.build import build_processor, build_tokenizer
from trainables.training.parallel import Share
from trainables.weights.restore import borrowed
from trainables.weights.trained import trained_manifest

TASKS = [("written", "exact_match"), ("weighed", "acc"), ("weighed", "acc_norm")]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return half_taught()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("tasks")
    write_task(home, "written", WRITTEN)
    return write_task(home, "weighed", WEIGHED)


@pytest.fixture(scope="module")
def alone(model: nn.Module, folder: Path) -> dict[int, dict[str, dict[str, list[float]]]]:
    """Examples -> task -> metric -> what lm-eval gives to each document by itself."""
    return {
        fewshot: lm_eval_alone(model, folder, "written", "weighed", num_fewshot=fewshot) for fewshot in (0, 2)
    }


def own_scores(model: nn.Module, metric: str) -> list[float]:
    """Return our own scores of the same questions, which lm-eval has no part in."""
    samples = own_samples(rows())
    return evaluate_task(
        model,
        build_tokenizer(),
        [encoder().encode(sample) for sample in samples],
        samples=samples,
        metric=MetricSpec(metric),
        batch_size=8,
        keep=0,
    ).scores


def assert_knows_some(scores: list[float]) -> None:
    assert len(scores) == LEARNT + UNSEEN
    assert set(scores) == {0.0, 100.0}, "the model must answer some right, and some wrong"


@pytest.mark.parametrize("fewshot", [0, 2])
@pytest.mark.parametrize(("name", "metric"), TASKS)
def test_the_scores_are_lm_evals(
    model: nn.Module, folder: Path, alone: dict[int, Any], name: str, metric: str, fewshot: int
) -> None:
    found = scored(model, folder, name, chosen=metric, num_fewshot=fewshot)
    assert found.scores == alone[fewshot][name][metric]
    assert_knows_some(found.scores)
    if not fewshot:
        right = [row["choices"][row["answer"]] for row in rows()]
        said = [answer == wanted for answer, wanted in zip(found.predictions, right, strict=True)]
        assert said == [score == 100.0 for score in found.scores]


def test_the_metrics_differ_from_each_other(alone: dict[int, Any]) -> None:
    assert alone[0]["weighed"]["acc"] != alone[0]["weighed"]["acc_norm"]


@pytest.mark.parametrize(
    ("ours", "name", "metric"),
    [
        ("exact_match", "written", "exact_match"),
        ("multiple_choice", "weighed", "acc"),
        ("multiple_choice_norm", "weighed", "acc_bytes"),
        # As many characters as bytes.
        ("multiple_choice_norm", "weighed", "acc_norm"),
    ],
)
def test_our_own_scores_of_the_same_samples_are_lm_evals(
    model: nn.Module, alone: dict[int, Any], ours: str, name: str, metric: str
) -> None:
    scores = own_scores(model, ours)
    assert_knows_some(scores)
    assert scores == alone[0][name][metric]


@pytest.mark.parametrize("name", ["written", "weighed"])
def test_processes_share_the_documents(model: nn.Module, folder: Path, name: str) -> None:
    """With examples, which are drawn for one document after another, a share asks the same questions."""
    whole = scored(model, folder, name, num_fewshot=2)
    for rank in range(3):
        part = scored(model, folder, name, num_fewshot=2, share=Share(rank, 3))
        assert part.scores == whole.scores[rank::3]
        assert part.predictions == whole.predictions[rank::3]
    # More processes than documents.
    assert scored(model, folder, name, share=Share(2, 3), limit=2).scores == []


def state_of(model: Any, tokenizer: Any) -> dict[str, Any]:
    """Return everything that an evaluation might change."""
    return {
        "weights": {
            key: (id(tensor), tensor.dtype, tensor._version) for key, tensor in model.named_parameters()
        },
        "values": {key: tensor.detach().clone() for key, tensor in model.state_dict().items()},
        "modes": [module.training for module in model.modules()],
        "modules": [id(module) for module in model.modules()],
        "hooks": [
            len(hooks)
            for module in model.modules()
            for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        ],
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "gradients": [parameter.grad for parameter in model.parameters()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "configuration": (model.config.to_dict(), model.generation_config.to_dict()),
        "tokenizer": (tokenizer.padding_side, tokenizer.pad_token, tokenizer.special_tokens_map),
        "random": (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()),
        "gradient mode": torch.is_grad_enabled(),
    }


def assert_same_state(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert set(before["values"]) == set(after["values"])
    for key, value in before.pop("values").items():
        assert torch.equal(after["values"][key], value), key
    after.pop("values")
    for key, value in before.items():
        assert after[key] == value, key


@pytest.fixture
def odd_encoder() -> Encoder:
    """A tokenizer without padding, which lm-eval would give it, that pads on the right."""
    tokenizer = build_tokenizer()
    tokenizer.pad_token, tokenizer.padding_side = None, "right"
    return Encoder(tokenizer, 256)


@pytest.fixture
def lent(model: nn.Module, request: pytest.FixtureRequest) -> Iterator[nn.Module]:
    """The model as it is, in bfloat16, or with adapters that are being trained."""
    if request.param == "bfloat16":
        yield half_taught().to(torch.bfloat16)
    elif request.param == "adapters":
        manifest = trained_manifest(model, recipe("full", **adapters()))
        with borrowed(model, manifest, seed=0):
            for name, parameter in model.named_parameters():
                parameter.requires_grad_("lora_" in name)
            yield model
    else:
        yield model


@pytest.mark.parametrize("lent", ["whole", "bfloat16", "adapters"], indirect=True)
def test_the_model_is_left_as_it_was(lent: nn.Module, folder: Path, odd_encoder: Encoder) -> None:
    # Not what lm-eval seeds the generators with.
    random.seed(99), np.random.seed(99), torch.manual_seed(99)
    before = state_of(lent, odd_encoder.tokenizer)
    for name in ("written", "weighed"):
        harness = LmEvalTask.find("held", name, folder, num_fewshot=1)
        scorer = LmEvalScorer(harness, harness.load("search"), lent, odd_encoder, Share(), 3)
        first = scorer.score()
        assert scorer.score() == first
    assert_same_state(before, state_of(lent, odd_encoder.tokenizer))


def test_adapters_are_part_of_what_is_scored(model: nn.Module, folder: Path) -> None:
    base = scored(model, folder, "weighed").scores
    manifest = trained_manifest(model, recipe("full", **adapters()))
    with borrowed(model, manifest, seed=0):
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(std=0.5)
        assert scored(model, folder, "weighed").scores != base
    assert scored(model, folder, "weighed").scores == base


def test_a_multimodal_model_is_asked_in_text_with_its_own_template(folder: Path) -> None:
    """The template of LLaVA's processor takes contents in parts, and its tokenizer has none."""
    harness = LmEvalTask.find("held", "weighed", folder, chat_template=True)
    samples = harness.load("search")
    assert samples[0].answer in rows()[0]["choices"], "the template writes what is before an answer"
    scorer = LmEvalScorer(harness, samples, llava(), Encoder(build_processor()), Share(), 8)
    asked, choice = scorer._requests[0][0].args
    assert asked == f"<s><user>{rows()[0]['question']}<assistant>"
    assert choice == rows()[0]["choices"][0]
    assert len(scorer.score().scores) == LEARNT + UNSEEN


def test_a_template_that_is_not_there_is_refused(model: nn.Module, folder: Path) -> None:
    with pytest.raises(LmEvalError, match="chat_template: the model has no chat template"):
        scored(model, folder, "weighed", chat_template=True)


def test_another_definition_than_the_studys_is_refused(model: nn.Module, tmp_path: Path) -> None:
    folder = write_task(tmp_path / "tasks", "weighed", WEIGHED)
    harness = LmEvalTask.find("held", "weighed", folder)
    samples = harness.load("search")
    with pytest.raises(LmEvalError, match="not the same in this worker"):
        LmEvalScorer(replace(harness, digest=""), samples, model, encoder(), Share(), 8)
    (folder / "test.jsonl").write_text((folder / "train.jsonl").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(LmEvalError, match="not the same in this worker"):
        LmEvalScorer(harness, samples, model, encoder(), Share(), 8)


def test_documents_that_were_left_out_are_not_scored(model: nn.Module, folder: Path) -> None:
    harness = LmEvalTask.find("held", "weighed", folder, num_fewshot=1)
    samples = harness.load("search")
    whole = LmEvalScorer(harness, samples, model, encoder(), Share(), 8).score()
    part = LmEvalScorer(harness, samples[1::3], model, encoder(), Share(), 8).score()
    assert part.scores == whole.scores[1::3]


def test_values_that_are_no_share_of_a_point_are_refused(model: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "scoring.py").write_text("def percent(doc, results):\n    return {'percent': 50.0}\n")
    metrics = [{"metric": "percent", "aggregation": "mean", "higher_is_better": True}]
    write_task(tmp_path, "odd", WRITTEN, metric_list=metrics)
    text = (tmp_path / "odd.yaml").read_text(encoding="utf-8")
    (tmp_path / "odd.yaml").write_text(
        text + "process_results: !function scoring.percent\n", encoding="utf-8"
    )
    with pytest.raises(LmEvalError, match="'percent' is 50 for a document, and only values from 0 to 1"):
        scored(model, tmp_path, "odd")


def test_nothing_is_said(model: nn.Module, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("written", "weighed"):
        scored(model, folder, name, num_fewshot=1)
    assert capfd.readouterr() == ("", "")
