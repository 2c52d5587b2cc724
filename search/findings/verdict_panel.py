"""What `select` and `report` print: the verdict, what limits it, and where to look further."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from search.decision.reselection import Reselected
from search.findings.verdict import paragraph


def verdict_panel(done: Reselected) -> RenderableType:
    """Return the verdict as a panel."""
    selection, folder = done.selection, done.folder
    parts: list[RenderableType] = [Text(f"{selection.reason[0].upper()}{selection.reason[1:]}."), Text()]
    if not selection.keep_base:
        parts += [Text(paragraph(done.record, selection)), Text()]
    if selection.notes:
        parts += [Text("\n".join(selection.notes), style="dim"), Text()]
    if selection.choices:
        parts += [_grid([(each.name, each.sentence) for each in selection.choices]), Text()]
    files = [("recipe", folder.recipe), ("report", folder.report), ("weights", folder.selected)]
    parts.append(_grid([(name, str(path)) for name, path in files if path.exists()]))
    title = "keep the base" if selection.keep_base else "selected recipe"
    return Panel(Group(*parts), title=title, title_align="left", padding=(1, 2))


def _grid(rows: list[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    for name, value in rows:
        table.add_row(Text(name, style="dim"), Text(value))
    return table
