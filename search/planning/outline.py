"""Outline: what is known of a study's model without its weights, on which memory and devices depend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.config import StudyConfig
from search.data.bad_policy import SKIP_HINT
from search.settings.study_file import InputError
from spaces.recipe import Recipe
from trainables.data.bad_samples import SampleError
from trainables.workers.jobs import TaskData

if TYPE_CHECKING:
    from torch import nn

    from trainables.cost.memory import Estimator
    from trainables.cost.sample_shape import SampleShape
    from trainables.manifest import TrainableManifest


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What is known of a study's model.

    Attributes:
        full: All the model's parameters.
        model_config: The model's configuration as plain values.
        ranges: `Recipe.variant` -> what it trains on this model in each layer range.
        manifests: Of these, for each variant, what takes most memory.
        sample: The largest sample that the model will meet.
        estimators: Kind of device (`cuda`, `cpu`) -> what a worker needs on it.
    """

    full: TrainableManifest
    model_config: Mapping[str, Any]
    ranges: Mapping[str, Sequence[TrainableManifest]]
    manifests: Mapping[str, TrainableManifest]
    sample: SampleShape
    estimators: Mapping[str, Estimator]

    @property
    def architecture(self) -> str:
        """The model's class, as its configuration names it; empty where it names none."""
        return (self.model_config.get("architectures") or [""])[0]


def outline_study(
    config: StudyConfig,
    tasks: tuple[TaskData, ...],
    *,
    guess: bool = False,
    recipes: Iterable[Recipe] | None = None,
) -> Outline:
    """Return what is known of a study's model; no weights are read.

    Args:
        config: The study.
        tasks: Its samples, those for replay included; some of them are encoded.
        guess: Whether the samples' lengths are guessed for a model without a processor.
        recipes: What will be trained; None is what its space holds.

    Raises:
        InputError: The model can't be read, its architecture is unknown, a subset matches nothing, a layer
            range goes beyond the layers, or the processor can't encode a sample.
    """
    from trainables.cost.memory import Estimator, Load
    from trainables.manifest import build_manifest

    skeleton, ranges = subset_manifests(config, recipes)
    sample = _largest_sample(config, tasks, guess)
    estimators: dict[str, Estimator] = {
        "cuda": Estimator(skeleton, sample, "cuda"),
        "cpu": Estimator(skeleton, sample, "cpu"),
    }
    load = Load(micro_batch=max(config.recipe_space().batch_size))

    def need(manifest: TrainableManifest) -> int:
        return estimators["cuda"].estimate(manifest, load).total

    return Outline(
        full=build_manifest(skeleton, "full"),
        model_config=skeleton.config.to_dict(),
        ranges=ranges,
        manifests={
            variant: found[0] if len(found) == 1 else max(found, key=need)
            for variant, found in ranges.items()
        },
        sample=sample,
        estimators=estimators,
    )


def subset_manifests(
    config: StudyConfig, recipes: Iterable[Recipe] | None = None
) -> tuple[nn.Module, dict[str, list[TrainableManifest]]]:
    """Return a study's model on the meta device, and what each variant trains on it in each layer range.

    Args:
        config: The study.
        recipes: What will be trained; None is what its space holds.

    Raises:
        InputError: The model can't be read, its architecture is unknown, a subset matches nothing, or a layer
            range goes beyond the layers.
    """
    import torch

    from trainables.model import load_skeleton
    from trainables.weights.trained import trained_manifest

    try:
        dtype = getattr(torch, config.model.dtype)
        skeleton = load_skeleton(
            config.model.path,
            dtype=dtype,
            roles=config.model.role_map,
            trust=config.model.trust_remote_code,
        )
        manifests: dict[str, list[TrainableManifest]] = {}
        for recipe in config.recipe_space().largest() if recipes is None else recipes:
            manifest = trained_manifest(skeleton, recipe)
            manifests.setdefault(recipe.variant, []).append(manifest)
        return skeleton, manifests
    except ValueError as error:
        raise InputError(str(error)) from None


def _largest_sample(config: StudyConfig, tasks: tuple[TaskData, ...], guess: bool) -> SampleShape:
    from trainables.collate import Encoder
    from trainables.cost.guessed_sample import guessed_sample
    from trainables.cost.sample_shape import largest_sample
    from trainables.model import ModelError, load_config

    try:
        skip_bad = config.data.on_bad_sample == "skip"
        encoder = Encoder.load(config.model.path, trust=config.model.trust_remote_code)
        return largest_sample(tasks, encoder, skip_bad=skip_bad)
    except ModelError as error:
        if guess:
            return guessed_sample(tasks, load_config(config.model.path, trust=config.model.trust_remote_code))
        raise InputError(str(error)) from None
    except SampleError as error:
        raise InputError(f"{error}; {SKIP_HINT}") from None
    except ValueError as error:
        raise InputError(str(error)) from None
