"""The table of ratios, medians and spread: on the terminal and on the page that explains it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from benchmarks.rivals.figures import PARTS
from benchmarks.rivals.sides import SIDES

_ROWS = (
    ("seconds to a good recipe", "seconds_to_good_recipe", "{:.0f}"),
    ("seconds in all", "seconds", "{:.0f}"),
    ("- before the first step", "before", "{:.0f}"),
    ("- in trials", "in_trials", "{:.0f}"),
    ("- between trials", "between_trials", "{:.0f}"),
    ("- after the last report", "after", "{:.0f}"),
    ("trials per hour", "trials_per_hour", "{:.0f}"),
    ("optimiser steps", "steps", "{:.0f}"),
    ("CPU-seconds", "cpu_seconds", "{:.0f}"),
    ("CPU-seconds per trial", "cpu_seconds_per_trial", "{:.1f}"),
    ("turn-round in seconds", "turn_round_seconds", "{:.2f}"),
    ("MB left on disk", "megabytes_left", "{:.1f}"),
    ("MB of weights per trial", "megabytes_of_weights_per_trial", "{:.1f}"),
    ("confirmed score", "confirmed_score", "{:.1f}"),
)


def shown(content: Mapping[str, Any]) -> Table:
    """Return the table of a comparison: medians, in brackets smallest and largest, and x the ratio."""
    table = Table(
        "",
        *(SIDES[name].title for name in content["sides"]),
        box=None,
        header_style="bold",
        caption=f"median (smallest to largest), and how many times that of {SIDES[content['against']].title}",
    )
    for title, key, form in _ROWS:
        table.add_row(title, *(_cell(content, name, key, form) for name in content["sides"]))
    return table


def markdown(content: Mapping[str, Any]) -> str:
    """Return the same table for a page."""
    names = [*content["sides"]]
    rows = [["", *(SIDES[name].title for name in names)], ["---"] * (len(names) + 1)]
    rows += [[title, *(_cell(content, name, key, form) for name in names)] for title, key, form in _ROWS]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(content: Mapping[str, Any], name: str, key: str, form: str) -> str:
    figures = content["sides"][name]
    if key in PARTS:
        return form.format(figures["where"][key]) if figures["where"] else "-"
    values = figures[key]
    if key == "seconds_to_good_recipe" and values["reached"] < figures["runs"]:
        return f"in {values['reached']} of {figures['runs']} runs"
    if values is None:
        return "-"
    text = form.format(values["median"])
    if key == "seconds" and (whole := figures["seconds_of_whole_plan"]) is not None:
        measured = ", ".join(map(str, whole["measured_trials"]))
        planned = figures["trials"]["planned"]
        return f"{form.format(whole['median'])}, extrapolated from {measured} of {planned} trials"
    if values["n"] > 1:
        text += f" ({form.format(values['min'])} to {form.format(values['max'])})"
    ratio = content["ratios_of_medians"].get(name, {}).get(key)
    return text if ratio is None else f"{text}, x{ratio:.1f}"
