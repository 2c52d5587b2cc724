"""The table of docs/metrics.md is the registry's."""

from __future__ import annotations

import re
from pathlib import Path

from trainables.metrics import METRICS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_the_table_is_the_registry() -> None:
    rows = [line.strip("| ").split(" | ") for line in re.findall(r"^\| `.*$", PAGE, flags=re.MULTILINE)]
    told = {name.strip("`"): facts for name, _, *facts in rows}
    assert list(told) == list(METRICS)
    for name, metric in METRICS.items():
        options = (
            ", ".join(f"`{option}: {default:g}`" for option, default in metric.options.items()) or "none"
        )
        assert told[name] == [metric.measured.replace("_", " "), metric.direction, options, metric.source]


def test_every_metric_that_has_another_source_says_how_it_differs() -> None:
    differences = PAGE.split("## Where they differ")[1]
    named = set(re.findall(r"^- `(\w+)`:", differences, flags=re.MULTILINE))
    # lm-eval's `acc` and SQuAD's exact match are the same.
    assert named == METRICS.keys() - {"multiple_choice", "normalized_exact_match"}
