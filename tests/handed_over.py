"""Studies as they are left: a recipe.yaml and weights that a few steps of training have moved."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from tiny_models import setup, train_job

from search.handover.recipe_document import FORMAT
from spaces.recipe import Recipe
from trainables.checkpoint import export_delta
from trainables.model import model_fingerprint
from trainables.scoring.evaluation import Evaluation
from trainables.workers.jobs import WorkerSetup
from trainables.workers.workbench import Workbench

SEED = 3
STEPS = 16


@cache
def workbench(base: Path) -> tuple[WorkerSetup, Workbench]:
    """Return what trains a model, loaded once for all tests."""
    prepared = setup(base)
    return prepared, Workbench(prepared)


def trained_study(
    folder: Path, base: Path, subset: str = "mlp", **fields: Any
) -> tuple[Path, Mapping[str, Evaluation]]:
    """Train a recipe for a few steps and write what a study leaves; return its folder and last values."""
    _, bench = workbench(base)
    job = train_job(folder / "trials" / "t0", subset, rungs=(STEPS,), learning_rate=0.02, **fields)
    reports = list(bench.run(job))
    last = reports[-1]
    assert last.checkpoint is not None
    assert reports[0].manifest is not None
    weights, fingerprint = Path(last.checkpoint.path), model_fingerprint(str(base))
    export_delta(weights, reports[0].manifest, fingerprint, folder / "selected")
    write_recipe(folder, job.recipe, base)
    return folder, last.evaluations


def write_recipe(folder: Path, recipe: Recipe | None, base: Path | str, **changes: Any) -> Path:
    """Write a recipe.yaml; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    steps = 0 if recipe is None else recipe.steps
    fingerprint = model_fingerprint(str(base))
    document = {
        "format": FORMAT,
        "verdict": "keep the base" if recipe is None else "use this recipe",
        "recipe": None if recipe is None else recipe.to_dict(),
        "point": {"trial": 0, "step": steps, "transform": "identity"},
        "model": {"path": str(base), "dtype": "float32", "fingerprint": fingerprint},
        "evidence": {"split": "search", "trial": 0, "seed": SEED},
        "data": {"easy/train": "a" * 64, "easy/search": "b" * 64},
        **changes,
    }
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file
