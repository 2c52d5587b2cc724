"""The dry run as a person reads it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.table import Table

from search.wording import count, counted, human_bytes

_FEW_COMPLETE: Final = 3  # complete trials below which there is little to choose from


def plan_tables(plan: Mapping[str, Any]) -> tuple[Table, Table, Table]:
    """Return what each subset matches on the model, what training it takes, and what its trials need."""
    return _matched(plan), _trained(plan), _needed(plan)


def _matched(plan: Mapping[str, Any]) -> Table:
    table = _table("subset")
    for heading in ("layers", "role"):
        table.add_column(heading, no_wrap=True)
    table.add_column("elements", justify="right", no_wrap=True)
    table.add_column("tensors")
    for name, found in _ranges(plan):
        for number, group in enumerate(found["matched"]):
            cells = (group["layers"], group["role"], count(group["elements"]), group["shapes"])
            table.add_row("" if number else name, *cells)
    return table


def _trained(plan: Mapping[str, Any]) -> Table:
    table = _table("subset", "trained", "share", "FLOPs", "learning rate")
    rates = {row["subset"]: row["learning_rate"] for row in plan["subsets"]}
    for name, found in _ranges(plan):
        low, high = rates[name.split(" ")[0]]
        numbers = (count(found["trained"]), f"{found['share']:.1%}", f"{found['flops_of_full']:.0%}")
        table.add_row(name, *numbers, f"{low:.1e} to {high:.1e}")
    return table


def _needed(plan: Mapping[str, Any]) -> Table:
    parts = ("weights", "saved base", "gradients", "optimizer", "activations", "overhead")
    table = _table("subset", *parts, "memory", "of")
    table.add_column("each trial takes")
    for row in plan["subsets"]:
        memory = row["memory"]
        sizes = [human_bytes(memory[part.replace(" ", "_")]) for part in (*parts, "total")]
        room = "unknown" if row["room"] is None else human_bytes(row["room"])
        table.add_row(row["subset"], *sizes, room, _takes(row))
    return table


def _ranges(plan: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what each subset trains in each layer range, by a name such as `sa_proj last:1/2`."""
    for row in plan["subsets"]:
        for found in row["ranges"]:
            layers = "" if found["layers"] == "all" else f" {found['layers']}"
            yield row["subset"] + layers, found


def _table(first: str, *headings: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def plan_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the table does not say: the sample, the machines, and whether they do."""
    if (complete := plan["likely_complete"]) < min(_FEW_COMPLETE, plan["trials"]):
        yield (
            f"warning: of {counted(plan['trials'], 'trial')} pruning may let only {max(1, round(complete))} "
            f"reach step {plan['rungs'][-1]}, and no other can be selected: more search.trials, a later "
            "search.pruning.first_rung or search.pruning=null leave more"
        )
    finalists = plan["finalists"]
    if finalists is not None and finalists["most_steps"] < plan["rungs"][-1]:
        yield (
            f"warning: no finalist can be trained: finalists.budget allows {finalists['most_steps']} steps, "
            f"and one run takes {plan['rungs'][-1]}; a budget of {math.ceil(100 / plan['trials']) / 100:g} "
            "allows one, and finalists=null says that none is wanted"
        )
    sample = plan["largest_sample"]
    yield f"samples of up to {sample['tokens']} tokens: {sample['found']}"
    yield "FLOPs: of a step, relative to training everything; memory: upper bounds per worker"
    yield f"planned for {_machines(plan['machines'])}"
    runs = plan["runs"]
    if not runs["fits"]:
        yield f"does not run there: {runs['problem']}"
        return
    yield f"{counted(runs['trials_at_a_time'], 'trial')} at a time at most"
    if runs["gpus_for_all"]:
        yield f"{runs['gpus_for_all']:g} GPU(s) would run all {plan['trials']} trials at once, at the most"
    yield from (f"warning: {warning}" for warning in runs["warnings"])


def finalists_text(finalists: Mapping[str, Any] | None) -> str:
    """Say how many recipes may be trained again as finalists, and what they take."""
    if finalists is None:
        return "no finalists, so that nothing is confirmed on data that the search never saw"
    share = finalists["most_steps"] / finalists["steps_of_all_trials"]
    return (
        f"last up to {counted(finalists['most'], 'recipe')} as finalists, with what is made of their "
        f"weights: trained again on {counted(finalists['seeds'], 'new seed')} each, in "
        f"{finalists['most_steps']} steps at most "
        f"({share:.0%} of what all trials would take to their ends), and scored once on the confirm split"
    )


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
