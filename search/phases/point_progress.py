"""PointProgress: how far the evaluation of points is, and what each of them scored."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console

from search import wording
from search.labels import recipe_label
from search.phases.counting_bar import counting_bar, write_line
from search.phases.progress import score_text
from search.results import PointResult
from spaces.points import Soup


class PointProgress:
    """Shows each point as it is evaluated; a context manager.

    Args:
        total: Points to evaluate.
        console: Where to write.
        clock: Seconds from a monotonic clock.
    """

    def __init__(self, total: int, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._console = console
        self._clock = clock
        self._began = clock()
        self._ended: list[PointResult] = []
        self._bar = counting_bar("points without retraining", console)
        self._task = self._bar.add_task("points", total=total)

    def __enter__(self) -> PointProgress:
        write_line(self._console, f"{wording.counted(self._total, 'point')} to evaluate without retraining")
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if kind is None:
            write_line(self._console, self._summary())

    def point_ended(self, result: PointResult) -> None:
        """A point was evaluated, or failed."""
        self._ended.append(result)
        self._bar.advance(self._task)
        write_line(
            self._console, f"{point_text(result)}  {_outcome(result)}  {len(self._ended)}/{self._total} done"
        )

    def _summary(self) -> str:
        head = f"{wording.counted(self._total, 'point')} in {wording.duration(self._clock() - self._began)}"
        best = max(
            (result for result in self._ended if result.rung is not None),
            key=lambda result: result.measured.score.score,
            default=None,
        )
        return head if best is None else f"{head}; best: {point_text(best)}  {_outcome(best)}"


def point_text(result: PointResult) -> str:
    """Name a point: `trial 3  gate_up lr 3.1e-4  alpha 0.9`."""
    if isinstance(result.point.transform, Soup):
        numbers = ", ".join(str(member.trial) for member in result.point.members)
        return f"trials {numbers}  {result.point.label}"
    return f"trial {result.trial.number}  {recipe_label(result.trial.recipe)}  {result.point.label}"


def _outcome(result: PointResult) -> str:
    return f"FAILED  {result.error}" if result.rung is None else score_text(result.rung.score)
