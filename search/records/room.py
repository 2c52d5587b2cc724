"""Room on storage: how much of it a study's weights may take, and which go first where it is short."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from search.config import StudyConfig
from search.decision.candidates import candidates
from search.decision.front import pareto_front
from search.planning.placement import Placement
from search.records.ended_weights import without_weights
from search.records.study_folder import StudyFolder
from search.results import TrialResult, TrialState
from search.settings.user_input import InputError
from search.wording import counted, human_bytes
from trainables.manifest import TrainableManifest
from trainables.pointer import TENSORS
from trainables.weights.rung_files import taken_at_most

_GIB: Final = 1024**3
_MOMENTS: Final = 8  # bytes an element: AdamW's two moments in fp32
_MASTERS: Final = 4  # the same of fp32 masters, in bfloat16


@dataclass(frozen=True, kw_only=True)
class Room:
    """What the weights of a study's ended trials may take, while other things run that need room, too.

    Attributes:
        while_searching: Bytes, while trials run; None is no bound.
        while_confirming: Bytes, while finalists are trained again; None is no bound.
    """

    while_searching: int | None = None
    while_confirming: int | None = None


def room_of(config: StudyConfig, placement: Placement, manifests: Iterable[TrainableManifest]) -> Room:
    """Return the room of a study.

    Args:
        config: The study.
        placement: What its trials take from the cluster.
        manifests: What its variants train.

    Raises:
        InputError: The study's bound is below what it takes in any case.
    """
    if config.selection.max_disk_gib is None:
        return Room()
    bound = round(config.selection.max_disk_gib * _GIB)
    largest = max(manifests, key=lambda manifest: manifest.count)
    state = largest.count * (_MOMENTS + (_MASTERS if config.model.dtype == "bfloat16" else 0))
    running = partial(taken_at_most, largest.bytes, state)
    kept_rungs = _kept_rungs(config)
    searching = placement.concurrency * running(len(config.rungs), keep_rungs=kept_rungs > 1)
    confirming = _copies(config) * largest.bytes
    if config.finalists is not None:
        confirming += placement.concurrency * running(kept_rungs, keep_rungs=True)
    least = max(searching, confirming) + _most_needed(config) * kept_rungs * largest.bytes
    if bound < least:
        raise InputError(
            f"selection.max_disk_gib: {config.selection.max_disk_gib:g} GiB are too little: "
            f"{counted(placement.concurrency, 'trial')} at a time, what points are made of and finalists "
            f"take up to {human_bytes(least)}"
        )
    return Room(while_searching=bound - searching, while_confirming=bound - confirming)


def make_room(
    folder: StudyFolder, trials: Sequence[TrialResult], needed: Collection[int], allowed: int | None
) -> tuple[TrialResult, ...]:
    """Delete trained parameters until what is left takes no more than is allowed.

    Trials that were stopped early go first, then those that are not among the best by gain and forgetting;
    those with the lowest scores before others.

    Args:
        folder: The study's folder.
        trials: The trials that have ended.
        needed: Numbers of those whose weights stay in any case.
        allowed: Bytes for the weights of all of them; None is no bound.

    Returns:
        The trials, without what was deleted.
    """
    if allowed is None:
        return tuple(trials)
    kept = {trial.number: trial for trial in trials}
    for trial in _least_first(trials, needed):
        if _used(folder, trials) <= allowed:
            break
        kept[trial.number] = without_weights(folder.root, trial)
    return tuple(kept.values())


def _least_first(trials: Sequence[TrialResult], needed: Collection[int]) -> list[TrialResult]:
    front = {each.trial.number for each in pareto_front(candidates(trials, ()))}
    open_to_it = [
        each for each in trials if each.state is not TrialState.FAILED and each.number not in needed
    ]
    return sorted(
        open_to_it,
        key=lambda each: (each.number in front, each.state is TrialState.COMPLETE, each.last.score.score),
    )


def _most_needed(config: StudyConfig) -> int:
    """Return the most trials whose weights points and the selection need at a time."""
    points = config.points
    return 1 if points is None else points.top + (points.soup or 0) + 1


def _kept_rungs(config: StudyConfig) -> int:
    """Return how many of a trial's rungs leave their weights."""
    return len(config.rungs) if config.points is not None and config.points.earlier_rungs else 1


def _copies(config: StudyConfig) -> int:
    """Return how often, at most, weights are written once the trials have ended."""
    points = config.most_points
    copies = 1 + (min(points, 1) if config.selection.keep_weights == "selected" else points)  # `selected/`
    if config.finalists is not None:
        kept_rungs, trained = _kept_rungs(config), config.finalists.most
        earlier = 0 if config.points is None else config.points.top * (kept_rungs - 1)
        # On each seed the rungs of what is trained again, and the weights of whatever is a finalist.
        copies += config.finalists.seeds * (trained * kept_rungs + trained + points + earlier)
    return copies


def _used(folder: StudyFolder, trials: Iterable[TrialResult]) -> int:
    """Return what the weights of trials that have ended take; all else has room of its own."""
    files = (path for trial in trials for path in (folder.trials / trial.trial_id).glob(TENSORS))
    return sum(path.stat().st_size for path in files)
