"""What a study cost, and would have cost had everything been fully tuned; docs/cost.md defines it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

from search.decision.candidates import candidates
from search.records.study_record import StudyRecord
from search.selection import Selection
from spaces.points import Identity

JOULES_PER_KWH: Final = 3.6e6


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What was spent; NaN where it is not known.

    Attributes:
        flops: FLOPs of training, counted from the manifest.
        seconds: Seconds of training and evaluation, summed over worker groups.
        gpu_seconds: GPUs reserved times seconds.
        core_seconds: CPU time over all cores and workers.
        measured: Joules that counters told.
        estimated: Joules that were estimated.
        stored: Bytes of the trained parameters that were written.
    """

    flops: float
    seconds: float
    gpu_seconds: float
    core_seconds: float
    measured: float
    estimated: float
    stored: float

    @property
    def joules(self) -> float:
        """All energy, measured and estimated."""
        return self.measured + self.estimated

    def co2_grams(self, intensity: float) -> float:
        """Return the CO2 equivalents in grams, an estimate.

        Args:
            intensity: Grams per kWh of electricity.
        """
        return self.joules / JOULES_PER_KWH * intensity


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What was spent, beside what full tuning would have taken for the same steps.

    Attributes:
        spent: What was spent.
        full: The same steps on the same samples with all parameters trained; FLOPs and bytes are counted,
            seconds and joules of training are scaled by FLOPs, those of evaluation stay.
    """

    spent: Spent
    full: Spent

    @property
    def compute_share(self) -> float:
        """FLOPs of training over full tuning's; NaN where not known."""
        return _ratio(self.spent.flops, self.full.flops)

    @property
    def stored_share(self) -> float:
        """Bytes of trained parameters over full tuning's; NaN where not known."""
        return _ratio(self.spent.stored, self.full.stored)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyCosts:
    """What a study cost.

    Attributes:
        study: Trials, points and finalist runs.
        selected: The selected recipe's training up to the step that is taken, of a soup that of all its
            members; None for "keep the base".
        peak_memory: The largest peak memory of a worker in a trial, in bytes; NaN where not known.
        trained: Runs of training that were counted.
    """

    study: Comparison
    selected: Comparison | None
    peak_memory: float
    trained: int


def study_costs(record: StudyRecord, selection: Selection) -> StudyCosts:
    """Return what a study cost, without loading, the base and predictions.

    Args:
        record: What was measured.
        selection: The verdict.
    """
    trained = [trial.rungs[-1].metrics for trial in record.trials if trial.rungs]
    trained += record.retraining
    whole = [compared(metrics) for metrics in trained]
    whole += [_made(metrics) for metrics in _evaluated_points(record)]
    of_selected = [compared(metrics) for metrics in _selected(record, selection)]
    return StudyCosts(
        study=Comparison(
            spent=_sum(each.spent for each in whole),
            full=_sum(each.full for each in whole),
        ),
        selected=Comparison(
            spent=_sum(each.spent for each in of_selected), full=_sum(each.full for each in of_selected)
        )
        if of_selected
        else None,
        peak_memory=max((_value(metrics, "peak_memory_bytes") for metrics in trained), default=math.nan),
        trained=len(trained),
    )


def compared(metrics: Mapping[str, float]) -> Comparison:
    """Return what a run of training cost from its last metrics, which count from its start."""
    spent = _spent(metrics)
    full_flops = _value(metrics, "full_train_flops")
    train, evaluation = _value(metrics, "train_seconds"), _value(metrics, "eval_seconds")
    # Training takes its share of whatever goes with time, and would take as much more as it has FLOPs.
    longer = train * _ratio(full_flops, spent.flops) + evaluation
    scale = _ratio(longer, train + evaluation)
    full = Spent(
        flops=full_flops,
        seconds=longer,
        gpu_seconds=spent.gpu_seconds * scale,
        core_seconds=spent.core_seconds * scale,
        measured=0.0,
        estimated=spent.joules * scale,
        stored=_value(metrics, "full_stored_bytes"),
    )
    return Comparison(spent=spent, full=full)


