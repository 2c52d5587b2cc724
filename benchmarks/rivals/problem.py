"""What every side is given: model, samples, recipes, base, score and budget; none of it depends on a side.

The samples are encoded once, by the project's encoder, so that all sides see the same tensors. What a side
does with them is its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from search.config import StudyConfig
from search.objective import Objective, Score
from search.settings.study_file import load_study
from spaces.recipe import Recipe
from trainables.collate import EncodedSample, Encoder
from trainables.data.samples import Sample
from trainables.data.tasks import EmbeddedTask
from trainables.manifest import build_manifest
from trainables.model import load_model

STUDY: Final = Path(__file__).parents[2] / "examples" / "quickstart.yaml"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A study's model, data, recipes and score, ready for another engine.

    Attributes:
        model: Path of the base model.
        targets: Tasks to learn.
        held_out: Tasks not to forget.
        subsets: The subsets to choose from.
        bounds: Lowest and highest learning rate.
        steps: Optimiser steps of a whole trial.
        rungs: Steps at which a trial is evaluated, the last one its end.
        reduction_factor: One in this many trials goes on at each rung.
        batch_size: Samples per optimiser step.
        eval_batch_size: Samples per batch of an evaluation.
        rung_samples: Samples per task at rungs before the last; the last one takes all.
        train: Encoded training samples of the targets.
        search: Task -> its encoded samples that trials are scored on.
        answers: Task -> the reference answers of these.
    """

    model: str
    targets: tuple[str, ...]
    held_out: tuple[str, ...]
    subsets: tuple[str, ...]
    bounds: tuple[float, float]
    steps: int
    rungs: tuple[int, ...]
    reduction_factor: int
    batch_size: int
    eval_batch_size: int
    rung_samples: int
    train: Sequence[EncodedSample]
    search: Mapping[str, Sequence[EncodedSample]]
    answers: Mapping[str, Sequence[str]]

    @classmethod
    def load(cls, study: Path = STUDY) -> Problem:
        """Return the problem of a study whose tasks are embedded ones."""
        config = load_study(study)
        assert config.search.pruning is not None
        encoder = Encoder.load(config.model.path)
        searched = {
            task: EmbeddedTask(name=task).load("search", config.evaluation.samples)
            for task in (*config.targets, *config.held_out)
        }
        train = [
            sample
            for task in config.targets
            for sample in EmbeddedTask(name=task).load("train", config.training.samples)
        ]
        space = config.recipe_space()
        assert config.evaluation.rung_samples is not None
        return cls(
            model=config.model.path,
            targets=config.targets,
            held_out=config.held_out,
            subsets=space.subsets,
            bounds=(space.learning_rate.low, space.learning_rate.high),
            steps=space.steps,
            rungs=config.rungs,
            reduction_factor=config.search.pruning.reduction_factor,
            batch_size=space.batch_size[0],
            eval_batch_size=config.evaluation.batch_size,
            rung_samples=config.evaluation.rung_samples,
            train=[encoder.encode(sample) for sample in train],
            search={task: [encoder.encode(each) for each in own] for task, own in searched.items()},
            answers={task: _answers(own) for task, own in searched.items()},
        )

    def recipe(self, subset: str, learning_rate: float) -> Recipe:
        """Return the recipe of a subset and a learning rate; everything else has the study's defaults."""
        return Recipe(
            subset=subset, learning_rate=learning_rate, steps=self.steps, batch_size=self.batch_size
        )

    def base_model(self) -> nn.Module:
        """Return the base, a plain `LlavaForConditionalGeneration` in fp32."""
        return load_model(self.model, dtype=torch.float32)

    def score(self, values: Mapping[str, float], base: Mapping[str, float]) -> Score:
        """Compare a tuned model's values with the base's on the same samples."""
        return Objective(base=base, targets=self.targets, held_out=self.held_out).score(values)


def trained_names(model: nn.Module, recipe: Recipe) -> frozenset[str]:
    """Return the names of the parameters that a recipe trains, as the project's manifest has them."""
    return frozenset(build_manifest(model, recipe.subset, recipe.layers).names)


def same_defaults(config: StudyConfig, recipe: Recipe) -> bool:
    """Return whether a recipe is what the study makes of its subset and learning rate."""
    params: dict[str, Any] = {"subset": recipe.subset, "learning_rate": recipe.learning_rate}
    return config.recipe_space().recipe(params) == recipe


def _answers(samples: Sequence[Sample]) -> tuple[str, ...]:
    assert all(sample.accepted == (sample.answer,) for sample in samples)
    return tuple(sample.answer for sample in samples)
