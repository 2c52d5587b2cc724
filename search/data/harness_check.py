"""Whether tasks of lm-eval ask a model in the way in which it is trained."""

from __future__ import annotations

from collections.abc import Iterable

from search.config import ModelConfig
from search.settings.user_input import InputError
from trainables.workers.jobs import TaskData


def check_templates(tasks: Iterable[TaskData], model: ModelConfig) -> None:
    """Refuse tasks of lm-eval that want a chat template which there is not, or targets that lack it.

    Args:
        tasks: The study's tasks.
        model: The base model.

    Raises:
        InputError: A task does; the message names its key.
    """
    of_lm_eval = [(task, task.harness) for task in tasks if task.harness is not None]
    if not of_lm_eval:
        return
    from trainables.model import load_processor

    has_template = (
        getattr(load_processor(model.path, trust=model.trust_remote_code), "chat_template", None) is not None
    )
    for task, harness in of_lm_eval:
        key = f"tasks.{task.name}.lm_eval.chat_template"
        if harness.chat_template and not has_template:
            raise InputError(f"{key}: the model has no chat template")
        if task.role == "target" and has_template and not harness.chat_template:
            raise InputError(
                f"{key}: must be true for a target, since the model's chat template writes the training "
                "samples, and lm-eval would ask without it"
            )
