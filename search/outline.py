"""Outline: what is known of a study's model without its weights, on which memory and devices depend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search.config import StudyConfig
from search.study_file import InputError
from trainables.jobs import TaskData

if TYPE_CHECKING:
    from torch import nn

    from trainables.manifest import TrainableManifest
    from trainables.memory import Estimator
    from trainables.sample_shape import SampleShape


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What is known of a study's model.

    Attributes:
        manifests: Subset -> what it trains on this model.
        sample: The largest sample that the model will meet.
        estimators: Kind of device (`cuda`, `cpu`) -> what a worker needs on it.
    """

    manifests: Mapping[str, TrainableManifest]
    sample: SampleShape
    estimators: Mapping[str, Estimator]


def outline_study(config: StudyConfig, tasks: tuple[TaskData, ...], *, guess: bool = False) -> Outline:
    """Return what is known of a study's model; no weights are read.

    Args:
        config: The study.
        tasks: Its samples, some of which are encoded.
        guess: Whether the samples' lengths are guessed for a model without a processor.

    Raises:
        InputError: The model can't be read, its architecture is unknown, a subset matches nothing, or the
            processor can't encode a sample.
    """
    from trainables.memory import Estimator

    skeleton, manifests = subset_manifests(config)
    sample = _largest_sample(config, tasks, guess)
    return Outline(
        manifests=manifests,
        sample=sample,
        estimators={
            "cuda": Estimator(skeleton, sample, "cuda"),
            "cpu": Estimator(skeleton, sample, "cpu"),
        },
    )


def subset_manifests(config: StudyConfig) -> tuple[nn.Module, dict[str, TrainableManifest]]:
    """Return a study's model on the meta device, and what each subset trains on it.

    Raises:
        InputError: The model can't be read, its architecture is unknown, or a subset matches nothing.
    """
    import torch

    from trainables.manifest import build_manifest
    from trainables.model import load_skeleton

    try:
        skeleton = load_skeleton(config.model.path, dtype=getattr(torch, config.model.dtype))
        return skeleton, {subset: build_manifest(skeleton, subset) for subset in config.space.subsets}
    except ValueError as error:
        raise InputError(str(error)) from None


def _largest_sample(config: StudyConfig, tasks: tuple[TaskData, ...], guess: bool) -> SampleShape:
    from trainables.collate import Encoder
    from trainables.model import ModelError, load_config
    from trainables.sample_shape import guessed_sample, largest_sample

    try:
        return largest_sample(tasks, Encoder.load(config.model.path))
    except ModelError as error:
        if guess:
            return guessed_sample(tasks, load_config(config.model.path))
        raise InputError(str(error)) from None
    except ValueError as error:
        raise InputError(str(error)) from None
