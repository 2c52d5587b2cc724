"""What was found in a study's data: for the terminal, the report and MLflow."""

from __future__ import annotations

from collections.abc import Iterable

from search.leakage import Leak

_LONGEST_TAG = 500


def data_lines(leaks: Iterable[Leak], warnings: Iterable[str]) -> list[str]:
    """Return what a user should know of the data before anything is trained on them, one line each."""
    return [*(f"left out: {leak}" for leak in leaks), *(f"warning: {warning}" for warning in warnings)]


def leak_tags(leaks: Iterable[Leak]) -> dict[str, str]:
    """Return MLflow tags of the training samples that were left out, such as `leaks/a/train in b/search`."""
    return {f"leaks/{leak.train} in {leak.scored}": str(leak)[:_LONGEST_TAG] for leak in leaks}


def leak_rows(leaks: Iterable[Leak]) -> list[dict[str, object]]:
    """Return the rows of the report's table of training samples that were left out."""
    return [
        {
            "train": leak.train,
            "scored": leak.scored,
            "samples": leak.samples,
            "exact": leak.exact,
            "near": leak.samples - leak.exact,
            "first": "; ".join(f"{one} is {other}" for one, other in leak.examples),
        }
        for leak in leaks
    ]
