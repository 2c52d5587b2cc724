"""What the study cost, beside what full tuning would have."""

from __future__ import annotations

import math
from collections.abc import Callable

from search import wording
from search.findings.costs import Comparison, Spent, StudyCosts, study_costs
from search.records.study_record import StudyRecord
from search.selection import Selection


def cost_rows(record: StudyRecord, selection: Selection) -> list[dict[str, object]]:
    """Return one row a quantity: the study, had all been fully tuned, and the same of the selected recipe.

    There are none where the study did not count what full tuning would have cost.
    """
    costs = study_costs(record, selection)
    if not math.isfinite(costs.study.compute_share):
        return []
    intensity = record.config.tracking.carbon_intensity
    spent = costs.study.spent
    time: Callable[[Spent], float]
    if spent.gpu_seconds > 0:
        device, time = "GPU time", lambda each: each.gpu_seconds
    else:
        device, time = "CPU time", lambda each: each.core_seconds
    rows = [
        _row("training compute", "counted", costs, lambda each: each.flops, _flops),
        _row(device, "measured; fully tuned: scaled by FLOPs", costs, time, wording.duration),
    ]
    if math.isfinite(spent.joules):
        known = f"{_energy_known(spent)}; fully tuned: scaled by FLOPs"
        rows += [
            _row("energy", known, costs, lambda each: each.joules, _energy),
            _row("CO₂ equivalents", "estimated", costs, lambda each: each.co2_grams(intensity), _grams),
        ]
    return [
        *rows,
        _row("parameters stored", "counted", costs, lambda each: each.stored, wording.human_bytes),
    ]


def cost_notes(record: StudyRecord, selection: Selection) -> str:
    """Return what the table's numbers stand for."""
    costs = study_costs(record, selection)
    runs = wording.counted(costs.trained, "run")
    text = (
        f"Counts {runs} of training with their evaluations, and those of points; loading, the base and the "
        "predictions are left out. Fully tuned: the same steps on the same samples, all parameters trained."
    )
    if math.isfinite(costs.study.spent.joules):
        intensity = record.config.tracking.carbon_intensity
        text += f" Energy is that of processors alone; CO₂ is at {intensity:g} g/kWh."
    if math.isfinite(costs.peak_memory):
        text += f" The largest peak memory of a worker was {wording.human_bytes(costs.peak_memory)}."
    return text


def cost_sentence(costs: StudyCosts) -> str:
    """Return the study's cost in a line; nothing where it was not counted."""
    study = costs.study
    if not math.isfinite(study.compute_share):
        return ""
    text = (
        f"{wording.percent(study.compute_share)} of the compute of tuning everything fully, "
        f"{wording.percent(study.stored_share)} of its storage"
    )
    if math.isfinite(study.spent.joules):
        text += f"; {_energy(study.spent.joules)} of energy, {_energy_known(study.spent)}"
    return text


def _row(
    name: str,
    known: str,
    costs: StudyCosts,
    value: Callable[[Spent], float],
    written: Callable[[float], str],
) -> dict[str, object]:
    def cells(pair: Comparison) -> list[str]:
        spent, full = value(pair.spent), value(pair.full)
        share = wording.percent(spent / full) if full else wording.UNKNOWN
        return [f"{written(spent)}, {share} of", written(full)]

    return {
        "name": name,
        "known": known,
        "study": cells(costs.study),
        "selected": cells(costs.selected) if costs.selected else [],
    }


def _energy_known(spent: Spent) -> str:
    if spent.estimated == 0:
        return "measured"
    return (
        "estimated"
        if spent.measured == 0
        else f"{wording.percent(spent.measured / spent.joules)} of it measured"
    )


def _flops(value: float) -> str:
    return wording.si(value, "FLOP")


def _energy(joules: float) -> str:
    return wording.si(joules / 3600, "Wh")


def _grams(value: float) -> str:
    return wording.si(value, "g")
