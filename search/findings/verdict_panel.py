"""What `select` and `report` print: the verdict, what limits it, and where to look further."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from search.config import StudyConfig
from search.decision.reselection import Reselected
from search.findings.verdict import paragraph
from search.handover.registry import ALIAS, registered_name


def verdict_panel(done: Reselected, *, anew: bool = False) -> RenderableType:
    """Return the verdict as a panel.

    Args:
        done: The verdict.
        anew: Whether it was selected just now, of which MLflow knows nothing.
    """
    selection, folder = done.selection, done.folder
    parts: list[RenderableType] = [Text(f"{selection.reason[0].upper()}{selection.reason[1:]}."), Text()]
    if not selection.keep_base:
        parts += [Text(paragraph(done.record, selection)), Text()]
    if selection.notes:
        parts += [Text("\n".join(selection.notes), style="dim"), Text()]
    if selection.choices:
        parts += [_grid([(each.name, each.sentence) for each in selection.choices]), Text()]
    files = [("recipe", folder.recipe), ("report", folder.report), ("weights", folder.selected)]
    rows = [(name, str(path)) for name, path in files if path.exists()]
    parts.append(_grid([*rows, ("MLflow", _unchanged(done.record.config))] if anew else rows))
    title = "keep the base" if selection.keep_base else "selected recipe"
    return Panel(Group(*parts), title=title, title_align="left", padding=(1, 2))


def _unchanged(config: StudyConfig) -> str:
    """Say what MLflow keeps, whatever is selected later."""
    if config.tracking.register_weights is None:
        return "the study's record stays as it was; no command changes it"
    champion = f"models:/{registered_name(config)}@{ALIAS}"
    return f"the study's record and {champion} stay as they were; no command changes them"


def _grid(rows: list[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    for name, value in rows:
        table.add_row(Text(name, style="dim"), Text(value))
    return table
