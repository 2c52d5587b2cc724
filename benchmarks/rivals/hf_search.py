"""`Trainer.hyperparameter_search` with Optuna: one trial after another in one process, weak ones pruned."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.pruners import SuccessiveHalvingPruner
from optuna.samplers import TPESampler
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from benchmarks.rivals.hf_trainer import (
    GenerateScorer,
    RecipeTrainer,
    Rungs,
    freeze_all_but,
    load_tokenizer,
    training_arguments,
)
from benchmarks.rivals.options import Options, parse
from benchmarks.rivals.problem import Problem
from benchmarks.rivals.trace import Reported, append, now


class Tracer(TrainerCallback):
    """Writes the trace at each evaluation.

    Args:
        file: The trace's file.
        number: The trial's number, subset and learning rate.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.trial = (-1, "", 0.0)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **_: Any,
    ) -> None:
        """Note an evaluation."""
        number, subset, learning_rate = self.trial
        append(
            self._file,
            Reported(
                at=now(),
                trial=number,
                subset=subset,
                learning_rate=learning_rate,
                step=state.global_step,
                score=metrics["eval_score"],
                started_at=metrics["eval_started_at"],
            ),
        )


def search(options: Options) -> None:
    """Run the search."""
    torch.set_num_threads(1)
    problem = Problem.load(options.study)
    scorer = GenerateScorer(problem, load_tokenizer(problem))
    scorer.measure_base(problem.base_model())
    tracer = Tracer(options.trace)

    def space(trial: optuna.Trial) -> dict[str, Any]:
        trial.suggest_categorical("subset", problem.subsets)
        return {"learning_rate": trial.suggest_float("learning_rate", *problem.bounds, log=True)}

    def model_of(trial: optuna.Trial | None) -> nn.Module:
        if trial is None:  # The Trainer asks for a model before the first trial.
            return problem.base_model()
        space(trial)  # The Trainer asks for a trial's model before it draws.
        subset, learning_rate = trial.params["subset"], trial.params["learning_rate"]
        tracer.trial = (trial.number, subset, learning_rate)
        return freeze_all_but(problem.base_model(), problem.recipe(subset, learning_rate))

    with tempfile.TemporaryDirectory() as folder:
        trainer = RecipeTrainer(
            problem,
            scorer,
            Rungs(problem.rungs, saves=False),
            model_init=model_of,
            args=training_arguments(problem, Path(folder), options.seed, problem.bounds[0]),
            processing_class=scorer.tokenizer,
            callbacks=[tracer],
        )
        trainer.hyperparameter_search(
            hp_space=space,
            compute_objective=lambda metrics: metrics["eval_score"],
            n_trials=options.trials,
            direction="maximize",
            backend="optuna",
            sampler=TPESampler(multivariate=True, seed=options.seed),
            pruner=SuccessiveHalvingPruner(
                min_resource=problem.rungs[0], reduction_factor=problem.reduction_factor
            ),
            timeout=options.limit,
        )


if __name__ == "__main__":
    search(parse(__doc__)[0])
