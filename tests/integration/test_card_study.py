"""A study whose tasks are cards, named and nothing else, read from a local mirror of the hub."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from card_schemas import write_mirror
from run_alone import run_alone
from tiny_multimodal import save

from search.runner import Outcome

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_one_thread"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One trial of the language model, which learns what all clocks of the made data set show."""
    folder = tmp_path_factory.mktemp("cards")
    for name in ("time_clock", "ai2d", "chart_qa"):
        write_mirror(name, folder / "mirror")
    study: dict[str, Any] = {
        "name": "cards",
        "model": {"path": str(save("qwen2_5_vl", folder / "model"))},
        "targets": ["time_clock"],
        "held_out": ["ai2d", "chart_qa"],
        "data": {"mirror": "mirror"},
        "space": {"subsets": ["llm"], "learning_rate": [1.0e-2, 1.0e-2]},
        "training": {"steps": 30, "batch_size": 4},
        "evaluation": {"batch_size": 8, "drift_samples": 2},
        "finalists": None,
        "search": {"trials": 1, "presets": False},
        "points": None,
        "tracking": {"uri": f"sqlite:///{folder / 'mlflow.db'}"},
        "output": str(folder / "runs"),
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    return run_alone(folder / "study.yaml", {"HF_HUB_OFFLINE": "1"})


def test_a_card_s_target_is_learnt_and_its_metric_measures_it(outcome: Outcome) -> None:
    (trial,) = outcome.record.trials
    assert trial.error is None
    base = outcome.record.base["time_clock"]
    assert (base.value, trial.last.metrics["target/time_clock"]) == (0.0, 100.0)


def test_no_row_of_a_held_out_card_is_scored_twice(outcome: Outcome) -> None:
    """Of the twelve rows that search and confirm share, the search sees a part."""
    assert {name for name, evaluation in outcome.record.base.items() if 0 < evaluation.n < 12} == {
        "time_clock",
        "ai2d",
        "chart_qa",
    }
