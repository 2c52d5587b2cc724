"""What no longer fits, since nodes were lost: for how long, and what a group's shape comes down to."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

from trainables.workers.capacity import Capacity
from trainables.workers.execution import GroupShape

_WAIT: Final = 30.0  # seconds for a lost node to be replaced where no autoscaler starts one


class Elastic:
    """Finds the largest group that fits the nodes that are there, when a planned one has not for a while.

    Args:
        min_workers: The fewest workers that a group may come down to; None leaves groups as they are planned.
        boot_seconds: How long nodes are waited for that an autoscaler may start.
    """

    def __init__(self, min_workers: int | None, boot_seconds: float) -> None:
        self._min_workers = min_workers
        self._boot_seconds = boot_seconds
        self._short_since: dict[GroupShape, float] = {}

    def fitting(self, shape: GroupShape, there: Capacity, now: float, *, expecting: bool) -> GroupShape:
        """Return what a group of a planned shape may be now: that shape, or one of fewer workers.

        Args:
            shape: The planned shape.
            there: The nodes that are there, all of them free.
            now: The time in seconds.
            expecting: Whether more nodes are to come.
        """
        if there.find(shape) is not None:
            self._short_since.pop(shape, None)
            return shape
        since = self._short_since.setdefault(shape, now)
        if self._min_workers is None or now - since < (self._boot_seconds if expecting else _WAIT):
            return shape
        smaller = (
            replace(shape, workers=workers) for workers in range(shape.workers - 1, self._min_workers - 1, -1)
        )
        return next((each for each in smaller if there.find(each) is not None), shape)

    def short(self, wanted: Collection[GroupShape], now: float) -> dict[GroupShape, float]:
        """Return for how many seconds the wanted shapes have not fitted; the others are forgotten."""
        self._short_since = {shape: at for shape, at in self._short_since.items() if shape in wanted}
        return {shape: now - since for shape, since in self._short_since.items()}
