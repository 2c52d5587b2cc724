"""RecipeSampler: Optuna's samplers under Tune, told the truth about every trial."""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from ray.tune.search.optuna import OptunaSearch

from search.sampling.aims import AimName, aims_of
from search.sampling.optuna_samplers import optuna_sampler
from search.settings.search_config import SamplerName
from spaces.space import RecipeSpace

_PRESET = "preset"
_CONSTRAINT = "max_forgetting"


class RecipeSampler(OptunaSearch):
    """OptunaSearch that tells COMPLETE, PRUNED and FAIL apart, and knows the forgetting constraint.

    Tune's own searcher tells every stopped trial as COMPLETE with its early value, and leaves a trial
    without a score RUNNING for ever. With several objectives Optuna keeps no value of a rung or of a pruned
    trial: what rungs reached is then in the trial's user attributes `rung 25` and so on, and PRUNED is told
    without values. TPE counts such a trial among the bad ones, NSGA breeds from none of them.

    Args:
        space: The recipes to choose from.
        presets: Preset name -> parameter values, tried first; they count as start-up trials.
        violation: Held-out forgetting in points -> how far it exceeds its bound; at most 0 is feasible.
        storage: Where the Optuna study lies; see `search.stores.optuna_store`.
        study_name: Name of the Optuna study; one that is there already goes on.
        seed: Seed of the sampler.
        startup_trials: Fewest trials, presets included, before the sampler takes over from chance; of NSGA a
            generation.
        objectives: What the search improves; with several of them the study seeks their front.
        sampler: Who proposes.
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
        objectives: Sequence[AimName] = ("score",),
        sampler: SamplerName = "tpe",
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._names, self._aims = tuple(objectives), aims_of(objectives)
        keys, modes = [aim.key for aim in self._aims], [aim.mode for aim in self._aims]
        several = len(self._aims) > 1
        super().__init__(
            space=space.suggest,
            metric=keys if several else keys[0],
            mode=list(modes) if several else modes[0],
            sampler=optuna_sampler(sampler, seed=seed, startup_trials=startup_trials, queued=len(presets)),
            study_name=study_name,
            storage=storage,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._ot_study.set_metric_names(list(objectives))
        self._violation = violation
        for name, params in presets.items():
            self._ot_study.enqueue_trial(dict(params), user_attrs={_PRESET: name}, skip_if_exists=True)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next trial's parameter values, with the name of the preset that queued it or None."""
        params = super().suggest(trial_id)
        if params is None:
            return None
        return {**params, _PRESET: self._ot_trials[trial_id].user_attrs.get(_PRESET)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Report what a rung reached at its optimiser step."""
        trial, values = self._ot_trials[trial_id], self._values(result)
        if len(values) == 1:
            trial.report(values[0], result["step"])
        else:
            trial.set_user_attr(f"rung {result['step']}", dict(zip(self._names, values, strict=True)))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell Optuna how the trial ended.

        Only a trial trained to its end is COMPLETE; one that was stopped is PRUNED at its last rung; one
        with an error, or for which an objective is missing or not finite, has FAILED.
        """
        if trial_id in self._completed_trials:
            return
        self._completed_trials.add(trial_id)
        trial = self._ot_trials[trial_id]
        values = [] if error or not result else self._values(result)
        if not result or not values or not all(map(math.isfinite, values)):
            self._ot_study.tell(trial, state=TrialState.FAIL)
            return
        trial.set_constraint(_CONSTRAINT, self._violation(result["held_out_forgetting"]))
        if result["progress"] == 1:
            self._ot_study.tell(trial, values, state=TrialState.COMPLETE)
        else:
            # A stop's own rung never passes through `on_trial_result`.
            self.on_trial_result(trial_id, result)
            self._ot_study.tell(trial, state=TrialState.PRUNED)

    def _values(self, result: Mapping[str, Any]) -> list[float]:
        return [aim.value(result) for aim in self._aims]

    def save(self, checkpoint_path: str) -> None:
        """Save which Optuna trial each of Tune's is; all else lies in the storage.

        Tune's searcher would save itself whole: with the storage, the password of its address.
        """
        known = {trial_id: trial._trial_id for trial_id, trial in self._ot_trials.items()}
        with open(checkpoint_path, "wb") as file:
            pickle.dump((known, self._completed_trials), file)

    def restore(self, checkpoint_path: str) -> None:
        """Go on with the trials of a sampler that was saved, in the same study."""
        with open(checkpoint_path, "rb") as file:
            known, self._completed_trials = pickle.load(file)
        self._ot_trials = {
            trial_id: optuna.trial.Trial(self._ot_study, number) for trial_id, number in known.items()
        }
