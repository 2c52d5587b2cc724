"""A study file on a random LLaVA and samples of noise, small enough that a whole run takes seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from PIL import Image
from tiny_models import samples


def write_samples(path: Path, name: str, n: int, seed: int, **options: Any) -> str:
    """Write a JSON Lines file of samples with their pictures beside it; return its name."""
    lines = []
    for number, sample in enumerate(samples(name, n, seed=seed, **options)):
        row: dict[str, Any] = {"prompt": sample.prompt, "answer": sample.answer}
        if sample.images:
            row["image"] = f"{path.stem}-{number}.png"
            Image.fromarray(sample.images[0]).save(path.parent / row["image"])  # type: ignore[arg-type]
        lines.append(json.dumps(row) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path.name


def write_study(folder: Path, base: Path, **changes: Any) -> Path:
    """Write a study with its data to a folder; return the study file.

    Args:
        folder: Where all of it goes, its runs and its MLflow database too.
        base: Folder of the base model.
        changes: Sections of the study file, in place of those that stand here.
    """
    easy: dict[str, Any] = {"answers": ("yes",)}
    study = {
        "name": "made",
        "model": {"path": str(base)},
        "tasks": {
            "easy": {
                "train": write_samples(folder / "easy-train.jsonl", "easy", 16, 1, **easy),
                "search": write_samples(folder / "easy-search.jsonl", "easy", 6, 2, **easy),
                "confirm": write_samples(folder / "easy-confirm.jsonl", "easy", 7, 4, **easy),
            },
            "kept": {
                "search": write_samples(folder / "kept.jsonl", "kept", 5, 3, images=False),
                "confirm": write_samples(folder / "kept-confirm.jsonl", "kept", 4, 5, images=False),
            },
        },
        "targets": ["easy"],
        "held_out": ["kept"],
        "space": {"subsets": ["full", "llm", "projector"], "learning_rate": [1.0e-2, 3.0e-2]},
        "training": {"steps": 16, "batch_size": 4},
        "evaluation": {"batch_size": 4, "drift_samples": 3},
        "search": {"trials": 4},
        "resources": {"max_concurrent_trials": 1},
        "tracking": {"uri": f"sqlite:///{folder / 'mlflow.db'}", "experiment": "tests"},
        "output": str(folder / "runs"),
    }
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(study | changes), encoding="utf-8")
    return file
