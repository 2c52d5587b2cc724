"""Evidence: what a candidate is worth beside the base, with intervals, and what finalist runs confirmed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from search.objective import Score
from search.results import Rung
from trainables.scoring.evaluation import Evaluation

Measure = Literal["score", "target_gain", "held_out_forgetting", "worst_forgetting"]
MEASURES: Final[tuple[Measure, ...]] = get_args(Measure)


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A value in points, with its bootstrap interval.

    Attributes:
        value: What was measured.
        low: Lower end of the interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimates:
    """What a tuned model is worth beside its base, from paired per-sample differences.

    Attributes:
        target_gain: Mean over targets of (tuned - base).
        held_out_forgetting: Mean over held-out tasks of (base - tuned).
        worst_forgetting: The largest of these drops.
        score: `target_gain` - weight x `held_out_forgetting`.
        changes: Task -> tuned - base.
    """

    target_gain: Estimate
    held_out_forgetting: Estimate
    worst_forgetting: Estimate
    score: Estimate
    changes: Mapping[str, Estimate]

    def of(self, measure: Measure) -> Estimate:
        """Return one of the measures."""
        estimate: Estimate = getattr(self, measure)
        return estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What the scores of each sample tell of the candidates; nothing where they are not known.

    Attributes:
        estimates: Key of a candidate -> what it is worth, with intervals.
        difference: By how much a measure of one candidate exceeds another's, on the same resamples, with the
            interval of some confidence; asked only for keys in `estimates`.
    """

    estimates: Mapping[str, Estimates] = field(default_factory=dict)
    difference: Callable[[str, str, Measure, float], Estimate] | None = None

    def tied(self, one: str, other: str, measure: Measure, confidence: float) -> bool:
        """Return whether the interval of two candidates' difference holds 0; False where it is not known."""
        if self.difference is None or one not in self.estimates or other not in self.estimates:
            return False
        found = self.difference(one, other, measure, confidence)
        return found.low <= 0 <= found.high


NO_EVIDENCE: Final = Evidence()


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalistRun:
    """A candidate's recipe trained again on a new seed, with the candidate's transform.

    Attributes:
        seed: The seed.
        rung: What it scored on the search split; None if the run failed.
        confirm: Task -> its evaluation on the confirm split; empty if it was not evaluated there.
        confirmed: Its score there, beside the base on the same split; None if it was not evaluated there.
        folder: Where its weights and evaluations lie, relative to the study's folder.
        error: Why it failed, one line; None unless it did.
    """

    seed: int
    rung: Rung | None
    confirm: Mapping[str, Evaluation]
    confirmed: Score | None
    folder: str
    error: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Finalist:
    """A candidate that was trained again.

    Attributes:
        candidate: Key of the candidate, such as `trial 3` or `point 5`; see `search.decision.candidates`.
        runs: Its runs, in the order of their seeds.
        estimates: What it is worth on the confirm split, over seeds and samples; None where no run got there.
        dropped: Whether the race ended before its last seed, since it was clearly behind.
    """

    candidate: str
    runs: tuple[FinalistRun, ...]
    estimates: Estimates | None = None
    dropped: bool = False

    @property
    def run(self) -> FinalistRun | None:
        """The run whose weights stand for it: the one with the highest score on the search split.

        What it scored on the confirm split decides nothing, so that those values stay unbiased. Runs that
        were not scored there count only where there are no others, and so do runs whose weights are gone.
        None where every run failed, and of a finalist that was dropped, whose weights are not written.
        """
        if self.dropped:
            return None
        measured = [
            ((run.confirmed is not None, run.rung.weights is not None, run.rung.score.score), run)
            for run in self.runs
            if run.rung is not None
        ]
        return max(measured, key=lambda pair: pair[0])[1] if measured else None
