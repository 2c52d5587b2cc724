"""The dry run: what a study would train, and what a trial would need of a machine; starts nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from search.config import StudyConfig
from search.devices import LOCAL_DRIVERS, Node, local_node
from search.fitting import MOST_SHARERS, Fit, Misfit
from search.outline import Outline
from search.placement import fit_subsets, place
from search.preparation import wish_of, with_gpu_memory
from search.wording import count, counted, human_bytes
from trainables.execution import Execution

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
    return {
        "study": config.name,
        "model": config.model.path,
        "dtype": config.model.dtype,
        "parameters": next(iter(outline.manifests.values())).total,
        "targets": list(config.targets),
        "held_out": list(config.held_out),
        "trials": config.search.trials,
        "presets": list(presets),
        "startup_trials": max(len(presets), config.startup_trials),
        "rungs": list(config.rungs),
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
            {**_trained(config, variant, manifest), **_need(fits[variant])}
            for variant, manifest in outline.manifests.items()
        ],
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


def _trained(config: StudyConfig, variant: str, manifest: TrainableManifest) -> dict[str, Any]:
    method = "selective" if variant == manifest.subset else "lora"
    bounds = config.recipe_space().bounds(manifest.subset, method)
    return {
        "subset": variant,
        "trained": manifest.count,
        "share": manifest.share,
        "tensors": len(manifest.parameters),
        "by_role": manifest.count_by_role(),
        "learning_rate": [bounds.low, bounds.high],
    }


def _need(fit: Fit | Misfit) -> dict[str, Any]:
    need: dict[str, Any] = {"memory": fit.estimate.to_dict(), "fits": isinstance(fit, Fit)}
    if isinstance(fit, Misfit):
        return need | {"gpus_needed": fit.gpus_needed}
    shape = fit.execution.shape
    return need | {
        "workers": shape.workers,
        "cpus_per_worker": shape.cpus,
        "gpus_per_worker": shape.gpus,
        "gpus": gpus_of(fit.execution),
        "sharded": shape.sharded,
        "micro_batch_size": fit.execution.micro_batch_size,
        "activation_checkpointing": fit.execution.activation_checkpointing,
    }


def plan_tables(plan: Mapping[str, Any]) -> tuple[Table, Table]:
    """Return for a person to read what each subset trains, and what its trials need."""
    trained = _table("subset", "trained", "share", "tensors", "learning rate")
    needed = _table("subset", "weights", "training", "activations", "overhead", "memory")
    needed.add_column("each trial takes")
    for row in plan["subsets"]:
        low, high = row["learning_rate"]
        numbers = (count(row["trained"]), f"{row['share']:.1%}", str(row["tensors"]))
        trained.add_row(row["subset"], *numbers, f"{low:.1e} to {high:.1e}")
        memory = row["memory"]
        training = memory["saved_base"] + memory["gradients"] + memory["optimizer"]
        parts = (memory["weights"], training, memory["activations"], memory["overhead"], memory["total"])
        needed.add_row(row["subset"], *map(human_bytes, parts), _takes(row))
    return trained, needed


def _table(first: str, *headings: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def plan_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the table does not say: the sample, the machines, and whether they do."""
    sample = plan["largest_sample"]
    yield f"samples of up to {sample['tokens']} tokens: {sample['found']}"
    yield ("memory: upper bounds per worker; training: saved base, gradients and AdamW's state")
    yield f"planned for {_machines(plan['machines'])}"
    runs = plan["runs"]
    if not runs["fits"]:
        yield f"does not run there: {runs['problem']}"
        return
    yield f"{counted(runs['trials_at_a_time'], 'trial')} at a time at most"
    if runs["gpus_for_all"]:
        yield f"{runs['gpus_for_all']:g} GPU(s) would run all {plan['trials']} trials at once, at the most"
    yield from (f"warning: {warning}" for warning in runs["warnings"])


def _machines(machines: Sequence[Mapping[str, Any]]) -> str:
    def one(machine: Mapping[str, Any]) -> str:
        text = f"{machine['cpus']:g} CPU"
        if machine["gpus"]:
            size = machine["gpu_memory"]
            text += f", {machine['gpus']:g} GPU(s) of {human_bytes(size) if size else 'unknown memory'}"
        elif machine["memory"]:
            text += f", {human_bytes(machine['memory'])} of memory, no GPU"
        return text

    texts = [one(machine) for machine in machines]
    return " and ".join(f"{texts.count(text)} x ({text})" for text in dict.fromkeys(texts))


def _takes(row: Mapping[str, Any]) -> str:
    """Return what a trial takes, such as `2 GPUs sharded, 4 samples a pass, recomputing`."""
    if not row["fits"]:
        needed = row["gpus_needed"]
        return f"does not fit: needs {needed} GPU(s)" if needed else "does not fit"
    kind, each = (
        ("GPU", row["gpus_per_worker"]) if row["gpus_per_worker"] else ("CPU", row["cpus_per_worker"])
    )
    total = row["workers"] * each
    text = f"{total:g} {kind}" + ("s" if total > 1 else "")
    if row["workers"] > 1:
        text += " sharded" if row["sharded"] else f" in {row['workers']} replicas"
    if row["micro_batch_size"] is not None:
        text += f", {row['micro_batch_size']} samples a pass"
    return text + (", recomputing" if row["activation_checkpointing"] else "")
