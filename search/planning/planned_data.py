"""What `plan` tells of a study's data: how many samples each split has, and how they are read and scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.config import StudyConfig
from search.data.inputs import StudyData
from search.wording import listed
from trainables.data.samples import SPLITS
from trainables.data.tasks import Task
from trainables.scoring.lm_eval_task import LmEvalTask
from trainables.sources.source_task import SourceTask


def planned_data(config: StudyConfig, data: StudyData) -> list[dict[str, Any]]:
    """Return each task's splits as they will be used, its format and its metric, as plain values.

    Args:
        config: The study.
        data: What was read for it.
    """
    held_back = {task.name: len(task.search) for task in data.confirm}
    sources: dict[str, Task] = {**config.resolved_tasks(), **config.replay_tasks()}
    return [
        {
            "task": task.name,
            "role": task.role,
            "samples": {
                split: number
                for split, number in zip(
                    SPLITS, (len(task.train), len(task.search), held_back.get(task.name, 0)), strict=True
                )
                if number
            },
            "divided": _divided(sources[task.name]),
            "format": _format(sources[task.name]),
            "metric": task.metric.name,
        }
        for task in (*data.tasks, *data.replay)
    ]


def data_text(task: Mapping[str, Any]) -> str:
    """Say a task's data in one line: `lines: 96 train, 40 search; question_answer; exact_match`."""
    samples, divided = task["samples"], [split for split in task["divided"] if split in task["samples"]]
    counts = ", ".join(f"{number} {split}" for split, number in samples.items())
    if len(divided) > 1:
        which = "" if len(divided) == len(samples) else f"{listed(divided)}: "
        counts += f" ({which}one source, divided between them)"
    name = f"{task['task']} (replay)" if task["role"] == "replay" else task["task"]
    return f"{name}: {counts}; {task['format']}; {task['metric']}"


def _divided(source: Task) -> list[str]:
    """Return the splits that share their source with another one."""
    return list(source.divided) if isinstance(source, SourceTask) else []


def _format(source: Task) -> str:
    if isinstance(source, SourceTask):
        return source.format
    return "lm-eval" if isinstance(source, LmEvalTask) else "embedded"
