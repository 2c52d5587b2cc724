"""Candidates: what may be selected, the complete trials and the points made from their weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from search.results import PointResult, Rung, TrialResult, TrialState
from spaces.points import Identity, Point
from trainables.scoring.evaluation import Evaluation, read_evaluations, rung_file

EVALUATIONS_FILE = "evaluations.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A complete trial, or a point that was measured.

    Attributes:
        trial: The trial; of a soup, its best member.
        made: The point made from its weights; None is the trial as it was trained.
    """

    trial: TrialResult
    made: PointResult | None = None

    @property
    def key(self) -> str:
        """What it is called in every record: `trial 3` or `point 5`, by its number."""
        return f"trial {self.trial.number}" if self.made is None else f"point {self.made.number}"

    @property
    def rung(self) -> Rung:
        """What was measured on the search split."""
        return self.trial.last if self.made is None else self.made.measured

    @property
    def point(self) -> Point:
        """What is made of the trial's weights; the identity where nothing is."""
        if self.made is not None:
            return self.made.point
        return Point(self.trial.number, self.trial.last.step, Identity())

    def evaluations(self, folder: Path) -> Mapping[str, Evaluation]:
        """Read what it scored on each sample of the search split.

        Args:
            folder: The study's folder.

        Raises:
            OSError: The file is missing.
            ValueError: The file is damaged.
        """
        return read_evaluations(self.evaluations_file(folder))

    def evaluations_file(self, folder: Path) -> Path:
        """Return where `evaluations` reads, in the study's folder."""
        if self.made is None or isinstance(self.made.point.transform, Identity):
            return folder / "trials" / self.trial.trial_id / rung_file(self.point.step)
        return folder / "points" / str(self.made.number) / EVALUATIONS_FILE


def trainings(found: Iterable[Candidate]) -> dict[str, frozenset[int]]:
    """Return key -> numbers of the trials that a candidate is made of: whose recipes are trained for it."""
    return {each.key: frozenset(member.trial for member in each.point.members) for each in found}


def candidates(trials: Sequence[TrialResult], points: Sequence[PointResult]) -> tuple[Candidate, ...]:
    """Return the complete trials and the measured points; pruned and failed ones are no candidates."""
    complete = [Candidate(trial=trial) for trial in trials if trial.state is TrialState.COMPLETE]
    made = [Candidate(trial=point.trial, made=point) for point in points if point.rung is not None]
    return (*complete, *made)
