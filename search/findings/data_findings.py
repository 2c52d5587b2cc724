"""What was found in a study's data: for the terminal, the report and MLflow."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from search.data.bad_policy import by_split, first_told
from search.data.leakage import Leak
from search.wording import counted
from trainables.data.bad_samples import BadSample

_LONGEST_TAG = 500
_LISTED = 100  # bad samples that the report lists; the others are in the table of their own


def data_lines(leaks: Iterable[Leak], warnings: Iterable[str], bad: Iterable[BadSample]) -> list[str]:
    """Return what a user should know of the data before anything is trained on them, one line each."""
    return [
        *(
            f"warning: left out, since bad: {counted(len(found), 'sample')} of {split}: {first_told(found)}"
            for split, found in by_split(bad).items()
        ),
        *(f"left out: {leak}" for leak in leaks),
        *(f"warning: {warning}" for warning in warnings),
    ]


def data_tags(leaks: Iterable[Leak], bad: Iterable[BadSample]) -> dict[str, str]:
    """Return MLflow tags of what was left out, such as `leaks/a/train in b/search` and `bad/a/train`."""
    tags = {f"leaks/{leak.train} in {leak.scored}": str(leak)[:_LONGEST_TAG] for leak in leaks}
    for split, found in by_split(bad).items():
        tags[f"bad/{split}"] = f"{counted(len(found), 'sample')}: {first_told(found)}"[:_LONGEST_TAG]
    return tags


def bad_csv(bad: Iterable[BadSample]) -> str:
    """Return the table of the samples that can't be used, one row each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("task", "split", "sample", "reason"))
    writer.writerows((each.task, each.split, each.label, each.reason) for each in bad)
    return text.getvalue()


def bad_rows(bad: Iterable[BadSample]) -> list[dict[str, object]]:
    """Return the report's splits with samples that can't be used: how many, and the first of them."""
    return [
        {
            "split": split,
            "samples": len(found),
            "listed": found[:_LISTED],
            "more": max(0, len(found) - _LISTED),
        }
        for split, found in by_split(bad).items()
    ]


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