def study_metrics(costs: StudyCosts, intensity: float) -> dict[str, float]:
    """Return a study's totals by their MLflow names; what is not known is left out.

    Args:
        costs: What it cost.
        intensity: Grams of CO2 equivalents per kWh.
    """
    spent, full = costs.study.spent, costs.study.full
    named = {
        "cost/train_flops": spent.flops,
        "cost/full_train_flops": full.flops,
        "cost/gpu_seconds": spent.gpu_seconds,
        "cost/cpu_seconds": spent.core_seconds,
        "cost/peak_memory_bytes": costs.peak_memory,
        "cost/stored_bytes": spent.stored,
        "cost/full_stored_bytes": full.stored,
        "cost/energy_measured_joules": spent.measured,
        "cost/energy_estimated_joules": spent.estimated,
        "cost/full_energy_estimated_joules": full.joules,
        "cost/co2_estimated_grams": spent.co2_grams(intensity),
        "cost/full_co2_estimated_grams": full.co2_grams(intensity),
    }
    return {name: value for name, value in named.items() if math.isfinite(value)}


def with_co2(metrics: Mapping[str, float], intensity: float) -> dict[str, float]:
    """Return a run's metrics with the CO2 that follows from its energy, where that is known.

    Args:
        metrics: The metrics of a rung.
        intensity: Grams of CO2 equivalents per kWh.
    """
    grams = _spent(metrics).co2_grams(intensity)
    return {**metrics, **({"cost/co2_estimated_grams": grams} if math.isfinite(grams) else {})}


def only_measured(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return metrics without energy of 0 J that no counter measured."""
    unmeasured = "cost/energy_measured_joules"
    return {name: value for name, value in metrics.items() if value or name != unmeasured}


def _spent(metrics: Mapping[str, float]) -> Spent:
    return Spent(
        flops=_value(metrics, "train_flops"),
        seconds=_value(metrics, "train_seconds") + _value(metrics, "eval_seconds"),
        gpu_seconds=_value(metrics, "gpu_seconds"),
        core_seconds=_value(metrics, "cpu_seconds"),
        measured=_value(metrics, "energy_measured_joules"),
        estimated=_value(metrics, "energy_estimated_joules"),
        stored=_value(metrics, "stored_bytes"),
    )


def _selected(record: StudyRecord, selection: Selection) -> Iterator[Mapping[str, float]]:
    """Yield the last metrics of each training that the selection is made of, up to the step it takes."""
    until: dict[int, int] = {}
    for member in selection.made.members if selection.made else ():
        until[member.trial] = max(member.step, until.get(member.trial, 0))
    for trial in record.trials:
        yield from (rung.metrics for rung in trial.rungs if rung.step == until.get(trial.number))


def _evaluated_points(record: StudyRecord) -> Iterator[Mapping[str, float]]:
    """Yield what was measured of points and of their finalist runs; an earlier rung costs nothing more."""
    made = {
        each.key: each
        for each in candidates((), record.points)
        if not isinstance(each.point.transform, Identity)
    }
    yield from (each.rung.metrics for each in made.values())
    for finalist in record.finalists:
        if finalist.candidate in made:
            yield from (run.rung.metrics for run in finalist.runs if run.rung is not None)


def _made(metrics: Mapping[str, float]) -> Comparison:
    """Return what a point cost, which is made without training; its weights are stored only if it stays."""
    spent = _spent({"cost/stored_bytes": 0.0, **metrics, "cost/train_flops": 0.0})
    return Comparison(spent=spent, full=replace(spent, stored=metrics.get("cost/full_stored_bytes", 0.0)))


def _sum(parts: Iterable[Spent]) -> Spent:
    found = list(parts)
    return Spent(
        **{each.name: math.fsum(getattr(part, each.name) for part in found) for each in fields(Spent)}
    )


def _value(metrics: Mapping[str, float], name: str) -> float:
    return metrics.get(f"cost/{name}", math.nan)


def _ratio(one: float, other: float) -> float:
    return one / other if other else math.nan
