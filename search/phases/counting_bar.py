"""A bar that counts what of a phase is done, on a terminal, and the lines that stay above it."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text


def counting_bar(text: str, console: Console) -> Progress:
    """Return a bar that goes when it is stopped; where there is no terminal it shows nothing."""
    return Progress(
        TextColumn(text),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal or console.is_dumb_terminal,
    )


def write_line(console: Console, line: str) -> None:
    """Write a line as it is, however long."""
    console.print(Text(line), highlight=False, soft_wrap=True)
