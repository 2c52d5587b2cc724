"""The shipped studies for large models run whole, by the command, on tiny models of the very same classes."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_multimodal
import yaml
from own_data import study_with_data

ROOT = Path(__file__).resolve().parents[2]
CLASSES = {
    "qwen2_5_vl_7b": "qwen2_5_vl",
    "llava_next_llama3_8b": "llava_next",
    "llava_onevision_qwen2_7b": "llava_onevision",
}
# As shipped but for sizes: two rungs, and rates for a model of some ten thousand parameters.
REDUCED = (
    "search.trials=3",
    "search.pruning.first_rung=4",
    "finalists.most=1",
    "finalists.seeds=1",
    "training.steps=8",
    "training.batch_size=4",
    "space.subsets=[sa_proj, vision, projector]",
    "space.learning_rate=[1.0e-2, 1.0e-1]",
    "space.learning_rate_of={}",
)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("study", CLASSES)
def test_a_shipped_study_runs_to_its_recipe(study: str, tmp_path: Path) -> None:
    model = tiny_multimodal.save(CLASSES[study], tmp_path / "model")
    path = study_with_data(ROOT / "examples" / f"{study}.yaml", tmp_path, n=6)
    done = subprocess.run(
        [sys.executable, "-m", "search.cli", "run", path, f"model.path={model}", *REDUCED],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    folder = tmp_path / "runs" / study
    with (folder / "trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["subset"] for row in rows} == {"sa_proj", "vision", "projector"}
    assert {row["state"] for row in rows} <= {"COMPLETE", "PRUNED"}
    assert any(row["state"] == "COMPLETE" for row in rows)
    document = yaml.safe_load((folder / "recipe.yaml").read_text())
    assert (document["recipe"] is not None) == (folder / "selected").exists()
    assert (folder / "report.html").is_file()
