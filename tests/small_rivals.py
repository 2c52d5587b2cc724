"""A study that is small enough for every side of `benchmarks.rivals` to run in a test."""

from __future__ import annotations

from pathlib import Path

import yaml

STUDY = {
    "name": "small",
    "model": {"path": "tiny-llava"},
    "targets": ["counting"],
    "held_out": ["icons", "digits"],
    "space": {"subsets": ["sa_proj", "projector"], "learning_rate": [1e-4, 5e-3]},
    "training": {"steps": 40, "batch_size": 8, "samples": 100},
    "evaluation": {"samples": 12, "batch_size": 5, "rung_samples": 6},
    "search": {"trials": 2, "pruning": {"first_rung": 20, "reduction_factor": 2}},
    "finalists": {"most": 1, "seeds": 1},
}


def write_study(folder: Path) -> Path:
    """Write the study into a folder; return its file."""
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    return path
