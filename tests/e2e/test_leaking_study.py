"""The real command on a study whose training samples are scored ones: refused, or run without them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LINE = "2 samples of sums/train in more/confirm (1 exact and 1 nearly the same: "


def sums(start: int, n: int) -> list[dict[str, str]]:
    return [
        {"prompt": f"which is larger , {a} or {a + 1} ?", "answer": str(a + 1)}
        for a in range(start, start + n)
    ]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two training samples are among those that would confirm a held-out task's value."""
    files = {"train": sums(10, 16), "search": sums(30, 6), "held-out": sums(40, 6), "confirm": sums(50, 6)}
    files["train"][3] = files["confirm"][4]
    files["train"][5] = {"prompt": "Which is LARGER: 51 or 52?", "answer": "52."}
    for name, rows in files.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    study = {
        "name": "leaking",
        "model": {"path": "tiny-llava"},
        "tasks": {
            "sums": {"train": "train.jsonl", "search": "search.jsonl"},
            "more": {"search": "held-out.jsonl", "confirm": "confirm.jsonl"},
        },
        "targets": ["sums"],
        "held_out": ["more"],
        "space": {"subsets": ["gate_up"], "learning_rate": [1e-4, 1e-3]},
        "training": {"steps": 2, "batch_size": 2},
        "finalists": None,
        "search": {"trials": 1, "presets": False},
        "points": None,
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def run(study: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "search.cli", "run", str(study), *overrides],
        cwd=study.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_leak_stops_the_command_or_is_left_out(study: Path) -> None:
    from mlflow.tracking import MlflowClient

    refused = run(study)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: data: {LINE}")
    assert refused.stderr.count("\n") == 1
    assert not (study.parent / "runs").exists()

    done = run(study, "data.on_leak=drop")
    assert done.returncode == 0, done.stderr[-4000:]
    assert " ".join(done.stdout.split()).count(f"left out: {LINE}") == 1
    page = (study.parent / "runs" / "leaking" / "report.html").read_text()
    assert "Training samples that were left out" in page
    client = MlflowClient(f"sqlite:///{study.parent / 'mlflow.db'}")
    (parent,) = client.search_runs(["1"], "tags.kind = 'study'")
    assert parent.data.tags["leaks/sums/train in more/confirm"].startswith(LINE)
    assert set(parent.data.tags) >= {"data/sums/train", "data/more/confirm"}
