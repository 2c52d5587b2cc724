"""A whole study with a held-out task of lm-eval: what is recorded of the base is what lm-eval says alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import ray
import torch
import yaml
from lm_eval_world import WEIGHED, lm_eval_alone, rows, save_half_taught, write_task
from mlflow.tracking import MlflowClient
from run_alone import run_alone

from trainables.model import load_model
from trainables.scoring.evaluation import Evaluation

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_one_thread"), pytest.mark.timeout(300)]


def test_a_task_of_lm_eval_is_held_out(tmp_path: Path) -> None:
    model = save_half_taught(tmp_path / "model")
    tasks = write_task(tmp_path / "my_tasks", "weighed", WEIGHED)
    for split, seed in (("train", 5), ("search", 6)):
        lines = [json.dumps({"prompt": row["question"], "answer": "sun"}) + "\n" for row in rows(seed)]
        (tmp_path / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    study = {
        "name": "made",
        "model": {"path": "model"},
        "tasks": {
            "learnt": {"train": "train.jsonl", "search": "search.jsonl"},
            "kept": {
                "lm_eval": {
                    "task": "weighed",
                    "task_folder": "my_tasks",
                    "run_code": True,
                    "metric": "acc_norm",
                }
            },
        },
        "targets": ["learnt"],
        "held_out": ["kept"],
        "space": {"subsets": ["full"], "learning_rate": [1e-2, 1e-2]},
        "training": {"steps": 8, "batch_size": 4},
        "evaluation": {"batch_size": 4, "drift_samples": 3},
        "finalists": None,
        "search": {"trials": 1, "presets": False},
        "points": None,
        # Questions of few words meet by chance.
        "data": {"on_leak": "drop"},
        "tracking": {"uri": f"sqlite:///{tmp_path / 'mlflow.db'}", "experiment": "tests"},
        "output": str(tmp_path / "runs"),
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    outcome = run_alone(tmp_path / "study.yaml")
    assert not ray.is_initialized()
    assert outcome.warnings == ()

    alone = lm_eval_alone(load_model(str(model), dtype=torch.float32), tasks, "weighed")["weighed"]
    base = outcome.record.base["kept"]
    assert base.scores == tuple(alone["acc_norm"])
    assert set(base.scores) == {0.0, 100.0}
    assert base.scores != tuple(alone["acc"])
    (trial,) = outcome.record.trials
    assert trial.last.score.target_gain > 50.0, "one answer to all is learnt at once"
    assert trial.last.values["kept"] != base.value, "and at the cost of what was known"

    client = MlflowClient(outcome.record.config.tracking.uri)
    experiment = client.get_experiment_by_name("tests")
    assert experiment is not None
    runs = {
        run.data.tags.get("kind"): run.data.metrics for run in client.search_runs([experiment.experiment_id])
    }
    mean = Evaluation(task="kept", scores=tuple(alone["acc_norm"])).value
    assert runs["base"]["held_out/kept"] == mean
    assert runs["trial"]["held_out/kept"] == trial.last.values["kept"]
