"""StudyRecord: everything that a study measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from search.config import StudyConfig
from search.data.leakage import Leak
from search.decision.evidence import Finalist
from search.objective import Objective
from search.results import PointResult, TrialResult
from trainables.data.bad_samples import BadSample
from trainables.scoring.evaluation import Evaluation

if TYPE_CHECKING:
    from trainables.workers.jobs import TaskData


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What models answered to every sample of the search splits.

    Attributes:
        models: Name of a model, `base`, `selected` or that of a finalist's folder, such as `trial_3` -> task
            -> its evaluation, with predictions.
        seconds: Wall-clock time of these evaluations.
        warnings: What is missing or differs from what was measured before, one line each.
    """

    models: Mapping[str, Mapping[str, Evaluation]]
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """Everything that a study measured: what selection and the report read.

    Attributes:
        config: The study, resolved.
        objective: What it maximised, with the base's values.
        base: Task -> the untouched model's evaluation on the search split.
        trials: The trials in the order in which they were started.
        seconds: Wall-clock time of the search, from the first trial's start to the last one's end.
        versions: Package -> version, and `git_commit` where known.
        points: What was evaluated without training, in the order in which it was planned.
        points_seconds: Wall-clock time of that.
        leaks: Training samples that were left out, since they are also, or nearly, scored ones.
        bad: Samples that were left out, since they can't be used.
        predictions: What the base and the selected recipe answered.
        tasks: The targets and held-out tasks, with their samples; empty where a finished study is read back
            without them.
        model_fingerprint: Content hash of the base model.
        architecture: Class of the base model, as its configuration names it; empty where it names none.
        data_fingerprints: `<task>/<split>` -> content hash.
        confirm_base: Task -> the untouched model's evaluation on the confirm split; empty without finalists.
        finalists: What was trained again on new seeds, in the order of their search scores.
        finalists_left_out: Keys of the candidates that would have been, had `finalists.budget` sufficed.
        finalists_seconds: Wall-clock time of that.
        retraining: Last metrics of each training of a finalist; finalists share some.
        run_id: The study's parent run in MLflow; empty where it was not recorded.
        finished: Whether the study reached its end; otherwise only what has ended so far is here.
    """

    config: StudyConfig
    objective: Objective
    base: Mapping[str, Evaluation]
    trials: tuple[TrialResult, ...]
    seconds: float
    versions: Mapping[str, str]
    points: tuple[PointResult, ...] = ()
    points_seconds: float = 0.0
    leaks: tuple[Leak, ...] = ()
    bad: tuple[BadSample, ...] = ()
    predictions: Predictions = field(default_factory=lambda: Predictions(models={}))
    tasks: tuple[TaskData, ...] = ()
    model_fingerprint: str = ""
    architecture: str = ""
    data_fingerprints: Mapping[str, str] = field(default_factory=dict)
    confirm_base: Mapping[str, Evaluation] = field(default_factory=dict)
    finalists: tuple[Finalist, ...] = ()
    finalists_left_out: tuple[str, ...] = ()
    finalists_seconds: float = 0.0
    retraining: tuple[Mapping[str, float], ...] = ()
    run_id: str = ""
    finished: bool = True
