"""Local tasks of lm-eval, and a small text model that knows some of their answers; nothing is downloaded."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tiny_models import IDS, llama, recipe
from torch import nn

from trainables.collate import Encoder
from trainables.data.samples import Sample
from trainables.evaluate import TaskOutput
from trainables.loop import fine_tune
from trainables.manifest import build_manifest
from trainables.scoring.lm_eval_library import quiet
from trainables.scoring.lm_eval_scoring import LmEvalScorer
from trainables.scoring.lm_eval_task import LmEvalTask
from trainables.tiny.build import build_tokenizer
from trainables.training.parallel import Share

WORDS = ("red", "green", "blue", "cat", "dog", "cup", "sun")
CHOICES = ("no", "yellow", "cat dog", "hexagon")
LEARNT, UNSEEN = 12, 8

WRITTEN: Mapping[str, Any] = {
    "output_type": "generate_until",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4, "do_sample": False},
    "doc_to_target": "{{choices[answer]}}",
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}
WEIGHED: Mapping[str, Any] = {
    "output_type": "multiple_choice",
    "doc_to_target": "answer",
    "doc_to_choice": "choices",
    "metric_list": [
        {"metric": name, "aggregation": "mean", "higher_is_better": True}
        for name in ("acc", "acc_norm", "acc_bytes")
    ],
}


def rows(seed: int = 0, n: int = LEARNT + UNSEEN) -> list[dict[str, Any]]:
    """Return questions of random words, each with choices in another order and one of them as its answer."""
    rng = np.random.default_rng(seed)
    return [
        {
            "question": " ".join(rng.choice(WORDS, size=int(rng.integers(2, 6)))) + " ?",
            "choices": [str(choice) for choice in rng.permutation(CHOICES)],
            "answer": int(rng.integers(0, len(CHOICES))),
        }
        for _ in range(n)
    ]


def write_task(folder: Path, name: str, kind: Mapping[str, Any], **changes: Any) -> Path:
    """Write a task whose data lie beside it, and return the folder."""
    folder.mkdir(exist_ok=True)
    for split, seed in (("train", 1), ("test", 0)):
        lines = [json.dumps(row) + "\n" for row in rows(seed)]
        (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    definition = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"train": "train.jsonl", "test": "test.jsonl"}},
        "training_split": "train",
        "test_split": "test",
        "doc_to_text": "{{question}}",
        **kind,
        **changes,
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(definition), encoding="utf-8")
    return folder


def own_samples(taken: Sequence[Mapping[str, Any]]) -> list[Sample]:
    """Return questions as a study's own samples, made without lm-eval."""
    return [
        Sample(
            id=f"search-{number}",
            prompt=row["question"],
            answer=row["choices"][row["answer"]],
            choices=tuple(row["choices"]),
        )
        for number, row in enumerate(taken)
    ]


def encoder() -> Encoder:
    return Encoder(build_tokenizer(), 256)


def half_taught(steps: int = 80) -> nn.Module:
    """Return a text model that was trained on the first `LEARNT` questions."""
    model = llama()
    data = [encoder().encode(sample) for sample in own_samples(rows()[:LEARNT])]
    how = recipe(steps=steps, learning_rate=1e-2, batch_size=6)
    manifest = build_manifest(model, "full")
    list(fine_tune(model, manifest, how, data, seed=0, rungs=(steps,), pad_token_id=IDS["<pad>"]))
    return model.eval().requires_grad_(False)


def scored(
    model: nn.Module,
    folder: Path,
    name: str,
    *,
    share: Share | None = None,
    batch_size: int = 8,
    limit: int | None = None,
    **options: Any,
) -> TaskOutput:
    """Return what a task of a folder gives on a model, asked as the workers ask."""
    harness = LmEvalTask.find("held", name, folder, **options)
    samples = harness.load("search", limit)
    return LmEvalScorer(harness, samples, model, encoder(), share or Share(), batch_size).score()


def lm_eval_alone(model: Any, folder: Path, *names: str, **options: Any) -> dict[str, dict[str, list[float]]]:
    """Return task -> metric -> the points that `lm_eval.simple_evaluate` gives to each document."""
    with quiet(), contextlib.chdir(folder):
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

        result = simple_evaluate(
            HFLM(model, tokenizer=build_tokenizer(), batch_size=3, backend="causal"),
            tasks=list(names),
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
            bootstrap_iters=0,
            **options,
        )
    assert result is not None
    return {
        name: {metric: [100 * sample[metric] for sample in samples] for metric in samples[0]["metrics"]}
        for name, samples in result["samples"].items()
    }


def save_half_taught(folder: Path) -> Path:
    """Write the model of `half_taught` with its tokenizer, and return the folder."""
    model: Any = half_taught()
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder
