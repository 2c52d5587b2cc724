"""Taking a study up again: whether what lies in its folder is the same study, and how far it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from search.config import StudyConfig
from search.records.stored_results import read_json
from search.records.stored_shapes import FactsShape
from search.records.study_folder import StudyFolder
from search.records.study_identity import StudyIdentity
from search.settings.study_file import load_study, plain_values
from search.settings.user_input import InputError

# What decides where and how fast a study runs, and never its result.
_MAY_CHANGE: Final = ("output", "resources.")
_DECIDING: Final = ("python", "recipe-search", "torch", "transformers")
_SHOWN = 3  # settings that differ


def is_started(config: StudyConfig) -> bool:
    """Return whether the folder of a study holds one that can be taken up, or has finished."""
    return StudyFolder(config.folder).identity.is_file()


def is_finished(folder: StudyFolder) -> bool:
    """Return whether a study has reached its end."""
    return (facts := _facts(folder)) is not None and bool(facts["finished"])


def check_same_study(config: StudyConfig, *, moved: tuple[str, ...] = ()) -> None:
    """Check that a study is the one that its folder holds.

    Args:
        config: The study, with the addresses of its database files as `at_home` gives them.
        moved: Settings that may differ, since somebody said so.

    Raises:
        InputError: Settings differ on which results depend; one line that names them.
    """
    began = at_home(load_study(StudyFolder(config.folder).study).model_copy(update={"output": config.output}))
    then, now = (dict(_flat(plain_values(each))) for each in (began, config))
    may_change = (*_MAY_CHANGE, *moved)
    changed = [
        f"{key} is {now.get(key)!r} and was {then.get(key)!r}"
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key) and not key.startswith(may_change)
    ]
    if changed:
        more = f", and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise InputError(
            f"{config.folder} holds a study with other settings: {'; '.join(changed[:_SHOWN])}{more}. To go "
            "on, leave these as they were; for a study of its own, `recipe-search run` with another name=... "
            "or, with --overwrite, in place of this one"
        )


def check_same_data(folder: StudyFolder, model: str, data: Mapping[str, str]) -> None:
    """Check that a study that is taken up finds the model and the samples that it began with.

    Args:
        folder: The study's folder.
        model: Content hash of the model.
        data: `<task>/<split>` -> content hash of its samples.

    Raises:
        InputError: They have changed since; what was measured before can't be compared.
    """
    if (facts := _facts(folder)) is None:
        return
    then = facts["data_fingerprints"]
    changed = [name for name in sorted(then.keys() | data.keys()) if then.get(name) != data.get(name)]
    if facts["model_fingerprint"] != model:
        changed = ["the model", *changed]
    if changed:
        raise InputError(
            f"{folder.root}: {', '.join(changed)} changed since the study began, so it can't go on; put back "
            "what it began with, or run it anew with --overwrite"
        )


def other_versions(folder: StudyFolder, versions: Mapping[str, str]) -> str | None:
    """Return what a study began with that is of another version now, in one line; None where nothing is.

    Args:
        folder: The study's folder.
        versions: Package -> version, as it is now.
    """
    if (facts := _facts(folder)) is None:
        return None
    then = facts["versions"]
    changed = [
        f"{name} {then[name]}, now {versions.get(name, 'none')}"
        for name in then
        if name in _DECIDING and then[name] != versions.get(name)
    ]
    return f"the study began with {'; '.join(changed)}: scores may differ" if changed else None


def at_home(config: StudyConfig) -> StudyConfig:
    """Return the study with the addresses of its database files as they were where it was started.

    Raises:
        InputError: What its folder says of that can't be read.
    """
    with readable():
        directory = StudyIdentity.read(StudyFolder(config.folder)).directory
    tracking = config.tracking.model_copy(update={"uri": _absolute(config.tracking.uri, directory)})
    search = config.search
    if search.storage is not None:
        search = search.model_copy(update={"storage": _absolute(search.storage, directory)})
    return config.model_copy(update={"tracking": tracking, "search": search})


def _facts(folder: StudyFolder) -> dict[str, Any] | None:
    """Return what was written of a study when its base was measured; None before that."""
    if not folder.facts.exists():
        if folder.base.exists():
            raise InputError(f"{folder.facts} is missing: it says with what the study began")
        return None
    with readable():
        facts = read_json(folder.facts, FactsShape)
        # Studies of older versions do not say whose they are.
        if facts.get("study_id") not in (None, StudyIdentity.read(folder).study_id):
            raise ValueError(f"{folder.facts} is another study's than {folder.identity.name}")
        return facts


@contextmanager
def readable() -> Iterator[None]:
    """Turn what is wrong with a file of a study into one line that names it.

    Raises:
        InputError: In place of an error of the file system, and of a file that says something else.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{error.filename}: this file of the study can't be read: {error.strerror}"
        ) from None
    except ValueError as error:
        raise InputError(str(error)) from None


def _absolute(address: str, directory: str) -> str:
    prefix = "sqlite:///"
    path = address.removeprefix(prefix)
    if path == address or path.startswith("/") or not path:
        return address
    return f"{prefix}{Path(directory, path)}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
