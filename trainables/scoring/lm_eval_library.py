"""EleutherAI's lm-eval, an optional package: finding its tasks, opening them, and keeping it quiet.

The package is imported only where a study names one of its tasks: its import takes a second, and reading the
names of its tasks another half.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import io
import logging
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from spaces.nearest import did_you_mean

if TYPE_CHECKING:
    import torch

INSTALL: Final = "pip install 'recipe-search[lm-eval]'"

# What `lm_eval.simple_evaluate` seeds Python, numpy and torch with, and the choice of examples.
_PYTHON_SEED: Final = 0
OTHER_SEED: Final = 1234

_CHATTY: Final = ("lm_eval", "datasets", "huggingface_hub", "transformers")

# YAML written by hand, by PyYAML and by JSON's rules; a list after `task:` is a group's.
_TASK_LINE: Final = re.compile(
    rb"""^["']?task["']?[ \t]*:[ \t]*(["']?)([^\s"'].*?)\1[ \t]*(?:#.*)?\r?$""", re.M
)
_GROUP_LINE: Final = re.compile(rb"""^["']?group["']?[ \t]*:[ \t]*["']?([^\s"']+)""", re.M)


class LmEvalError(ValueError):
    """A task of lm-eval can't be used; the message is one line."""


def own_tasks() -> Path:
    """Return the folder of the tasks that lm-eval ships, without importing it.

    Raises:
        LmEvalError: lm-eval is not installed.
    """
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise LmEvalError(f"lm-eval is not installed: {INSTALL}")
    return Path(spec.origin).parent / "tasks"


def find_task(name: str, folder: Path | None = None) -> str:
    """Return the file that defines a task: a path, or one relative to `own_tasks()` for what lm-eval ships.

    Args:
        name: lm-eval's name of the task.
        folder: Folder of definitions of the user's own; None is lm-eval's.

    Raises:
        LmEvalError: There is no such folder or task.
    """
    root = folder or own_tasks()
    if not root.is_dir():
        raise LmEvalError(f"no such folder: {root}")
    tasks: dict[str, Path] = {}
    groups: set[str] = set()
    for file in sorted(root.rglob("*.yaml")):
        content = file.read_bytes()
        if match := _TASK_LINE.search(content):
            tasks.setdefault(match[2].decode(errors="replace"), file)
        groups |= {match[1].decode(errors="replace") for match in _GROUP_LINE.finditer(content)}
    if name in tasks:
        return str(tasks[name] if folder else tasks[name].relative_to(root))
    if name in groups:
        raise LmEvalError(f"lm-eval's {name!r} is a group of tasks: name them one by one")
    raise LmEvalError(f"unknown lm-eval task {name!r}: {_hint(name, tasks, listed=folder is not None)}")


def definition_digest(file: str) -> str:
    """Return a hash of what defines a task: lm-eval's version, and its folder's YAML and Python files."""
    digest = hashlib.sha256(importlib.metadata.version("lm_eval").encode())
    path = Path(file)
    if path.is_absolute():
        for each in sorted(path.parent.iterdir()):
            if each.suffix in (".yaml", ".py"):
                digest.update(each.read_bytes())
    return digest.hexdigest()


def open_task(name: str, file: str) -> Any:
    """Open a task and its data, which it downloads where they don't lie on this machine.

    Relative paths of data files in a definition of the user's own are relative to it.

    Args:
        name: lm-eval's name of the task.
        file: See `find_task`.

    Raises:
        LmEvalError: The definition is wrong, or its data can't be reached.
    """
    path = own_tasks() / file
    # Its import and its definitions draw from Python's generator.
    with quiet(), seeded(), contextlib.chdir(path.parent):
        from lm_eval.api.task import ConfigurableTask
        from lm_eval.tasks import TaskManager

        try:
            task = TaskManager(include_defaults=False).load(str(path))["tasks"][name]
        except Exception as error:
            # A definition is the code of others, and what it downloads comes from anywhere.
            raise LmEvalError(f"lm-eval's task {name!r} can't be opened: {_one_line(error)}") from None
    if not isinstance(task, ConfigurableTask):
        raise LmEvalError(f"lm-eval's task {name!r} is written against an interface that is not supported")
    for trait, reason in (
        ("MULTIMODAL", "asks about images or sound, and only tasks of text can be used"),
        ("UNSAFE_CODE", "runs code that the model wrote, which is not done here"),
    ):
        if getattr(task, trait, False):
            raise LmEvalError(f"lm-eval's task {name!r} {reason}")
    return task


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep progress bars, prints and warnings of lm-eval and of data sets off the terminal."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def seeded(device: torch.device | None = None) -> Iterator[None]:
    """Seed what `lm_eval.simple_evaluate` seeds, since a task's functions may draw; then put it all back.

    Args:
        device: Where the model lies, if one takes part.
    """
    # Study files are read without it.
    import torch

    states = (random.getstate(), np.random.get_state())
    with torch.random.fork_rng(devices=[device] if device is not None and device.type == "cuda" else []):
        random.seed(_PYTHON_SEED)
        np.random.seed(OTHER_SEED)
        torch.manual_seed(OTHER_SEED)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def _hint(name: str, tasks: Iterable[str], *, listed: bool) -> str:
    """Return a half-sentence on what may have been meant; of lm-eval's thousands it never lists all."""
    near = tasks if listed else [task for task in tasks if task[:3].lower() == name[:3].lower()]
    hint = did_you_mean(name, near)
    return hint if listed or hint.startswith("did") else "`lm-eval ls tasks` lists those that there are"


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
