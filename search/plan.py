"""The dry run: what a study would train, and what a trial would need at least; starts nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

from search.config import StudyConfig

if TYPE_CHECKING:
    from trainables.manifest import TrainableManifest


def study_plan(config: StudyConfig, manifests: Mapping[str, TrainableManifest]) -> dict[str, Any]:
    """Return the plan as plain values.

    Memory is what weights, gradients, AdamW's two moments and the saved copy of the trained parameters take
    in bytes, per worker: each worker of a trial holds a whole replica. Activations come on top; they depend
    on the samples.

    Args:
        config: The study.
        manifests: Subset -> what it trains.
    """
    space = config.recipe_space()
    presets = config.queued_presets()
    subsets = []
    for subset, manifest in manifests.items():
        bounds = space.bounds(subset)
        item_bytes = manifest.bytes // manifest.count
        subsets.append(
            {
                "subset": subset,
                "trained": manifest.count,
                "share": manifest.share,
                "tensors": len(manifest.parameters),
                "by_role": manifest.count_by_role(),
                "learning_rate": [bounds.low, bounds.high],
                "weights_bytes": manifest.total * item_bytes,
                "gradient_bytes": manifest.bytes,
                "optimizer_bytes": 2 * manifest.bytes,
                "saved_base_bytes": manifest.bytes,
            }
        )
    return {
        "study": config.name,
        "model": config.model.path,
        "parameters": next(iter(manifests.values())).total,
        "targets": list(config.targets),
        "held_out": list(config.held_out),
        "trials": config.search.trials,
        "presets": list(presets),
        "startup_trials": max(len(presets), config.startup_trials),
        "rungs": list(config.rungs),
        "batch_size": config.training.batch_size,
        "per_trial": {
            "workers": config.resources.workers_per_trial,
            "cpus_per_worker": config.resources.cpus_per_worker,
            "gpus_per_worker": config.resources.gpus_per_worker,
        },
        "subsets": subsets,
    }


def plan_table(plan: Mapping[str, Any]) -> Table:
    """Return the plan's subsets for a person to read."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("subset")
    for heading in ("trained", "share", "tensors", "learning rate", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in plan["subsets"]:
        low, high = row["learning_rate"]
        parts = ("weights_bytes", "gradient_bytes", "optimizer_bytes", "saved_base_bytes")
        memory = sum(row[part] for part in parts)
        table.add_row(
            row["subset"],
            f"{row['trained']:,}",
            f"{row['share']:.1%}",
            str(row["tensors"]),
            f"{low:.1e} to {high:.1e}",
            human_bytes(memory),
        )
    return table


def human_bytes(count: float) -> str:
    """Return a size with a binary unit, such as `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
