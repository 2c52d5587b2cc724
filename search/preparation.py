"""Checking a study before anything is started or written: data, model, subsets and resources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search.cluster import local_resources
from search.config import StudyConfig
from search.doctor import check_cluster
from search.inputs import check_encodable, fingerprints, load_tasks
from search.placement import Placement, place
from search.study_file import InputError
from trainables.jobs import TaskData, WorkerSetup

if TYPE_CHECKING:
    from trainables.manifest import TrainableManifest

_CLUSTER_TIMEOUT = 30.0  # seconds for a cluster to answer


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A study whose input has been checked.

    Attributes:
        config: The study, resolved.
        setup: What each worker loads.
        manifests: Subset -> what it trains on this model.
        model_fingerprint: Content hash of the base model.
        data_fingerprints: `<task>/<split>` -> content hash.
    """

    config: StudyConfig
    setup: WorkerSetup
    manifests: Mapping[str, TrainableManifest]
    model_fingerprint: str
    data_fingerprints: Mapping[str, str]


def prepare(config: StudyConfig) -> Prepared:
    """Check a study's data and model without starting anything.

    Raises:
        InputError: Data, model or subsets are wrong.
    """
    tasks = load_tasks(config)
    manifests = subset_manifests(config)
    fingerprint = _check_model_takes(config, tasks)
    return Prepared(
        config=config,
        setup=WorkerSetup(
            model=config.model.path,
            dtype=config.model.dtype,
            tasks=tasks,
            eval_batch_size=config.evaluation.batch_size,
            drift_samples=config.evaluation.drift_samples,
            threads=max(1, int(config.resources.cpus_per_worker)),
        ),
        manifests=manifests,
        model_fingerprint=fingerprint,
        data_fingerprints=fingerprints(tasks),
    )


def check_resources(config: StudyConfig, address: str | None) -> None:
    """Refuse a cluster that does not answer, or a machine on which not even one trial fits.

    Args:
        config: The study.
        address: The cluster that it will run on; None is this machine.

    Raises:
        InputError: The cluster can't be reached, or the machine is too small.
    """
    if address is None:
        place_study(config, local_resources())
    elif not (cluster := check_cluster(address, _CLUSTER_TIMEOUT)).ok:
        raise InputError(f"RAY_ADDRESS: {cluster.detail}: {cluster.fix}")


def place_study(
    config: StudyConfig, available: Mapping[str, float], nodes: Sequence[Mapping[str, float]] = ()
) -> Placement:
    """Return what the study takes from a cluster.

    Args:
        config: The study.
        available: The cluster's total resources.
        nodes: The resources of each of its nodes; none takes it as one node.

    Raises:
        InputError: Not even one trial fits.
    """
    resources = config.resources
    try:
        return place(
            available,
            workers=resources.workers_per_trial,
            cpus=resources.cpus_per_worker,
            gpus=resources.gpus_per_worker,
            trials=config.search.trials,
            limit=resources.max_concurrent_trials,
            nodes=nodes,
        )
    except ValueError as error:
        raise InputError(str(error)) from None


def subset_manifests(config: StudyConfig) -> dict[str, TrainableManifest]:
    """Return what each subset of the study trains on its model, without loading weights.

    Raises:
        InputError: The model can't be read, its architecture is unknown, or a subset matches nothing.
    """
    import torch

    from trainables.manifest import build_manifest
    from trainables.model import load_skeleton

    try:
        skeleton = load_skeleton(config.model.path, dtype=getattr(torch, config.model.dtype))
        return {subset: build_manifest(skeleton, subset) for subset in config.space.subsets}
    except ValueError as error:
        raise InputError(str(error)) from None


def _check_model_takes(config: StudyConfig, tasks: tuple[TaskData, ...]) -> str:
    """Encode a sample of every task with the model's processor; return the model's fingerprint."""
    from trainables.collate import Encoder
    from trainables.model import load_processor, model_fingerprint

    try:
        check_encodable(tasks, Encoder(load_processor(config.model.path)))
        return model_fingerprint(config.model.path)
    except ValueError as error:
        raise InputError(str(error)) from None
