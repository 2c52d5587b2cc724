from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from search.config import StudyConfig
from search.data.inputs import load_data
from search.settings.study_file import InputError
from search.settings.task_config import MetricConfig


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ({"name": "anls"}, "anls"),
        ({"name": "clock_time", "minutes": 5}, "clock_time(minutes=5)"),
        ({"name": "numeric", "tolerance": 0}, "numeric(tolerance=0)"),
        ({}, "exact_match"),
    ],
)
def test_a_metric_with_its_options(given: dict[str, Any], written: str) -> None:
    assert str(MetricConfig(**given).spec) == written


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "accuracy"}, "unknown metric 'accuracy': expected one of: anls, bleu, choice_letter, "),
        ({"name": "clock_times"}, "unknown metric 'clock_times': did you mean 'clock_time'?"),
        ({"name": "anls", "minutes": 5}, "the metric 'anls' has no option 'minutes': it takes none"),
        (
            {"name": "numeric", "minutes": 5},
            "the metric 'numeric' has no option 'minutes': its options are tolerance",
        ),
    ],
)
def test_an_unknown_metric_or_option_is_an_error(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="metric") as error:
        MetricConfig(**given)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ("multiple_choice", "it weighs the choices of a sample, and there are none"),
        ("choice_letter", "it reads a choice's letter, and the answer is 'yes'"),
    ],
)
def test_samples_that_a_metric_can_t_score_are_an_error_at_once(
    metric: str, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "asked.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"{n} ?", "answer": "yes"}) + "\n" for n in range(3)))
    study = {
        "name": "s",
        "model": {"path": "tiny-llava"},
        "tasks": {"asked": {"train": str(tmp_path / "absent"), "search": str(file), "metric": metric}},
        "targets": ["digits"],
        "held_out": ["asked"],
        "space": {"subsets": ["full"], "learning_rate": [1e-4, 1e-3]},
        "training": {"steps": 4, "batch_size": 2, "samples": 2},
        "evaluation": {"samples": 2},
        "finalists": None,
        "search": {"trials": 2},
    }
    with pytest.raises(InputError) as error:
        load_data(StudyConfig.model_validate(study))
    assert str(error.value) == (
        f"{file}:1: the metric {metric!r} does not fit: {reason}; "
        "to leave out what can't be used: data.on_bad_sample=skip"
    )
