"""The dry run: what a study would train, and what a trial would need of a machine; starts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from search.clusters.devices import LOCAL_DRIVERS, Node, local_node
from search.config import StudyConfig
from search.planning.fitting import MOST_SHARERS, Fit, Misfit
from search.planning.matched import matched
from search.planning.outline import Outline
from search.planning.placement import fit_subsets, place, smallest_gpu
from search.planning.preparation import wish_of, with_gpu_memory
from spaces.recipe import Method
from trainables.workers.execution import Execution, GroupShape

if TYPE_CHECKING:
    from trainables.manifest import TrainableManifest


def study_plan(config: StudyConfig, outline: Outline, nodes: Sequence[Node]) -> dict[str, Any]:
    """Return the plan as plain values; memory is in bytes and per worker.

    Args:
        config: The study.
        outline: What is known of its model.
        nodes: The machines that it is planned for.
    """
    presets = config.queued_presets()
    wish = wish_of(config)
    limit = config.resources.max_concurrent_trials
    fits = fit_subsets(outline, wish, nodes, trials=config.search.trials, limit=limit)
    try:
        placement = place(outline, wish, nodes, trials=config.search.trials, limit=limit)
    except ValueError as error:
        runs: dict[str, Any] = {"fits": False, "problem": str(error)}
    else:
        runs = {
            "fits": True,
            "trials_at_a_time": placement.concurrency,
            "eval_batch_size": placement.eval_batch,
            "gpus_for_all": config.search.trials * max(map(gpus_of, placement.executions.values())),
            "warnings": list(placement.warnings),
        }
    full_flops = _flops_per_sample(outline, outline.full)
    return {
        "study": config.name,
        "model": config.model.path,
        "dtype": config.model.dtype,
        "parameters": next(iter(outline.manifests.values())).total,
        "targets": list(config.targets),
        "held_out": list(config.held_out),
        "trials": config.search.trials,
        "presets": list(presets),
        "most_points": config.most_points,
        "finalists": _finalists(config),
        "startup_trials": max(len(presets), config.startup_trials),
        "rungs": list(config.rungs),
        "likely_complete": _likely_complete(config),
        "rung_samples": config.evaluation.rung_samples,
        "batch_size": wish.batch_size,
        "largest_sample": {
            "tokens": outline.sample.tokens,
            "answer_tokens": outline.sample.answer_tokens,
            "found": outline.sample.found,
        },
        "machines": [
            {"cpus": node.cpus, "gpus": node.gpus, "gpu_memory": node.gpu_memory, "memory": node.memory}
            for node in nodes
        ],
        "runs": runs,
        "subsets": [
            {
                "subset": variant,
                "learning_rate": _learning_rate(config, variant, outline.manifests[variant]),
                "ranges": [_trained(outline, manifest, full_flops) for manifest in outline.ranges[variant]],
                **_need(fit, nodes),
            }
            for variant, fit in fits.items()
        ],
    }


def _likely_complete(config: StudyConfig) -> float:
    """Return how many trials pruning lets reach their end, if one in `reduction_factor` passes each rung."""
    if config.search.pruning is None:
        return config.search.trials
    return float(config.search.trials / config.search.pruning.reduction_factor ** (len(config.rungs) - 1))


def _finalists(config: StudyConfig) -> dict[str, Any] | None:
    """Return how many recipes may be trained again, and what that may take; None without finalists."""
    if config.finalists is None:
        return None
    return {
        "most": config.finalists.most,
        "seeds": config.finalists.seeds,
        "most_steps": config.finalist_steps,
        "steps_of_all_trials": config.search.trials * config.training.steps,
    }


def planned_nodes(config: StudyConfig, gpus: int | None, gpu_memory_gib: float | None) -> list[Node]:
    """Return the machine to plan for: this one, or one with as many GPUs and all the cores that they need.

    Args:
        config: The study.
        gpus: GPUs of the machine; None takes one if their memory is given.
        gpu_memory_gib: Memory of each of them in GiB; None takes the study file's.
    """
    memory = gpu_memory_gib or config.resources.gpu_memory_gib
    if gpus is None and gpu_memory_gib is None:
        return with_gpu_memory([local_node()], memory)
    number = gpus or 1
    cpus = number * MOST_SHARERS * config.resources.cpus_per_worker
    return with_gpu_memory([Node(cpus=cpus, gpus=number, drivers=LOCAL_DRIVERS)], memory)


def gpus_of(execution: Execution) -> float:
    """Return the GPUs that a trial takes."""
    return execution.shape.workers * execution.shape.gpus


def _learning_rate(config: StudyConfig, variant: str, manifest: TrainableManifest) -> list[float]:
    method: Method = "selective" if variant == manifest.subset else "lora"
    bounds = config.recipe_space().bounds(manifest.subset, method)
    return [bounds.low, bounds.high]


def _trained(outline: Outline, manifest: TrainableManifest, full_flops: int) -> dict[str, Any]:
    """Return what is trained in one layer range, and how much computing that takes.

    Args:
        outline: What is known of the study's model.
        manifest: What is trained.
        full_flops: FLOPs of training the whole model on the same sample.
    """
    flops = _flops_per_sample(outline, manifest)
    return {
        "layers": manifest.layers,
        "trained": manifest.count,
        "share": manifest.share,
        "tensors": len(manifest.parameters),
        "by_role": manifest.count_by_role(),
        "matched": [group.to_dict() for group in matched(manifest)],
        "flops_per_sample": flops,
        "flops_of_full": flops / full_flops,
    }


def _flops_per_sample(outline: Outline, manifest: TrainableManifest) -> int:
    """Return the FLOPs of training on the largest sample; recomputation is left out."""
    from trainables.cost.flops import TrainingFlops

    return TrainingFlops(outline.full, manifest, outline.model_config).per_sample(outline.sample.encoded())


def _need(fit: Fit | Misfit, nodes: Sequence[Node]) -> dict[str, Any]:
    need: dict[str, Any] = {"memory": fit.estimate.to_dict(), "fits": isinstance(fit, Fit)}
    if isinstance(fit, Misfit):
        return need | {"gpus_needed": fit.gpus_needed, "room": smallest_gpu(nodes)}
    shape = fit.execution.shape
    return need | {
        "room": _room(shape, nodes),
        "workers": shape.workers,
        "cpus_per_worker": shape.cpus,
        "gpus_per_worker": shape.gpus,
        "gpus": gpus_of(fit.execution),
        "sharded": shape.sharded,
        "micro_batch_size": fit.execution.micro_batch_size,
        "activation_checkpointing": fit.execution.activation_checkpointing,
    }


def _room(shape: GroupShape, nodes: Sequence[Node]) -> int | None:
    """Return the bytes that a worker may take: of the smallest GPU, or of the largest node's memory.

    Without a GPU the workers that find cores on a node share its memory.
    """
    if shape.gpus:
        gpu = smallest_gpu(nodes)
        return None if gpu is None else int(gpu * min(1.0, shape.gpus))
    known = [(node.memory, node.cpus) for node in nodes if node.memory is not None]
    if not known:
        return None
    memory, cpus = max(known)
    return int(memory / max(1, cpus // shape.cpus))
