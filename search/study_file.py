"""Reading a study file with `key=value` overrides; a wrong input becomes one clear line."""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from search.config import StudyConfig
from search.passwords import without_password
from spaces.nearest import did_you_mean


class InputError(ValueError):
    """The user's input is wrong; the message is one line that names the key or file and the rule."""


def load_study(path: Path, overrides: Sequence[str] = ()) -> StudyConfig:
    """Read, override and validate a study file.

    Args:
        path: The YAML file.
        overrides: Settings such as `search.trials=8`; the value is read as YAML.

    Returns:
        The study, with the paths of its data files made absolute.

    Raises:
        InputError: The file or an override is wrong.
    """
    if not path.is_file():
        near = did_you_mean(
            path.name, [p.name for p in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        )
        raise InputError(f"{path}: no such study file" + (f"; {near}" if near.startswith("did") else ""))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: a study file is a mapping of keys, got {type(content).__name__}")
    for override in overrides:
        _apply_override(content, override)
    return resolve_paths(parse_study(content, str(path)), path.parent)


def resolve_paths(config: StudyConfig, folder: Path) -> StudyConfig:
    """Return the study with the data files' and the model's relative paths made absolute.

    Args:
        config: The study as written.
        folder: The folder of the study file, which relative paths of data files refer to.
    """

    def absolute(path: str | None) -> str | None:
        return None if path is None else os.path.abspath(folder / path)

    tasks = {
        name: task.model_copy(
            update={
                "train": absolute(task.train),
                "search": absolute(task.search),
                "confirm": absolute(task.confirm),
            }
        )
        for name, task in config.tasks.items()
    }
    model = config.model
    if (folder / model.path).is_dir():
        model = model.model_copy(update={"path": os.path.abspath(folder / model.path)})
    return config.model_copy(update={"tasks": tasks, "model": model})


def parse_study(content: dict[str, Any], source: str) -> StudyConfig:
    """Validate a study's plain values.

    Args:
        content: What the file holds.
        source: Name of the file, for messages.

    Raises:
        InputError: A key is unknown or missing, or a value breaks a rule.
    """
    try:
        return StudyConfig.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{source}: {_first_problem(error)}") from None


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


def _apply_override(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"override {override!r}: expected key=value, such as search.trials=8")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"override {override!r}: the value is not valid YAML") from None
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


# Pydantic's words for what a study file calls otherwise.
_RULES = {
    "tuple_type": "must be a list",
    "dict_type": "must be a section",
    "model_type": "must be a section",
    "too_short": "must not be empty",
    # Lists have no upper bound on their length, but for the pairs of bounds.
    "too_long": "must be a pair [low, high]",
}


def _first_problem(error: ValidationError) -> str:
    """Turn pydantic's first problem into one line that names the key, the rule and the value.

    An unknown key comes before all else: where a name is misspelt, a missing one is only its shadow.
    """
    problems = error.errors(include_url=False)
    problem = next((each for each in problems if each["type"] == "extra_forbidden"), problems[0])
    location = [str(part) for part in problem["loc"] if part != "[key]"]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}: {did_you_mean(location[-1], _keys_at(location[:-1]))}"
    if problem["type"] == "missing":
        if isinstance(problem["loc"][-1], int):
            return f"{'.'.join(location[:-1])}: {_RULES['too_long']}, got {_as_written(problem['input'])}"
        return f"missing key {key!r}"
    message = problem["msg"].removeprefix("Value error, ")
    message = _RULES.get(problem["type"], message[0].lower() + message[1:])
    if problem["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key}: {message}, got {_as_written(problem['input'])}"


def _as_written(value: object) -> str:
    if isinstance(value, tuple):
        value = list(value)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def _keys_at(location: Sequence[str]) -> list[str]:
    """Return the valid keys of the section at a location of the study file."""
    model: Any = StudyConfig
    for part in location:
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = _section_of(model.model_fields[part].annotation)
        # A mapping's own key (a task's name) stays in the model of its values.
    return list(model.model_fields) if model is not None else []


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section model inside an annotation such as `Section | None` or `dict[str, Section]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, dict):
        for argument in typing.get_args(annotation):
            if (found := _section_of(argument)) is not None:
                return found
    return None
