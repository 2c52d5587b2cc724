"""Checking a study before anything is started or written: data, model, subsets and resources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from search.clusters.cluster_check import check_cluster
from search.clusters.devices import GIB, Node, local_node
from search.config import StudyConfig
from search.data.harness_check import check_templates
from search.data.inputs import load_data
from search.data.leakage import Leak
from search.planning.fitting import Wish
from search.planning.outline import Outline, outline_study
from search.planning.placement import Placement, place
from search.records.study_folder import check_output
from search.settings.study_file import InputError
from search.settings.trust import trust_warnings
from search.stores.database import check_database
from spaces.recipe import Recipe
from trainables.data.bad_samples import BadSample
from trainables.workers.jobs import ConfirmData, TaskData, WorkerSetup

_CLUSTER_TIMEOUT = 60.0  # seconds for a cluster and all its nodes to answer


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A study whose input has been checked.

    Attributes:
        config: The study, resolved.
        setup: What each worker loads.
        outline: What memory and devices depend on.
        model_fingerprint: Content hash of the base model.
        data_fingerprints: `<task>/<split>` -> content hash.
        leaks: Training samples that were left out, since they are also, or nearly, scored ones.
        warnings: What else was found in the data, one line each.
        bad: Samples that were left out, since they can't be used.
        replay: Tasks of replay, whose samples the setup has one after another.
        confirm: What finalists are scored on, which workers get with those jobs alone; None without any.
    """

    config: StudyConfig
    setup: WorkerSetup
    outline: Outline
    model_fingerprint: str
    data_fingerprints: Mapping[str, str]
    leaks: tuple[Leak, ...] = ()
    warnings: tuple[str, ...] = ()
    bad: tuple[BadSample, ...] = ()
    replay: tuple[TaskData, ...] = ()
    confirm: ConfirmData | None = None


def prepare(config: StudyConfig, recipes: Iterable[Recipe] | None = None) -> Prepared:
    """Check a study's data and model without starting anything.

    Args:
        config: The study.
        recipes: What will be trained; None is what its space holds.

    Raises:
        InputError: Data, model or subsets are wrong, or there is no place for what comes out.
    """
    check_output(config.folder)
    if config.search.storage is not None:
        check_database("search.storage", "Optuna storage", config.search.storage)
    data = load_data(config)
    outline = outline_study(config, data.all, recipes=recipes)
    check_templates(data.tasks, config.model)
    return Prepared(
        config=config,
        setup=WorkerSetup(
            model=config.model.path,
            dtype=config.model.dtype,
            tasks=data.tasks,
            eval_batch_size=config.evaluation.batch_size,
            drift_samples=config.evaluation.drift_samples,
            threads=max(1, int(config.resources.cpus_per_worker)),
            replay=tuple(sample for task in data.replay for sample in task.train),
            roles=config.model.role_map,
            rung_samples=config.evaluation.rung_samples,
            trust_remote_code=config.model.trust_remote_code,
        ),
        outline=outline,
        model_fingerprint=_checked_fingerprint(config),
        data_fingerprints=data.fingerprints,
        leaks=data.leaks,
        warnings=(*trust_warnings(config), *data.warnings),
        bad=data.bad,
        replay=data.replay,
        confirm=ConfirmData(tasks=data.confirm) if data.confirm else None,
    )


def check_cluster_for(config: StudyConfig, address: str | None) -> None:
    """Refuse a cluster that does not answer, or whose nodes can't work together on a study.

    Args:
        config: The study.
        address: The cluster that it will run on; None is this machine.

    Raises:
        InputError: The cluster can't be reached, or its nodes differ or do not share the output's storage.
    """
    if address is None:
        return
    checks = check_cluster(address, _CLUSTER_TIMEOUT, config.folder.parent)
    if broken := [f"{check.detail}: {check.fix}" for check in checks if not check.ok]:
        raise InputError(f"RAY_ADDRESS: {'; '.join(broken)}")


def check_resources(prepared: Prepared, address: str | None) -> None:
    """Refuse a study that this machine can't run; what a cluster has shows when it is joined.

    Args:
        prepared: The study.
        address: The cluster that it will run on; None is this machine.

    Raises:
        InputError: The machine is too small.
    """
    if address is None:
        place_study(prepared.config, prepared.outline, [local_node()])


def place_study(config: StudyConfig, outline: Outline, nodes: Sequence[Node]) -> Placement:
    """Return what the study takes from a cluster.

    Args:
        config: The study.
        outline: What is known of its model.
        nodes: The cluster's nodes.

    Raises:
        InputError: Not even one trial fits, or a subset's trials don't.
    """
    try:
        return place(
            outline,
            wish_of(config),
            with_gpu_memory(nodes, config.resources.gpu_memory_gib),
            trials=config.search.trials,
            limit=config.resources.max_concurrent_trials,
        )
    except ValueError as error:
        raise InputError(str(error)) from None


def with_evaluation_that_fits(prepared: Prepared, placement: Placement) -> Prepared:
    """Return the study with evaluations that take as many samples at a time as the placement has room for."""
    return replace(prepared, setup=replace(prepared.setup, eval_batch_size=placement.eval_batch))


def wish_of(config: StudyConfig) -> Wish:
    """Return what a study fixes of how its trials are carried out."""
    batches = config.recipe_space().batch_size
    return Wish(
        batch_size=max(batches),
        smallest_batch=min(batches),
        eval_batch=config.evaluation.batch_size,
        cpus=config.resources.cpus_per_worker,
        workers=config.resources.workers_per_trial,
        gpus=config.resources.gpus_per_worker,
        elastic=config.resources.min_workers is not None,
        sharding=config.resources.sharding,
        micro_batch=config.training.micro_batch_size,
        checkpointing=config.training.activation_checkpointing,
    )


def with_gpu_memory(nodes: Sequence[Node], gib: float | None) -> list[Node]:
    """Return the nodes with the memory that the user gave for all GPUs, if any."""
    if gib is None:
        return list(nodes)
    return [replace(node, gpu_memory=int(gib * GIB) if node.gpus else None) for node in nodes]


def _checked_fingerprint(config: StudyConfig) -> str:
    from trainables.model import check_weights, model_fingerprint

    try:
        check_weights(config.model.path, trust=config.model.trust_remote_code)
        return model_fingerprint(config.model.path)
    except ValueError as error:
        raise InputError(str(error)) from None
