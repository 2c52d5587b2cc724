"""Damaged folders of studies that have run: each file of them, damaged in each way, met by each command."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from selectable_study import BOLD, confirmed, study_folder

from hostile_input.cases import ESCAPE, Case, shared_folder

# Name -> what is done to a file.
DAMAGES: Final[Mapping[str, Callable[[Path], object]]] = {
    "removed": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "null": lambda file: file.write_text("null"),
    "list": lambda file: file.write_text("[]"),
    "empty-object": lambda file: file.write_text("{}"),
    "text": lambda file: file.write_text('"text"'),
    "bytes": lambda file: file.write_bytes(bytes(range(128, 256))),
    "utf-16": lambda file: file.write_bytes(file.read_text().encode("utf-16")),
    "nul": lambda file: file.write_bytes(b"\0" * 100),
    "deep": lambda file: file.write_text("[" * 100_000),
    "escape": lambda file: file.write_text(f'{{"{ESCAPE}": 1}}'),
    "folder": lambda file: (file.unlink(), file.mkdir()),
    "fifo": lambda file: (file.unlink(), os.mkfifo(file)),
    "device": lambda file: (file.unlink(), file.symlink_to("/dev/zero")),
    "unreadable": lambda file: (file.unlink(), file.symlink_to("/proc/self/mem")),
}

# File -> the damages that are none: the file may be missing there.
FILES: Final[Mapping[str, frozenset[str]]] = {
    "study.yaml": frozenset(),
    "record.json": frozenset(),
    "base.json": frozenset(),
    "confirm_base.json": frozenset(),
    "trials/id0/trial.json": frozenset({"removed", "folder", "fifo", "device"}),
    "points/0/point.json": frozenset({"removed", "folder", "fifo", "device"}),
    "finalists/trial_0/finalist.json": frozenset(),
    "finalists/trial_0/seed_100/run.json": frozenset(),
    "finalists/trial_0/seed_100/confirm.json": frozenset(),
}


GONE: Final = {("finalists/trial_0/finalist.json", "removed")}


@cache
def whole() -> Path:
    """Return the folder of a whole study, selected from; made once."""
    home = shared_folder("study")
    folder = study_folder(home / "lesson", written=True)
    confirmed(folder, "trial 0", {100: BOLD, 101: BOLD})
    return folder.root


def damaged(file: str, damage: str, command: str) -> Callable[[Path], Sequence[str | Path]]:
    def make(folder: Path) -> Sequence[str | Path]:
        root = folder / "lesson"
        shutil.copytree(whole(), root)
        DAMAGES[damage](root / file)
        return (command, root)

    return make


CASES: Final = [
    Case(
        name=f"{command}-{file}-{damage}",
        make=damaged(file, damage, command),
        says=("finalists: the finalists of the study are missing",) if (file, damage) in GONE else (file,),
    )
    for file, fine in FILES.items()
    for damage in DAMAGES
    if damage not in fine
    for command in ("report", "select")
]
