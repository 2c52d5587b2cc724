"""The tables of docs/performance.md that a replay's figures make.

python -m benchmarks.recipe_table.page
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from benchmarks.machine import RESULTS
from benchmarks.recipe_table.grid import ROOT

PAGE: Final = ROOT / "docs" / "performance.md"
FIGURES: Final = RESULTS / "recipe_replay.json"
BEGIN: Final = "<!-- replay: made by python -m benchmarks.recipe_table.page -->"
END: Final = "<!-- end of replay -->"
GOAL: Final = 0.95
"""Share of studies that shall come within one point of the grid's best."""

_Rows = Mapping[str, Mapping[str, Mapping[str, float]]]


def page_with_tables(page: str, figures: Mapping[str, Any]) -> str:
    """Return a page with the tables between its marks made anew.

    Raises:
        ValueError: The page lacks the marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks {BEGIN!r} or {END!r}")
    return before + "\n".join([BEGIN, *_lines(figures), END]) + after


def _lines(figures: Mapping[str, Any]) -> Iterator[str]:
    table, share = figures["table"], figures["share_of_steps"]
    targets = table["targets"]
    counts = table["trainings"]
    ended = sum(each["ended"] for each in counts.values())
    failed = sum(len(each["failed"]) for each in counts.values())
    yield from (
        "",
        f"The table had {ended} trainings ({failed} failed) when this was replayed, and was "
        f"{'whole' if table['complete'] else 'not whole yet'}. Whole seeds, and the best recipe:",
        "",
    )
    yield from _table(
        ("target", "seeds", "subset", "learning rate", "true score", "best at any rung"),
        (
            (
                name,
                each["seeds"],
                f"`{each['best']['subset']}`",
                f"{each['best']['learning_rate']:.3g}",
                f"{each['best']['score']:.1f}",
                f"{each['best_at_any_step']:.1f}",
            )
            for name, each in targets.items()
        ),
    )
    budgets = ", ".join(sorted({f"{int(share * each['steps']):,}" for each in targets.values()}))
    studies = figures["studies"]
    yield from ("", f"{studies} studies a row, with at most {share:.0%} of the grid's steps ({budgets}):", "")
    every = {"the whole grid, each recipe once": figures["exhaustive_grid_once"], **figures["variants"]}
    yield from _table(_columns(""), _cells(every))
    reported = ", ".join(f"`{each}`" for each in figures["reported_on"])
    yield from (
        "",
        f"Chosen on {', '.join(f'`{each}`' for each in figures['chosen_on'])}: *{figures['chosen']}*. "
        + (f"The rows of {reported} had no part in it." if reported else _UNSEEN),
        "",
        _verdict(figures),
        "",
        "By workers:",
        "",
    )
    wide = {
        f"{name}; {workers}": each
        for name, by_workers in figures["with_workers"].items()
        for workers, each in by_workers.items()
    }
    yield from _table(_columns("; workers"), _cells(wide))
    yield from ("", f"With {share:.0%} of the steps of one seed's grid:", "")
    yield from _table(_columns(""), _cells(figures["with_one_seeds_share"]))
    yield ""


_UNSEEN: Final = "No other target is whole yet, so nothing here says how well that choice carries over."


def _verdict(figures: Mapping[str, Any]) -> str:
    """Return whether the goal is reached, in a sentence."""
    on = figures["reported_on"] or figures["chosen_on"]
    chosen = figures["variants"][figures["chosen"]]
    shares = ", ".join(f"{chosen[target]['within']:.0%} of studies on `{target}`" for target in on)
    goal = (
        f"The goal is to come within one point in at least {GOAL:.0%} of studies on targets that had no part."
    )
    came = f"the chosen variant comes within one point in {shares}"
    if not figures["reported_on"]:
        return f"{goal} That is not shown yet: {came}, on which it was chosen."
    reached = all(chosen[target]["within"] >= GOAL for target in on)
    return f"{goal} It is {'reached' if reached else 'not reached'}: {came}."


def _columns(what: str) -> tuple[str, ...]:
    return (
        f"variant{what}",
        "target",
        "within one point",
        "mean regret",
        "19 in 20 below",
        "steps used",
        "trials",
        "seconds",
    )


def _cells(rows: _Rows) -> Iterator[tuple[object, ...]]:
    for name, by_target in rows.items():
        for target, each in by_target.items():
            yield (
                name,
                target,
                f"{each['within']:.0%} ± {each['within_stderr']:.0%}",
                f"{each['mean_regret']:.2f}",
                f"{each['regret_of_19_in_20']:.2f}",
                f"{each['share_of_steps']:.1%}",
                f"{each['mean_trials']:.0f}",
                f"{each['median_seconds']:.0f}",
            )


def _table(columns: Iterable[object], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    names = [str(column) for column in columns]
    for row in (names, ["---"] * len(names), *rows):
        yield f"| {' | '.join(map(str, row))} |"


def main() -> None:
    """Write the tables into the page."""
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page_with_tables(page, figures), encoding="utf-8")


if __name__ == "__main__":
    main()
