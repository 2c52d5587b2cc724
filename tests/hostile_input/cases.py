"""Case: an input that is wrong, the command that meets it, and what the one line on stderr must tell."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import yaml

from search import cli

ESCAPE = "\x1b[31mred\x1b]0;title\x07"
"""What a terminal would obey: a colour, and a title for its window."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_MAY_APPEAR = (".cache",)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A wrong input.

    Attributes:
        name: What is wrong, as the test's id.
        make: Leaves the input in an empty folder, and returns the command's arguments.
        says: Parts that the line must have: the file or key, and what was expected.
    """

    name: str
    make: Callable[[Path], Sequence[str | Path]]
    says: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Refused:
    """What a command left: its status, what it said, and what lies in its working directory now."""

    status: int
    out: str
    err: str
    appeared: tuple[str, ...]

    def check(self, *says: str) -> None:
        """Assert that it was refused by one clear line, and that nothing was begun."""
        assert self.status == 2, (self.status, self.out[-500:], self.err[-2000:])
        assert "Traceback" not in self.err + self.out
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: "), self.err
        assert not _CONTROL.search(self.err), ascii(self.err)
        assert len(lines[0]) < 1200, f"{len(lines[0])} characters"
        for part in says:
            assert part in lines[0], (part, lines[0])
        assert self.appeared == ()


def refused(folder: Path, arguments: Sequence[str | Path]) -> Refused:
    """Run a command in this process, from an empty working directory beside its input."""
    work = folder / "work"
    work.mkdir()
    before = _children()
    out, err = io.StringIO(), io.StringIO()
    with chdir(work), redirect_stdout(out), redirect_stderr(err):
        try:
            status = cli.main([str(each) for each in arguments])
        except SystemExit as end:
            status = int(end.code or 0)
    assert _children() == before, "a process is left"
    return Refused(status=status, out=out.getvalue(), err=err.getvalue(), appeared=appeared(work))


def appeared(work: Path) -> tuple[str, ...]:
    """Return what lies in a working directory: no study's folder may, nor a database."""
    found = (str(each.relative_to(work)) for each in work.rglob("*"))
    return tuple(sorted(name for name in found if name != "runs" and Path(name).parts[1:2] != _MAY_APPEAR))


def _children() -> set[int]:
    return {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)}


@cache
def _shared() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="hostile-")


def shared_folder(name: str) -> Path:
    """Return a folder for what several cases start from; it goes when the process ends."""
    folder = Path(_shared().name, name)
    folder.mkdir()
    return folder


STUDY: Mapping[str, Any] = {
    "name": "lesson",
    "model": {"path": "tiny-llava"},
    "tasks": {"birds": {"train": "train.jsonl", "search": "search.jsonl"}},
    "targets": ["birds"],
    "held_out": ["digits"],
    "space": {"subsets": ["gate_up"], "learning_rate": [1e-5, 1e-2]},
    "training": {"steps": 4, "batch_size": 2},
    "evaluation": {"samples": 4},
    "search": {"trials": 2},
    "finalists": None,
}
"""A study that is right, but for what a case changes."""


def write_study(folder: Path, **changes: Any) -> Path:
    """Write the study with other sections, beside data that are right."""
    for split in ("train", "search"):
        rows = [{"prompt": f"{split} {index}?", "answer": "yes"} for index in range(4)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({**STUDY, **changes}, sort_keys=False), encoding="utf-8")
    return file
