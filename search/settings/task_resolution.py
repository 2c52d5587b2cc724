"""From names to tasks: own definitions, a folder of them, cards, the embedded ones, and those of lm-eval."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from search.settings.task_config import DataConfig, LmEvalConfig, TaskConfig
from search.settings.user_input import parse_section, read_mapping
from spaces.nearest import did_you_mean
from trainables import tiny
from trainables.data.samples import SPLITS
from trainables.data.tasks import EmbeddedTask, Task
from trainables.scoring.lm_eval_task import LmEvalTask
from trainables.sources.data_sets import FILE_TYPES, is_hub_id
from trainables.sources.source_task import SourceTask

LM_EVAL: Final = "lm_eval."  # what the name of a task starts with that lm-eval ships
CARDS: Final = Path(__file__).parents[1] / "cards"


def resolve(
    names_of: Mapping[str, tuple[str, ...]],
    own: Mapping[str, TaskConfig],
    data: DataConfig,
    *,
    confirmed: bool = False,
) -> dict[str, Task]:
    """Return tasks by name, in the order of their names.

    Args:
        names_of: Key of the study file that names tasks -> their names.
        own: The study file's own definitions.
        data: Where others lie.
        confirmed: Whether there will be something to confirm, so that tasks of lm-eval are divided.

    Raises:
        ValueError: A name is unknown, or its definition is wrong; one line that names the key or the file.
    """
    defined = definitions(names_of, own, data)
    return {
        name: _task(key, name, defined.get(name), data, confirmed=confirmed)
        for key, names in names_of.items()
        for name in names
    }


def definitions(
    names_of: Mapping[str, tuple[str, ...]], own: Mapping[str, TaskConfig], data: DataConfig
) -> dict[str, TaskConfig]:
    """Return the whole definitions of the tasks that have one, by name; embedded tasks have none.

    Raises:
        ValueError: As for `resolve`.
    """
    folders = ([] if data.tasks is None else [_existing(Path(data.tasks))]) + [CARDS]
    found: dict[str, TaskConfig] = {}
    for key, names in names_of.items():
        for name in names:
            if name in own:
                found[name] = whole(name, own[name])
            elif (path := _file_of(name, folders)) is not None:
                found[name] = _read(path)
            elif name.startswith(LM_EVAL):
                found[name] = TaskConfig(lm_eval=LmEvalConfig(task=name.removeprefix(LM_EVAL)))
            elif name not in tiny.TASKS:
                known = {*own, *tiny.TASKS, *(path.stem for each in folders for path in each.glob("*.yaml"))}
                raise ValueError(f"{key}: unknown task {name!r}: {did_you_mean(name, known)}")
    return found


def whole(name: str, task: TaskConfig, folder: Path | None = None) -> TaskConfig:
    """Return a definition with all that it takes from its card, and its own paths made absolute.

    Args:
        name: Name of the task.
        task: As it was written.
        folder: What the paths in it are relative to; None leaves them.

    Raises:
        ValueError: There is no such card, or the two don't fit together.
    """
    own = task.model_fields_set
    if task.card is not None:
        path = _file_of(task.card, [CARDS])
        if path is None:
            near = did_you_mean(task.card, [card.stem for card in CARDS.glob("*.yaml")])
            raise ValueError(f"tasks.{name}.card: unknown card {task.card!r}: {near}")
        values = _merged(_stated(_read(path)), _stated(task))
        task = parse_section(TaskConfig, {**values, "card": None}, f"tasks.{name}")
    return task if folder is None else _with_absolute_paths(task, own, folder)


def _task(key: str, name: str, definition: TaskConfig | None, data: DataConfig, *, confirmed: bool) -> Task:
    if definition is None:
        return EmbeddedTask(name=name)
    if (harness := definition.lm_eval) is not None:
        if harness.task_folder is not None and not harness.run_code:
            raise ValueError(
                f"tasks.{name}.lm_eval.task_folder: lm-eval runs as code what such a folder says (functions, "
                f"classes and templates), which is done only with tasks.{name}.lm_eval.run_code: true"
            )
        try:
            return LmEvalTask.find(
                name,
                harness.task,
                None if harness.task_folder is None else Path(harness.task_folder),
                num_fewshot=harness.num_fewshot,
                chat_template=harness.chat_template,
                chosen=harness.metric,
                limit=definition.limit,
                confirm=harness.confirm if confirmed else 0.0,
            )
        except ValueError as error:
            raise ValueError(f"{key}: task {name!r}: {error}") from None
    spec = replace(definition.spec(name), allow_outside=data.allow_outside)
    return SourceTask(spec=spec, mirror=data.mirror)


def _read(path: Path) -> TaskConfig:
    """Read a definition from a file of its own."""
    task = parse_section(TaskConfig, read_mapping(path, "task file"), str(path))
    return whole(path.stem, task, path.parent)


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise ValueError(f"data.tasks: no such folder: {folder}")
    return folder


def _file_of(name: str, folders: list[Path]) -> Path | None:
    """Return the first folder's file of this name."""
    paths = (folder / f"{name}.yaml" for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def _stated(task: TaskConfig) -> dict[str, Any]:
    """Return what a definition states itself, as plain values."""
    return task.model_dump(mode="json", exclude_unset=True)


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section with another's keys in place of its own; sections inside are merged key by key.

    A metric is replaced as a whole: another one has other options.
    """
    merged = dict(base)
    for key, value in own.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict) and key != "metric":
            merged[key] = _merged(base[key], value)
        else:
            merged[key] = value
    return merged


def _with_absolute_paths(task: TaskConfig, keys: set[str], folder: Path) -> TaskConfig:
    """Return a definition with the paths under some of its keys made absolute."""
    paths = {"source", "images"} if task.source is not None else {"images", *SPLITS}
    updates: dict[str, Any] = {}
    for key in paths & keys:
        path = getattr(task, key)
        if path is not None and not (key == "source" and _is_hub_id(path, folder)):
            updates[key] = os.path.abspath(folder / path)
    if task.lm_eval is not None and task.lm_eval.task_folder is not None:
        tasks = os.path.abspath(folder / task.lm_eval.task_folder)
        updates["lm_eval"] = task.lm_eval.model_copy(update={"task_folder": tasks})
    return task.model_copy(update=updates)


def _is_hub_id(source: str, folder: Path) -> bool:
    """Tell a data set's id on the hub from a path, which may be that of a file that is missing."""
    if (folder / source).exists() or Path(source).suffix in FILE_TYPES:
        return False
    return is_hub_id(source)
