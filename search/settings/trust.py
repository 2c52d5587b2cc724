"""What a study file trusts that is not trusted unless asked for, and how that is told."""

from __future__ import annotations

from collections.abc import Iterator

from search.config import StudyConfig


def trust_warnings(config: StudyConfig) -> tuple[str, ...]:
    """Return what a study's file trusts, one line each."""
    return tuple(_warnings(config))


def _warnings(config: StudyConfig) -> Iterator[str]:
    if config.model.trust_remote_code:
        yield f"model.trust_remote_code: code that {config.model.path} brings is run here and by every worker"
    if config.data.allow_outside:
        yield "data.allow_outside: data files may name images anywhere on this machine"
    for name, task in config.tasks.items():
        if task.lm_eval is not None and task.lm_eval.run_code:
            yield f"tasks.{name}.lm_eval.run_code: what {task.lm_eval.task_folder} says is run as code"
