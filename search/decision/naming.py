"""What a candidate is called in a sentence."""

from __future__ import annotations

from search.decision.candidates import Candidate
from search.labels import approach_label
from search.wording import counted, rate
from spaces.points import Identity, Interpolation, Point, Pruning, Soup


def candidate_name(candidate: Candidate) -> str:
    """Name a candidate, such as `trial 3 (gate_up at learning rate 0.001), with 10 % of ... kept`."""
    recipe = candidate.trial.recipe
    how = f"{approach_label(recipe)} at learning rate {recipe.learning_rate:.2g}"
    trial = f"trial {candidate.trial.number} ({how})"
    return trial if candidate.made is None else done_to(candidate.point, whose=trial)


def brief_name(candidate: Candidate) -> str:
    """Name a candidate in few words: `trial 3 (gate_up 3.1e-4)`, `point 5 (trial 3 alpha 0.9)`."""
    trial, made = candidate.trial, candidate.made
    if made is None:
        return f"{candidate.key} ({approach_label(trial.recipe)} {rate(trial.recipe.learning_rate)})"
    whose = "" if isinstance(made.point.transform, Soup) else f"trial {trial.number} "
    return f"{candidate.key} ({whose}{made.point.label})"


def candidate_subject(candidate: Candidate) -> str:
    """Name a candidate as the subject of a sentence, with the comma that its verb needs."""
    enclosed = candidate.made is not None and not isinstance(candidate.point.transform, Soup)
    return candidate_name(candidate) + ("," if enclosed else "")


def done_to(point: Point, *, whose: str) -> str:
    """Say in words what a point is: `trial 3, interpolated with the base at alpha 0.9`.

    Args:
        point: The point.
        whose: What its trial is called.
    """
    match point.transform:
        case Identity():
            return f"{whose}, as it was after {counted(point.step, 'step')}"
        case Interpolation(alpha):
            return f"{whose}, interpolated with the base at alpha {alpha:g}"
        case Pruning(keep):
            return f"{whose}, with {100 * keep:g} % of each tensor's changes kept"
        case Soup(members):
            *numbers, last = (str(member.trial) for member in members)
            return f"the mean of trials {', '.join(numbers)} and {last}" if numbers else f"trial {last}"
