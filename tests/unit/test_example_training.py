"""The shipped studies for large models, on tiny random models of the very same classes.

Every sample has one answer, so that the loss falls soon if a recipe trains at all.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import tiny_multimodal
import torch
from own_data import study_with_data
from test_examples import EXAMPLES, LARGE
from tiny_models import train_job

from search.planning.preparation import prepare
from search.settings.study_file import load_study
from trainables.workers.jobs import EvaluateJob
from trainables.workers.workbench import Workbench

# Of each study a second subset, on the side of the images.
VISUAL = {
    "qwen2_5_vl_7b": "vision",
    "llava_next_llama3_8b": "projector",
    "llava_onevision_qwen2_7b": "vision",
}


@pytest.mark.parametrize("study", LARGE)
def test_a_shipped_study_trains_and_evaluates_a_tiny_model_of_its_class(study: str, tmp_path: Path) -> None:
    model = tiny_multimodal.save(LARGE[study], tmp_path / "model")
    path = study_with_data(EXAMPLES / f"{study}.yaml", tmp_path, n=4)
    prepared = prepare(load_study(path, [f"model.path={model}"]))
    assert prepared.setup.dtype == "bfloat16"
    bench = Workbench(dataclasses.replace(prepared.setup, threads=1))
    (base,) = bench.run(EvaluateJob())
    assert set(base.evaluations) == {*prepared.config.targets, *prepared.config.held_out}
    before = {name: p.clone() for name, p in bench.model.named_parameters()}
    for subset, rate, most in (("sa_proj", 6e-2, 0.8), (VISUAL[study], 1e-2, 1.0)):
        assert subset in prepared.config.space.subsets
        job = train_job(tmp_path / subset, subset, rungs=(4, 12), learning_rate=rate)
        first, last = bench.run(job)
        assert (first.done, last.done) == (False, True)
        assert last.metrics["train/loss"] < most * first.metrics["train/loss"]
        assert last.metrics["cost/train_flops"] > first.metrics["cost/train_flops"] > 0
        assert last.metrics["drift/kl_target"] > 0
        assert all(math.isfinite(value) for value in last.metrics.values())
        assert set(last.evaluations) == set(base.evaluations)
    assert all(torch.equal(p, before[name]) for name, p in bench.model.named_parameters())
