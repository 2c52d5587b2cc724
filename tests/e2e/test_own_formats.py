"""A study on files of one's own in every format, with images and a bad row here and there."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mlflow.tracking import MlflowClient
from PIL import Image
from tiny_models import save_llava

from search.cli import main

ROOT = Path(__file__).resolve().parents[2]
RANDOM = np.random.default_rng(0)


def picture() -> bytes:
    """Return a PNG file that is like no other."""
    file = io.BytesIO()
    Image.fromarray(RANDOM.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def saved(folder: Path, name: str, content: bytes | None = None) -> str:
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / "pictures" / name).write_bytes(content or picture())
    return f"pictures/{name}"


def data_url() -> str:
    return "data:image/png;base64," + base64.b64encode(picture()).decode()


def said(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def chat(folder: Path, name: str) -> dict[str, Any]:
    """Messages: an image as a data URL, an answer, and an image that begins another sample for training."""
    parts = [
        {"type": "image_url", "image_url": {"url": data_url()}},
        {"type": "text", "text": "cat or dog ?"},
    ]
    later = [
        {"type": "text", "text": "which colour ?"},
        {"type": "image", "path": saved(folder, f"{name}.png")},
    ]
    return {
        "messages": [
            said("user", parts),
            said("assistant", "cat"),
            said("user", later),
            said("assistant", "red"),
        ]
    }


def talk(folder: Path, name: str) -> dict[str, Any]:
    """LLaVA's form, two images."""
    turns = ["<image>\n<image>\nhow many ?", "3", "cat or dog ?", "dog"]
    return {
        "id": name,
        "image": [saved(folder, f"{name}-{side}.png") for side in ("left", "right")],
        "conversations": [
            {"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(turns)
        ],
    }


def completed(folder: Path, name: str) -> dict[str, Any]:
    return {
        "instruction": "which colour ?",
        "input": "",
        "output": "red",
        "image": base64.b64encode(picture()).decode(),
    }


def asked(folder: Path, name: str) -> dict[str, Any]:
    return {
        "question": "how many ?",
        "answers": ["3", "2", "3"],
        "image": {"bytes": None, "path": saved(folder, name)},
    }


def chosen(folder: Path, name: str) -> dict[str, Any]:
    return {"question": "cat or dog ?", "A": "cat", "B": "dog", "answer": "B", "image": saved(folder, name)}


FORMS = {"chats": chat, "talks": talk, "completed": completed, "asked": asked, "chosen": chosen}
SAMPLES = 12


def write(folder: Path, task: str, split: str) -> str:
    rows = [FORMS[task](folder, f"{task}-{split}-{number}") for number in range(SAMPLES)]
    if (task, split) == ("talks", "train"):
        rows[4]["image"][0] = "pictures/gone.png"
    if (task, split) == ("asked", "search"):
        # Its header tells its size; what is cut shows when it is encoded.
        rows[7]["image"]["path"] = saved(folder, "cut.png", picture()[:400])
    path = folder / f"{task}-{split}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path.name


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    splits = {"chats": ("train", "search"), "talks": ("train", "search")}
    tasks: dict[str, dict[str, Any]] = {
        task: {split: write(folder, task, split) for split in splits.get(task, ("search",))} for task in FORMS
    }
    tasks["asked"]["metric"] = "normalized_exact_match"
    tasks["chosen"] |= {"answer": "text", "prompt": "{question}\n{choices}", "metric": "multiple_choice"}
    study = {
        "name": "own",
        "model": {"path": str(save_llava(folder / "model"))},
        "tasks": tasks,
        "data": {"on_bad_sample": "skip", "max_bad_share": 0.1},
        "targets": ["chats", "talks"],
        "held_out": ["completed", "asked", "chosen"],
        "space": {"subsets": ["llm"], "learning_rate": [1e-3, 1e-2]},
        "training": {"steps": 2, "batch_size": 4},
        "evaluation": {"batch_size": 8},
        "finalists": None,
        "search": {"trials": 1, "presets": False},
        "points": None,
        "tracking": {"uri": f"sqlite:///{folder / 'mlflow.db'}", "experiment": "own"},
    }
    (folder / "own.yaml").write_text(yaml.safe_dump(study))
    return folder


@pytest.fixture(scope="module")
def output(home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "search.cli", "run", "own.yaml"],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "1000"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.mark.usefixtures("output")
def test_every_format_is_scored_on_all_its_good_samples(home: Path) -> None:
    (file,) = (home / "runs" / "own" / "trials").glob("*/evaluations_000002.json")
    scored = {task: len(found["scores"]) for task, found in json.loads(file.read_text()).items()}
    assert scored == {**dict.fromkeys(FORMS, SAMPLES), "asked": SAMPLES - 1}


@pytest.mark.usefixtures("output")
def test_bad_rows_are_counted_and_listed(home: Path) -> None:
    study = home / "runs" / "own"
    with (study / "bad_samples.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["task"], row["split"], Path(row["sample"]).name) for row in rows] == [
        ("talks", "train", "talks-train.jsonl:5"),
        ("asked", "search", "asked-search.jsonl:8"),
    ]
    assert "no such image: " in rows[0]["reason"]
    assert "cut.png can't be read" in rows[1]["reason"]
    page = (study / "report.html").read_text()
    assert re.findall(r"<h3>(\S+/\S+): (\d+)</h3>", page) == [("talks/train", "1"), ("asked/search", "1")]
    assert "talks-train.jsonl:5" in page


def test_the_terminal_tells_of_bad_rows(output: str) -> None:
    assert "warning: left out, since bad: 1 sample of talks/train: " in output
    assert "warning: left out, since bad: 1 sample of asked/search: " in output


@pytest.mark.usefixtures("output")
def test_mlflow_keeps_the_table_of_bad_rows(home: Path) -> None:
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("own")
    assert experiment is not None
    (parent,) = [
        run for run in client.search_runs([experiment.experiment_id]) if "bad/talks/train" in run.data.tags
    ]
    assert parent.data.tags["bad/talks/train"].startswith("1 sample: ")
    assert "bad_samples.csv" in [file.path for file in client.list_artifacts(parent.info.run_id)]


def test_a_plan_tells_of_bad_rows(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """But not of those that only encoding all samples shows."""
    assert main(["plan", str(home / "own.yaml")]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "warning: left out, since bad: 1 sample of talks/train: " in told
    assert "asked/search: " not in told


def test_by_default_the_first_bad_row_stops_the_study(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["run", str(home / "own.yaml"), "data.on_bad_sample=error", f"output={tmp_path / 'runs'}"])
    assert code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(r"talks-train\.jsonl:5: no such image: .*gone\.png; to leave out .*=skip$", line)
    assert not (tmp_path / "runs").exists()
