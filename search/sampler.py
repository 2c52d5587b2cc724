"""RecipeSampler: Optuna's TPE under Tune, told the truth about every trial."""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from ray.tune.search.optuna import OptunaSearch

from spaces.space import RecipeSpace

_PRESET = "preset"
_CONSTRAINT = "max_forgetting"


class RecipeSampler(OptunaSearch):
    """OptunaSearch that tells COMPLETE, PRUNED and FAIL apart, and knows the forgetting constraint.

    Tune's own searcher tells every stopped trial as COMPLETE with its early value, and leaves a trial
    without a score RUNNING for ever.

    Args:
        space: The recipes to choose from.
        presets: Preset name -> parameter values, tried first; they count as start-up trials.
        violation: Held-out forgetting in points -> how far it exceeds its bound; at most 0 is feasible.
        storage: Where the Optuna study lies; see `search.optuna_store`.
        study_name: Name of the Optuna study; one that is there already goes on.
        seed: Seed of the sampler.
        startup_trials: Fewest trials, presets included, before the model takes over from chance.
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
    ) -> None:
        with warnings.catch_warnings():
            # `group` is what conditional spaces need; Optuna marks it and `multivariate` as experimental.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                multivariate=True,
                group=True,
                constant_liar=True,
                seed=seed,
                n_startup_trials=max(len(presets), startup_trials),
            )
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        super().__init__(
            space=space.suggest,
            metric="score",
            mode="max",
            sampler=sampler,
            study_name=study_name,
            storage=storage,
        )
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
        """Report a rung's score at its optimiser step."""
        self._ot_trials[trial_id].report(result["score"], result["step"])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell Optuna how the trial ended.

        Only a trial trained to its end is COMPLETE; one that was stopped is PRUNED at its last rung; one
        with an error or without a finite score has FAILED.
        """
        if trial_id in self._completed_trials:
            return
        self._completed_trials.add(trial_id)
        trial = self._ot_trials[trial_id]
        score = math.nan if error or not result else float(result.get("score", math.nan))
        if not result or not math.isfinite(score):
            self._ot_study.tell(trial, state=TrialState.FAIL)
            return
        trial.set_constraint(_CONSTRAINT, self._violation(result["held_out_forgetting"]))
        if result["progress"] == 1:
            self._ot_study.tell(trial, score, state=TrialState.COMPLETE)
        else:
            # A stop's own rung never passes through `on_trial_result`.
            trial.report(score, result["step"])
            self._ot_study.tell(trial, state=TrialState.PRUNED)

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
