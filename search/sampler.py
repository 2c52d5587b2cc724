"""RecipeSampler: Optuna's samplers under Tune, told the truth about every trial."""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import Trial, TrialState
from ray.tune.search.optuna import OptunaSearch

from search.records.open_trials import OpenTrial, trial_id_of
from search.results import Rung, TrialResult
from search.results import TrialState as Ended
from search.sampling.aims import AimName, aims_of, as_result
from search.sampling.optuna_samplers import optuna_sampler
from search.settings.search_config import SamplerName
from spaces.space import RecipeSpace

_PRESET = "preset"
_CONSTRAINT = "max_forgetting"


class RecipeSampler(OptunaSearch):
    """The study's queue of trials: OptunaSearch that knows a study's own trials, whatever became of Tune's.

    Tune's own searcher tells every stopped trial as COMPLETE with its early value, and leaves a trial
    without a score RUNNING for ever. This one tells COMPLETE, PRUNED and FAIL apart, and knows the forgetting
    constraint. With several objectives Optuna keeps no value of a rung or of a pruned trial: what rungs
    reached is then in the trial's user attributes `rung 25` and so on, and PRUNED is told without values. TPE
    counts such a trial among the bad ones, NSGA breeds from none of them.

    A trial is handed out until it has ended: one that was lost with its process, or with an earlier driver,
    goes on from its last checkpoint under another of Tune's trials. What a trial draws depends on the seed,
    its number and what had ended before, so that a study of one trial at a time is the same however often
    its driver dies. (Only where it dies between two values of a trial are those that are missing drawn anew.)

    Args:
        space: The recipes to choose from.
        presets: Preset name -> parameter values, tried first; they count as start-up trials.
        violation: Held-out forgetting in points -> how far it exceeds its bound; at most 0 is feasible.
        storage: Where the Optuna study lies; see `search.stores.optuna_store`.
        study_name: Name of the Optuna study; one that is there already goes on.
        seed: Seed of the sampler.
        startup_trials: Fewest trials, presets included, before the sampler takes over from chance; of NSGA a
            generation.
        trials: Trials that the study plans; afterwards none is handed out.
        objectives: What the search improves; with several of them the study seeks their front.
        sampler: Who proposes.
        ended: The trials that have ended so far, as the study's folder holds them.
        left_off: The trials that have begun and have not ended, by number.
    """

    def __init__(
        self,
        space: RecipeSpace,
        *,
        presets: Mapping[str, Mapping[str, Any]],
        violation: Callable[[float], float],
        storage: BaseStorage,
        study_name: str,
        seed: int,
        startup_trials: int,
        trials: int,
        objectives: Sequence[AimName] = ("score",),
        sampler: SamplerName = "tpe",
        ended: Iterable[TrialResult] = (),
        left_off: Mapping[int, OpenTrial] | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._names, self._aims = tuple(objectives), aims_of(objectives)
        keys, modes = [aim.key for aim in self._aims], [aim.mode for aim in self._aims]
        several = len(self._aims) > 1
        self._seeded = partial(_seeded, sampler, seed, startup_trials, len(presets))
        super().__init__(
            space=space.suggest,
            metric=keys if several else keys[0],
            mode=list(modes) if several else modes[0],
            sampler=self._seeded(0),
            study_name=study_name,
            storage=storage,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._ot_study.set_metric_names(list(objectives))
        self._violation = violation
        self._trials = trials
        for name, params in presets.items():
            self._ot_study.enqueue_trial(dict(params), user_attrs={_PRESET: name}, skip_if_exists=True)
        self._begun = 0
        self._ended: set[int] = set()  # numbers
        self._closed: set[int] = set()  # numbers of those that Optuna takes nothing more of
        self._checkpoints: dict[int, Sequence[Mapping[str, Any]]] = {}
        self._again: deque[tuple[int, int]] = deque()  # number, and Optuna's id
        self._take_up({trial.number: trial for trial in ended}, left_off or {})

    def _take_up(self, ended: Mapping[int, TrialResult], left_off: Mapping[int, OpenTrial]) -> None:
        """Agree with Optuna on what has ended; what has not is handed out again, first of all."""
        for known in self._ot_study.get_trials(deepcopy=False):
            if known.state is TrialState.WAITING:
                continue
            self._begun += 1
            number = known.number
            if known.state.is_finished():
                self._closed.add(number)
            if number not in ended:
                self._again.append((number, known._trial_id))
                self._checkpoints[number] = left_off[number].checkpoints if number in left_off else []
                continue
            self._ended.add(number)
            # The driver died between writing how the trial ended and telling it.
            last = None if ended[number].state is Ended.FAILED else as_result(ended[number].last)
            self._tell(Trial(self._ot_study, known._trial_id), last)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next trial: its parameter values, and what it is to the study.

        Beside the values there are `trial_id`, `number`, the name of the `preset` that queued it or None, and
        `checkpoints`: the pointers to go on from, newest first.

        Returns:
            The trial, None where there may be one later, or `FINISHED`.
        """
        if len(self._ended) >= self._trials:
            return self.FINISHED
        if self._again:
            number, optuna_id = self._again.popleft()
            self._ot_study.sampler = self._seeded(number)
            trial = Trial(self._ot_study, optuna_id)
        elif self._begun < self._trials:
            self._ot_study.sampler = self._seeded(self._begun)
            trial = self._ot_study.ask()
            self._begun += 1
        else:
            return None
        self._ot_trials[trial_id] = trial
        return {
            **super().suggest(trial_id),
            _PRESET: trial.user_attrs.get(_PRESET),
            "trial_id": trial_id_of(trial.number),
            "number": trial.number,
            "checkpoints": [dict(each) for each in self._checkpoints.pop(trial.number, ())],
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Report what a rung reached at its optimiser step."""
        self._report(self._ot_trials[trial_id], result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell Optuna how the trial ended.

        Only a trial trained to its end is COMPLETE; one that was stopped is PRUNED at its last rung; one for
        which an objective is missing or not finite has FAILED. With an error nothing is told: whether the
        trial has failed by itself (`give_up`) or was only lost (`take_up`) is not known here.
        """
        if not error:
            self._tell(self._ot_trials[trial_id], result)

    def give_up(self, trial_id: str) -> None:
        """Tell Optuna that a trial of Tune's has FAILED by itself."""
        self._tell(self._ot_trials[trial_id], None)

    def end(self, trial_id: str, last: Rung) -> None:
        """Tell Optuna that a trial of Tune's ended at a rung, whatever Tune made of it."""
        self._tell(self._ot_trials[trial_id], as_result(last))

    def take_up(self, trial_id: str, checkpoints: Sequence[Mapping[str, Any]]) -> None:
        """Hand a trial out again that was lost, to go on from its checkpoints, newest first."""
        trial = self._ot_trials[trial_id]
        self._checkpoints[trial.number] = checkpoints
        self._again.append((trial.number, trial._trial_id))

    def _report(self, trial: Trial, result: Mapping[str, Any]) -> None:
        if trial.number in self._closed:
            return
        values = self._values(result)
        if len(values) == 1:
            with warnings.catch_warnings():
                # A trial that goes on from an earlier checkpoint may report a rung again.
                warnings.simplefilter("ignore", UserWarning)
                trial.report(values[0], result["step"])
        else:
            trial.set_user_attr(f"rung {result['step']}", dict(zip(self._names, values, strict=True)))

    def _tell(self, trial: Trial, result: Mapping[str, Any] | None) -> None:
        self._ended.add(trial.number)
        if trial.number in self._closed:
            return
        values = self._values(result) if result else []
        if not result or not all(map(math.isfinite, values)):
            self._ot_study.tell(trial, state=TrialState.FAIL)
        else:
            trial.set_constraint(_CONSTRAINT, self._violation(result["held_out_forgetting"]))
            if result["progress"] == 1:
                self._ot_study.tell(trial, values, state=TrialState.COMPLETE)
            else:
                # A stop's own rung never passes through `on_trial_result`.
                self._report(trial, result)
                self._ot_study.tell(trial, state=TrialState.PRUNED)
        self._closed.add(trial.number)

    def _values(self, result: Mapping[str, Any]) -> list[float]:
        return [aim.value(result) for aim in self._aims]

    def save(self, checkpoint_path: str) -> None:
        """Save nothing where Tune asks for it: the study's folder and Optuna's storage hold it all."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: see `save`."""


def _seeded(name: SamplerName, seed: int, startup_trials: int, queued: int, number: int) -> BaseSampler:
    """Return the sampler of one trial; drawing with one generator for all would repeat after a restart."""
    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    return optuna_sampler(name, seed=own, startup_trials=startup_trials, queued=queued)
