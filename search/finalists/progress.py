"""FinalistProgress: who is trained again, what the runs score, and what is confirmed of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType

from rich.console import Console

from search import wording
from search.decision.candidates import Candidate
from search.decision.evidence import FinalistRun
from search.labels import recipe_label
from search.phases.counting_bar import counting_bar, write_line
from search.phases.point_progress import point_text
from search.phases.progress import score_text


class FinalistProgress:
    """Shows each run of a finalist as it ends; a context manager.

    Args:
        finalists: Who takes part.
        seeds: New seeds for each of them.
        console: Where to write.
        clock: Seconds from a monotonic clock.
    """

    def __init__(
        self,
        finalists: Iterable[Candidate],
        seeds: int,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._labels = {each.key: candidate_text(each) for each in finalists}
        self._seeds = seeds
        self._console = console
        self._clock = clock
        self._began = clock()
        self._runs = 0
        self._bar = counting_bar("finalists", console)
        # Each run is trained and scored, and later scored once more.
        self._task = self._bar.add_task("finalists", total=2 * len(self._labels) * seeds)

    def __enter__(self) -> FinalistProgress:
        number = wording.counted(len(self._labels), "finalist")
        write_line(self._console, f"{number} to train again on {wording.counted(self._seeds, 'new seed')}")
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if kind is None:
            elapsed = wording.duration(self._clock() - self._began)
            write_line(
                self._console,
                f"{wording.counted(len(self._labels), 'finalist')} in {elapsed}: {self._runs} runs",
            )

    def run_ended(self, candidate: str, run: FinalistRun) -> None:
        """A finalist was trained on a seed and scored on the search split, or failed."""
        self._runs += 1
        self._bar.advance(self._task)
        outcome = f"FAILED  {run.error}" if run.rung is None else score_text(run.rung.score)
        write_line(self._console, f"finalist {self._labels[candidate]}  seed {run.seed}  {outcome}")

    def dropped(self, candidate: str, first: str) -> None:
        """A finalist is clearly behind the first one."""
        write_line(
            self._console,
            f"finalist {self._labels[candidate]}  dropped: clearly behind {first} on the new seeds",
        )

    def confirmed(self, candidate: str, run: FinalistRun) -> None:
        """A finalist's run was scored on the confirm split, or could not be."""
        self._bar.advance(self._task)
        outcome = f"FAILED  {run.error}" if run.confirmed is None else score_text(run.confirmed)
        write_line(self._console, f"finalist {self._labels[candidate]}  seed {run.seed}  confirm: {outcome}")


def candidate_text(candidate: Candidate) -> str:
    """Name a candidate: `trial 3  gate_up lr 3.1e-4  alpha 0.9`."""
    if candidate.made is not None:
        return point_text(candidate.made)
    return f"trial {candidate.trial.number}  {recipe_label(candidate.trial.recipe)}"
