"""Steps: what a command is doing before it has anything to show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


@contextmanager
def step(console: Console, text: str) -> Iterator[None]:
    """Say what is being done while the context is open: a spinner on a terminal, else one line that stays.

    Without the line a log would say nothing for minutes, since rich shows a status on terminals alone.

    Args:
        console: Where to say it.
        text: What is being done.
    """
    if console.is_terminal:
        with console.status(text):
            yield
    else:
        console.print(text)
        yield
