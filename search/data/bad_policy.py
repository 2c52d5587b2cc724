"""What becomes of samples that can't be used: they stop the study, or are left out up to a share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from search.settings.study_file import InputError
from search.settings.task_config import DataConfig
from trainables.data.bad_samples import BadSample

_NAMED: Final = 3  # reasons that a message tells
SKIP_HINT: Final = "to leave out what can't be used: data.on_bad_sample=skip"


def check_bad(config: DataConfig, bad: Sequence[BadSample], sizes: Mapping[str, int]) -> None:
    """Refuse a study with too many bad samples, or with any where none is to be left out.

    Args:
        config: How the study treats its data.
        bad: The bad samples of all splits.
        sizes: `<task>/<split>` -> the samples that can be used.

    Raises:
        InputError: There is one too many.
    """
    if bad and config.on_bad_sample == "error":
        raise InputError(f"{bad[0].task}/{bad[0].split}: {told(bad[0])}; {SKIP_HINT}")
    over = []
    for split, found in by_split(bad).items():
        total = sizes.get(split, 0) + len(found)
        if len(found) > config.max_bad_share * total:
            over.append(f"{len(found)} of {total} samples of {split} can't be used: {first_told(found)}")
    if over:
        share = config.max_bad_share
        raise InputError(f"data.max_bad_share: {share:g} may be left out, and {'. '.join(over)}")


def by_split(bad: Iterable[BadSample]) -> dict[str, list[BadSample]]:
    """Return bad samples by `<task>/<split>`."""
    found: dict[str, list[BadSample]] = {}
    for sample in bad:
        found.setdefault(f"{sample.task}/{sample.split}", []).append(sample)
    return found


def first_told(bad: Sequence[BadSample]) -> str:
    """Return the first reasons of some bad samples in one line."""
    named = "; ".join(map(told, bad[:_NAMED]))
    return named + (f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else "")


def told(sample: BadSample) -> str:
    """Return file and row of a sample, and what is wrong with it."""
    return f"{sample.label}: {sample.reason}"
