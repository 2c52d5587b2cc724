"""Reading a study file with `key=value` overrides; a wrong input becomes one clear line."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from search.config import StudyConfig
from search.settings.safe_yaml import YamlError, read_yaml
from search.settings.task_resolution import definitions, whole
from search.settings.user_input import InputError, no_such_file, parse_section, read_mapping
from search.stores.passwords import without_password

__all__ = ["InputError", "dump_study", "load_study", "parse_study", "plain_values", "resolve_paths"]


def load_study(
    path: Path,
    overrides: Sequence[str] = (),
    complete: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> StudyConfig:
    """Read, override and validate a study file.

    Args:
        path: The YAML file.
        overrides: Settings such as `search.trials=8`; the value is read as YAML.
        complete: Fills in what the file need not say.

    Returns:
        The study, with the paths of its data made absolute and the definitions of all its tasks.

    Raises:
        InputError: The file or an override is wrong.
    """
    if not path.is_file():
        raise no_such_file(path, "study file")
    content = read_mapping(path, "study file")
    for override in overrides:
        apply_override(content, override)
    config = parse_study(complete(content), str(path), overrides)
    try:
        return with_definitions(resolve_paths(config, path.parent))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def resolve_paths(config: StudyConfig, folder: Path) -> StudyConfig:
    """Return the study with the relative paths of its data and its model made absolute.

    Args:
        config: The study as written.
        folder: The folder of the study file, which relative paths refer to.
    """
    data = {
        key: os.path.abspath(folder / path)
        for key, path in (("tasks", config.data.tasks), ("mirror", config.data.mirror))
        if path is not None
    }
    model = config.model
    if (folder / model.path).is_dir():
        model = model.model_copy(update={"path": os.path.abspath(folder / model.path)})
    return config.model_copy(
        update={
            "tasks": {name: whole(name, task, folder) for name, task in config.tasks.items()},
            "data": config.data.model_copy(update=data),
            "model": model,
        }
    )


def with_definitions(config: StudyConfig) -> StudyConfig:
    """Return the study with the definitions of its tasks that come from its folder of tasks or from cards.

    Raises:
        ValueError: A task is unknown, its definition is wrong, or lacks what the study needs of it.
    """
    found = definitions(config.task_names, config.tasks, config.data)
    config = config.model_copy(update={"tasks": config.tasks | found})
    config.check_tasks()
    return config


def parse_study(content: dict[str, Any], source: str, overrides: Sequence[str] = ()) -> StudyConfig:
    """Validate a study's plain values.

    Args:
        content: What the file holds.
        source: Name of the file, for messages.
        overrides: What has replaced some of it.

    Raises:
        InputError: A key is unknown or missing, or a value breaks a rule.
    """
    return parse_section(StudyConfig, content, source, overrides)


def dump_study(config: StudyConfig) -> str:
    """Return the resolved study as YAML that `load_study` reads back to the same study, but for passwords."""
    return yaml.safe_dump(plain_values(config), sort_keys=False)


def plain_values(config: StudyConfig) -> dict[str, Any]:
    """Return the study as plain values, with no password in an address: they are what is kept for others."""
    values = config.model_dump(mode="json")
    values["tracking"]["uri"] = without_password(config.tracking.uri)
    if config.search.storage is not None:
        values["search"]["storage"] = without_password(config.search.storage)
    return values


def override_value(override: str, text: str) -> Any:
    """Return the value of an override, of which it is the text.

    Raises:
        InputError: It is not YAML.
    """
    try:
        return read_yaml(text)
    except YamlError as error:
        reason = "not valid YAML" if str(error).startswith("not valid YAML") else str(error)
        raise InputError(f"override {override!r}: the value is {reason}") from None


def apply_override(content: dict[str, Any], override: str) -> None:
    """Put a setting such as `search.trials=8` into a study's plain values, in place.

    Raises:
        InputError: It is no setting.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"override {override!r}: expected key=value, such as search.trials=8")
    value = override_value(override, text)
    *parents, last = key.split(".")
    section = content
    for depth, parent in enumerate(parents, start=1):
        if section.get(parent) is None:
            section[parent] = {}
        section = section[parent]
        if not isinstance(section, dict):
            raise InputError(
                f"override {override!r}: {'.'.join(parents[:depth])!r} is a value, not a section"
            )
    section[last] = value
