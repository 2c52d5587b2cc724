"""Malformed input of every kind: exit 2, one clear line, and nothing begun."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hostile_input import data_files, folders, models, recipes, resumed, study_files
from hostile_input.cases import Case, appeared, refused, write_study

from search.terminal import one_line, printable

KINDS = {
    "study file": study_files.CASES,
    "data file": data_files.CASES,
    "recipe file": recipes.CASES,
    "study folder": folders.CASES,
    "model and weights": models.CASES,
    "interrupted study": resumed.CASES,
}
FEWEST = 200
# Of a study's folder these are met by `report` each time; the rest takes longer.
OFTEN = ("removed", "cut", "empty-object", "fifo")


def is_slow(kind: str, name: str) -> bool:
    if kind == "interrupted study":
        return name.startswith(tuple(resumed.FILES)) and not name.endswith("-cut")
    if kind != "study folder":
        return False
    return not name.startswith("report-trials/") and not (
        name.endswith(OFTEN) and name.startswith(("report-base", "report-record", "select-finalists"))
    )


ALL = [
    pytest.param(case, id=f"{kind}-{case.name}", marks=[pytest.mark.slow] if is_slow(kind, case.name) else [])
    for kind, cases in KINDS.items()
    for case in cases
]


@pytest.fixture(autouse=True)
def _nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An input that is accepted after all fails its test at once, and does not start Ray."""

    def accepted(*_: object, **__: object) -> None:
        raise AssertionError("the input was accepted")

    monkeypatch.setattr("search.runner.run_study", accepted)
    monkeypatch.setattr("search.reuse.applying.apply_recipe", accepted)
    monkeypatch.setattr("search.reuse.evaluating.evaluate", accepted)
    for address in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(address, "1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_there_are_as_many_cases_as_are_promised() -> None:
    assert sum(map(len, KINDS.values())) >= FEWEST
    for kind, cases in KINDS.items():
        assert len(cases) >= 60, kind
        assert [name for name, count in Counter(case.name for case in cases).items() if count > 1] == []


def test_the_page_tells_how_many_there_are() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reliability" / "hostile-input.md").read_text("utf-8")
    rows = re.findall(r"^\| ([a-z ]+) \| (\d+) \| (.*) \|$", page, flags=re.MULTILINE)
    assert {kind: int(count) for kind, count, _ in rows} == {
        kind: len(cases) for kind, cases in KINDS.items()
    }
    often = sum(not is_slow(kind, case.name) for kind, cases in KINDS.items() for case in cases)
    assert f"All {len(ALL):,} are refused" in page
    assert f"`make test` runs {often} of them" in page
    assert f"and {len(IN_PROCESSES)} as processes of their own" in page

    told = {kind: text for kind, _, text in rows}
    begin = Counter((kind, case.name.split("-")[0]) for kind, cases in KINDS.items() for case in cases)
    for kind, name, said in [
        ("study file", "content", "contents"),
        ("study file", "section", "sections"),
        ("study file", "override", "overrides"),
        ("study file", "place", "things in a file's place"),
        ("data file", "file", "files"),
        ("data file", "image", "images and paths"),
        ("recipe file", "key", "keys"),
        ("recipe file", "content", "contents"),
        ("recipe file", "place", "places"),
    ]:
        assert f"{begin[kind, name]} {said}" in told[kind]
    assert f"each of {len(resumed.FILES)} files" in told["interrupted study"]
    assert f"and {len(resumed.SPECIAL)} more" in told["interrupted study"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", ALL)
def test_is_refused_by_one_clear_line(case: Case, tmp_path: Path) -> None:
    arguments = case.make(tmp_path)
    before = tree(tmp_path)
    refused(tmp_path, arguments).check(*case.says)
    assert not list(tmp_path.rglob("hacked"))
    assert tree(tmp_path) == before, "a file was changed"


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return what lies in a folder, but for the working directory, locks, and what SQLite opens to read."""
    found = {}
    for place in folder.rglob("*"):
        name = place.relative_to(folder).as_posix()
        about = place.lstat()
        if name.startswith("work") or name.endswith(".lock") or ".db" in name or stat.S_ISDIR(about.st_mode):
            continue
        found[name] = (about.st_mode, about.st_size, about.st_mtime_ns)
    return found


# One of each kind of trouble, as processes of their own: what a user's shell sees.
PROCESSES = {
    "study file": ("content-bomb-of-merges", "content-pickle", "place-fifo", "section-unknown-key-escape"),
    "data file": ("place-device", "file-deep", "image-bomb", "image-name-link-out"),
    "recipe file": ("key-point-transform-list",),
    "study folder": ("report-record.json-fifo",),
    "model and weights": ("model-own-code", "model-weights-pickled"),
    "interrupted study": ("weights-pickled", "link-trials", "optuna.journal-cut"),
}
IN_PROCESSES = [
    pytest.param(case, id=f"{kind}-{case.name}")
    for kind, cases in KINDS.items()
    for case in cases
    if case.name in PROCESSES[kind]
]


@pytest.mark.slow
@pytest.mark.parametrize("case", IN_PROCESSES)
def test_is_refused_by_the_real_command(case: Case, tmp_path: Path) -> None:
    assert len(IN_PROCESSES) == sum(map(len, PROCESSES.values()))
    arguments = [str(each) for each in case.make(tmp_path)]
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "search.cli", *arguments],
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert all(part in line for part in case.says)
    assert appeared(work) == ()


def test_a_refused_file_beside_a_right_one_is_told_by_the_key_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text("{")
    task = {"train": "train.jsonl", "search": "b.jsonl"}
    found = refused(tmp_path, ["run", write_study(tmp_path, tasks={"birds": task})])
    found.check("b.jsonl:1: not JSON")


class TestWhatReachesTheTerminal:
    def test_control_characters_are_written_out(self) -> None:
        assert one_line("a\x1b[2Jb\nc\td\x07") == "a\\x1b[2Jb c d\\x07"
        assert one_line("right\u202eleft\ud800") == "right\\u202eleft\\ud800"
        assert printable("a\nb\tc\r") == "a\nb\tc\\r"

    def test_letters_of_all_scripts_stay(self) -> None:
        assert one_line("日本語 żółw Ω 🐢") == "日本語 żółw Ω 🐢"

    def test_what_is_very_long_is_cut_in_the_middle(self) -> None:
        line = one_line("x" * 5000 + "end")
        assert line.startswith("x" * 700 + " [...] ")
        assert line.endswith("end")
        assert len(line) == 700 + 7 + 300
