"""StudyProgress: what a running study is doing, live on a terminal, one line an event elsewhere."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search import wording
from search.labels import recipe_label
from search.objective import Score
from search.results import TrialResult, TrialState
from spaces.recipe import Recipe

_STYLES = {TrialState.COMPLETE: "green", TrialState.PRUNED: "yellow", TrialState.FAILED: "bold red"}
_SHOWN_RUNNING = 8


@dataclass
class _Running:
    """A trial under way; `step` and `score` are those of its last rung."""

    recipe: Recipe
    preset: str | None
    since: float
    step: int = 0
    score: Score | None = None


class StudyProgress:
    """Shows how far a study is; a context manager.

    The methods are called from the driver's thread; the live display redraws from a thread of its own.

    Args:
        total_trials: Trials that the study will run.
        console: Where to write; the standard output by default.
        max_forgetting: Bound on held-out forgetting in points; a trial above it is never shown as the best.
        clock: Seconds from a monotonic clock.
    """

    def __init__(
        self,
        total_trials: int,
        console: Console | None = None,
        *,
        max_forgetting: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total_trials
        self._console = console or Console()
        self._max_forgetting = max_forgetting
        self._clock = clock
        self._lock = threading.RLock()
        self._live: Live | None = None
        self._stopped = False
        self._began = clock()
        self._running: dict[int, _Running] = {}
        self._ended: Counter[TrialState] = Counter()
        self._timed = 0  # trials that ended well, and the seconds that they took together
        self._timed_seconds = 0.0
        self._most_running = 1
        self._best: TrialResult | None = None

    def __enter__(self) -> StudyProgress:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the clock and, on a terminal, the live display."""
        self._began = self._clock()
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                console=self._console, get_renderable=self._render, refresh_per_second=2, transient=True
            )
            self._live.start()
        else:
            left = wording.counted(self._total - self._done, "trial")
            self._print(Text(f"{left} to run" + (f", {self._done} done before" if self._done else "")))

    def trial_started(self, number: int, recipe: Recipe, preset: str | None, step: int = 0) -> None:
        """A trial began to run, or goes on from a step."""
        with self._lock:
            self._running[number] = _Running(recipe, preset, self._clock(), step)
            self._most_running = max(self._most_running, len(self._running))
        if self._live is None:
            origin = f"  (preset {preset})" if preset else ""
            what = f"goes on from step {step}" if step else "started"
            self._print(Text(f"trial {number}  {recipe_label(recipe)}  {what}{origin}"))

    def trial_lost(self, number: int, reason: str) -> None:
        """A trial was lost with its process, and will be taken up again."""
        self._print(Text(f"trial {number}  lost, and will be taken up again: {reason}"))

    def taken_up(self, ended: Iterable[TrialResult]) -> None:
        """Count what earlier drivers of the study have done; call before `start`."""
        for result in ended:
            self._count(result)

    def trial_rung(self, number: int, step: int, score: Score) -> None:
        """A trial was evaluated after `step` optimiser steps."""
        with self._lock:
            running = self._running.get(number)
            if running is not None:
                running.step, running.score = step, score
        if self._live is None:
            recipe = f"{recipe_label(running.recipe)}  " if running else ""
            self._print(Text(f"trial {number}  {recipe}step {step}  {score_text(score)}"))

    def trial_ended(self, result: TrialResult) -> None:
        """A trial ended: complete, pruned or failed."""
        with self._lock:
            self._running.pop(result.number, None)
            self._count(result)
        self._print(self._ending(result))

    def stop(self) -> None:
        """End the display and leave one line that sums it up; does nothing the second time."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        if not self._stopped:
            self._stopped = True
            self._print(Text(self._summary()))

    def time_left(self) -> float | None:
        """Estimate the seconds until the last trial ends; None while no trial has ended.

        Every trial still to come is taken to last as long as the mean of those that ended, and as many to
        run side by side as ever did.
        """
        with self._lock:
            if not self._timed:
                return None
            usual = self._timed_seconds / self._timed
            now = self._clock()
            open_work = [max(usual - (now - trial.since), 0.0) for trial in self._running.values()]
            waiting = max(self._total - self._done - len(self._running), 0)
            shared = (math.fsum(open_work) + waiting * usual) / self._most_running
            return max([shared, *open_work])

    @property
    def _done(self) -> int:
        return self._ended.total()

    def _count(self, result: TrialResult) -> None:
        self._ended[result.state] += 1
        if result.state is not TrialState.FAILED and math.isfinite(result.seconds):
            self._timed += 1
            self._timed_seconds += result.seconds
        if self._is_best(result):
            self._best = result

    def _is_best(self, result: TrialResult) -> bool:
        if result.state is not TrialState.COMPLETE:
            return False
        score = result.last.score
        if self._max_forgetting is not None and score.held_out_forgetting > self._max_forgetting:
            return False
        return self._best is None or score.score > self._best.last.score.score

    def _print(self, line: Text) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)

    def _ending(self, result: TrialResult) -> Text:
        line = Text(f"trial {result.number}  {recipe_label(result.recipe)}  ")
        line.append(result.state.value, style=_STYLES[result.state])
        if result.state is TrialState.FAILED:
            line.append(f"  {result.error}")
        else:
            at = f" at step {result.last.step}" if result.state is TrialState.PRUNED else ""
            line.append(f"{at}  {score_text(result.last.score)}")
        if self._live is None:
            line.append(f"  {self._done}/{self._total} done{self._left()}")
        return line

    def _left(self) -> str:
        left = self.time_left()
        if left is None or self._done >= self._total:
            return ""
        return f", about {wording.duration(left)} left"

    def _counts(self) -> str:
        pruned, failed = self._ended[TrialState.PRUNED], self._ended[TrialState.FAILED]
        return f"{self._ended[TrialState.COMPLETE]} complete, {pruned} pruned, {failed} failed"

    def _best_text(self) -> str:
        if self._best is None:
            return "best: none yet"
        best = self._best
        return f"best: trial {best.number}  {recipe_label(best.recipe)}  {score_text(best.last.score)}"

    def _summary(self) -> str:
        elapsed = wording.duration(self._clock() - self._began)
        head = f"{self._done} of {wording.counted(self._total, 'trial')} in {elapsed}: {self._counts()}"
        return head if self._best is None else f"{head}; {self._best_text()}"

    def _render(self) -> Group:
        with self._lock:
            elapsed = wording.duration(self._clock() - self._began)
            bar = Table.grid(padding=(0, 1))
            bar.add_row(
                Text("trials", style="bold"),
                ProgressBar(total=max(self._total, 1), completed=self._done, width=30, complete_style="cyan"),
                Text(f"{self._done}/{self._total}", style="bold"),
                Text(f"{elapsed}{self._left()}", style="cyan"),
            )
            counts = Text(f"{len(self._running)} running, {self._counts()}")
            best = Text(self._best_text(), style="green" if self._best else "dim")
            return Group(bar, counts, best, self._running_table())

    def _running_table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for number, trial in sorted(self._running.items())[:_SHOWN_RUNNING]:
            since = wording.duration(self._clock() - trial.since)
            table.add_row(
                Text(f"  trial {number}", style="dim"),
                Text(recipe_label(trial.recipe)),
                Text(f"step {trial.step}/{trial.recipe.steps}"),
                Text("" if trial.score is None else score_text(trial.score)),
                Text(since, style="dim"),
                Text(trial.preset or "", style="dim"),
            )
        hidden = len(self._running) - _SHOWN_RUNNING
        if hidden > 0:
            table.add_row(Text(f"  and {hidden} more", style="dim"))
        return table


def score_text(score: Score) -> str:
    """Write a score with its parts."""
    gain, forgetting = wording.points(score.target_gain), wording.points(score.held_out_forgetting)
    return f"score {wording.points(score.score)}  (gain {gain}, forgetting {forgetting})"
