"""A step is told while it lasts, on a terminal and in a log."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from search.phases.steps import step


def test_a_log_has_the_step_as_a_line_before_its_work_begins(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as file, step(Console(file=file), "starting Ray"):
        # What is read while the file is open has been flushed.
        assert log.read_text() == "starting Ray\n"


def test_a_terminal_has_a_spinner_that_goes_away() -> None:
    screen = io.StringIO()
    with step(
        Console(file=screen, force_terminal=True, width=40, _environ={"TERM": "xterm"}), "starting Ray"
    ):
        pass
    erased = "\x1b[1A\x1b[2K"
    assert "starting Ray" in screen.getvalue()
    assert screen.getvalue().endswith(erased)
