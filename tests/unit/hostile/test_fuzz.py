"""Random damage: whatever becomes of a file, it is accepted, or refused by one line."""

from __future__ import annotations

import copy
import io
import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hostile_input import folders, resumed
from hostile_input.cases import STUDY
from hostile_input.recipes import DOCUMENT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search import cli
from search.handover.recipe_document import read_recipe
from search.records.study_folder import StudyFolder
from search.records.whole_study import check_whole
from search.settings.study_file import load_study
from search.settings.user_input import InputError
from trainables.files import DamagedFile

TEXTS = st.text(max_size=12) | st.sampled_from(
    ["../../x", "/etc/passwd", "\x1b[31m", "a\nb", "1e-4", "nan", ""]
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(2**63), 2**31, 0, -1, 1e-320])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.integers(), inner, max_size=3),
    max_leaves=5,
)
FEW = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
MANY = settings(parent=FEW, max_examples=1000)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the ways to all that lies in a value."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [way for key, each in inner for way in ((*at, key), *places(each, (*at, key)))]


def changed(value: Any, way: tuple[Any, ...], new: Any, *, rename: bool) -> Any:
    """Return a value with something else at a place, or, where that is a key, under another name."""
    found = copy.deepcopy(value)
    holder = found
    for key in way[:-1]:
        holder = holder[key]
    if rename and isinstance(holder, dict) and isinstance(new, str | int):
        holder[new] = holder.pop(way[-1])
    else:
        holder[way[-1]] = new
    return found


def accepted_or_one_line(read: Callable[[Path], object], content: bytes) -> None:
    with tempfile.TemporaryDirectory() as home:
        file = Path(home) / "file.yaml"
        file.write_bytes(content)
        with suppress(InputError):
            read(file)


def study_with_anything(way: tuple[Any, ...], new: Any, rename: bool) -> None:
    text = yaml.safe_dump(changed(dict(STUDY), way, new, rename=rename), allow_unicode=False)
    accepted_or_one_line(load_study, text.encode("utf-8", "surrogatepass"))


def recipe_with_anything(way: tuple[Any, ...], new: Any, rename: bool) -> None:
    text = yaml.safe_dump(changed(dict(DOCUMENT), way, new, rename=rename), allow_unicode=False)
    accepted_or_one_line(read_recipe, text.encode("utf-8", "surrogatepass"))


def flipped_bytes(data: st.DataObject) -> None:
    content = bytearray(yaml.safe_dump(dict(STUDY)).encode())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    accepted_or_one_line(load_study, bytes(content[: data.draw(st.integers(0, len(content)))]))


def any_bytes(content: bytes) -> None:
    accepted_or_one_line(load_study, content)


JSON_FILES = sorted(name for name in folders.FILES if name.endswith(".json"))


def folder_with_anything(name: str, data: st.DataObject) -> None:
    """The verdict is written, or one line says what is wrong, and nothing was changed."""
    with tempfile.TemporaryDirectory() as home:
        root = Path(home) / "lesson"
        shutil.copytree(folders.whole(), root)
        file = root / name
        value = json.loads(file.read_text())
        way = data.draw(st.sampled_from(places(value)))
        new = data.draw(VALUES)
        file.write_text(json.dumps(changed(value, way, new, rename=data.draw(st.booleans()))))
        before = file.read_bytes()
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = cli.main(["select", str(root)])
        assert file.read_bytes() == before
        if status != 0:
            assert status == 2
            (line,) = err.getvalue().splitlines()
            assert line.startswith("error: ")
            assert not (root / "recipe.yaml").exists()


RESUMED_FILES = sorted(resumed.FILES)


def resumed_with_anything(name: str, data: st.DataObject) -> None:
    """The study can be gone on with, or one line says why not, and nothing else was changed."""
    with tempfile.TemporaryDirectory() as home:
        root = Path(home) / "lesson"
        shutil.copytree(resumed.interrupted(), root)
        file = root / name
        if name.endswith(".json"):
            value = json.loads(file.read_text())
            way = data.draw(st.sampled_from(places(value)))
            new = data.draw(VALUES)
            file.write_text(json.dumps(changed(value, way, new, rename=data.draw(st.booleans()))))
        else:
            content = bytearray(file.read_bytes())
            for _ in range(data.draw(st.integers(1, 4))):
                content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
            file.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        with suppress(InputError, DamagedFile):
            check_whole(StudyFolder(root), load_study(root / "study.yaml"))


LAWS: dict[str, tuple[Callable[..., None], tuple[st.SearchStrategy[Any], ...]]] = {
    "study": (study_with_anything, (st.sampled_from(places(dict(STUDY))), VALUES, st.booleans())),
    "recipe": (recipe_with_anything, (st.sampled_from(places(dict(DOCUMENT))), VALUES, st.booleans())),
    "flipped-bytes": (flipped_bytes, (st.data(),)),
    "any-bytes": (any_bytes, (st.binary(max_size=300),)),
    "folder": (folder_with_anything, (st.sampled_from(JSON_FILES), st.data())),
    "resumed": (resumed_with_anything, (st.sampled_from(RESUMED_FILES), st.data())),
}


@pytest.mark.parametrize("law", LAWS)
def test_is_accepted_or_refused_by_one_line(law: str) -> None:
    check, strategies = LAWS[law]
    settings(parent=FEW, max_examples=6 if law in ("study", "folder", "resumed") else 20)(
        given(*strategies)(check)
    )()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("law", LAWS)
def test_is_accepted_or_refused_by_one_line_many_times(law: str) -> None:
    check, strategies = LAWS[law]
    MANY(given(*strategies)(check))()
