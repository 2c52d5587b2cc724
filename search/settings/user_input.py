"""The user's input, read and validated; what is wrong with it becomes one clear line."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from search.settings.safe_yaml import YamlError, read_yaml
from spaces.nearest import did_you_mean


class InputError(ValueError):
    """The user's input is wrong; the message is one line that names the key or file and the rule."""


_Section = TypeVar("_Section", bound=BaseModel)


def read_mapping(path: Path, kind: str) -> dict[str, Any]:
    """Read a YAML file that holds a mapping of keys.

    Args:
        path: The file.
        kind: What messages call such a file.

    Raises:
        InputError: It can't be read, is not YAML, or something else.
    """
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: the {kind} can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not valid YAML: not UTF-8 text: {error}") from None
    except YamlError as error:
        raise InputError(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: a {kind} is a mapping of keys, got {type(content).__name__}")
    return content


def no_such_file(path: Path, kind: str) -> InputError:
    """Return what to say of a YAML file that is not there, with the nearest that is.

    Args:
        path: What was asked for; no file, though it may be a folder.
        kind: What messages call such a file.
    """
    if path.is_dir():
        return InputError(f"{path}: expected a {kind}, but this is a folder")
    if path.exists():
        return InputError(f"{path}: expected a {kind}, but this is no regular file")
    near = did_you_mean(path.name, [file.name for file in path.parent.glob("*.yaml") if file.is_file()])
    return InputError(f"{path}: no such {kind}" + (f"; {near}" if near.startswith("did") else ""))


def parse_section(
    model: type[_Section], content: dict[str, Any], source: str, overrides: Sequence[str] = ()
) -> _Section:
    """Validate plain values.

    Args:
        model: What they are to be.
        content: The values.
        source: Where they come from, for messages.
        overrides: Settings `key=value` that have replaced some of them, which messages then blame.

    Raises:
        InputError: A key is unknown or missing, or a value breaks a rule.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problem = _first_problem(error, model)
        raise InputError(f"{_blamed(problem, overrides) or source}: {problem}") from None


def _blamed(problem: str, overrides: Sequence[str]) -> str | None:
    """Return the last override that a problem is with; None where it is the file."""
    key = problem.removeprefix("unknown key ").removeprefix("missing key ").partition(": ")[0].strip("'")
    for override in reversed(overrides):
        name = override.partition("=")[0]
        if key == name or key.startswith(f"{name}.") or name.startswith(f"{key}."):
            return f"override {override!r}"
    return None


# Pydantic's words for what a study file calls otherwise.
_RULES: Final = {
    "tuple_type": "must be a list",
    "dict_type": "must be a section",
    "model_type": "must be a section",
    "too_short": "must not be empty",
    # Lists have no upper bound on their length, but for the pairs of bounds.
    "too_long": "must be a pair [low, high]",
}


def _first_problem(error: ValidationError, section: type[BaseModel]) -> str:
    """Turn pydantic's first problem into one line that names the key, the rule and the value.

    An unknown key comes before all else: where a name is misspelt, a missing one is only its shadow.
    """
    problems = error.errors(include_url=False)
    problem = next((each for each in problems if each["type"] == "extra_forbidden"), problems[0])
    location = [str(part) for part in problem["loc"] if part != "[key]"]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}: {did_you_mean(location[-1], _keys_at(section, location[:-1]))}"
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


def _keys_at(section: type[BaseModel], location: Sequence[str]) -> list[str]:
    """Return the valid keys of the section at a location inside another."""
    model: Any = section
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
