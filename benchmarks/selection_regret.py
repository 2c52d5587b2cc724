"""How much a selection loses to chance: our rule and "take the best score" where the truth is known.

Each replay draws a landscape, lets a search try recipes in it with the noise of seeds and of samples, and has
several selections choose among what was tried: the trials and, as a default study makes them, interpolations
of the best two with the base. (Its soup is left out: what a mean of weights is worth does not follow from a
landscape.) The regret of a choice is by how much its true score, the mean
over seeds and all samples, falls short of the best true score among what was tried and the untouched model.

    python -m benchmarks.selection_regret [replays of each landscape]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pool
from typing import Any, Final

import numpy as np

from benchmarks.landscapes import (
    AGREEMENT,
    HELD_OUT,
    RESAMPLES,
    SAMPLES,
    SEED_NOISE,
    TRIALS,
    Evaluations,
    Raced,
    Searched,
    Split,
    Training,
    alpha_of,
    objective_on,
    searched,
)
from benchmarks.machine import write_results
from search.decision.candidates import trainings
from search.decision.estimation import estimate_finalists, estimate_runs
from search.decision.evidence import Evidence, Finalist, FinalistRun
from search.finalists.choice import behind, entrant, finalists
from search.finalists.racing import after_round, needed, runners
from search.objective import Objective, Score
from search.results import Rung
from search.selection import Selection, select
from search.settings.selection_config import SelectionConfig


@dataclass(frozen=True)
class Chosen:
    """What a selection says.

    Attributes:
        key: Key of the candidate; None keeps the base.
        told: The score that the user is told.
        low: Lower end of its interval, or NaN.
        high: Upper end.
        runs: Trainings beyond the search.
    """

    key: str | None
    told: float
    low: float = float("nan")
    high: float = float("nan")
    runs: int = 0


def best_score(found: Searched) -> Chosen:
    """Take what has the highest score, if that is above 0."""
    best = max(found.candidates, key=lambda each: each.rung.score.score)
    told = best.rung.score.score
    return Chosen(best.key, told) if told > 0 else Chosen(None, 0.0)


def by_rule(found: Searched, evidence: Evidence, **changes: Any) -> Chosen:
    """Take what our rule selects from the search split alone.

    Args:
        found: The search.
        evidence: What its trials are worth.
        changes: Settings of `selection` that are not the defaults.
    """
    rule = found.config.selection.model_copy(update=changes)
    selection = select(found.trials, found.objective, found.points, rule=rule, evidence=evidence)
    return _chosen(selection, evidence)


def confirmed(
    found: Searched, evidence: Evidence, seeds: int = 3, samples: int = SAMPLES, **changes: Any
) -> Chosen:
    """Train finalists again as a study does, and take what our rule selects from the confirm split.

    Args:
        found: The search.
        evidence: What its trials are worth.
        seeds: New seeds that each finalist is trained on.
        samples: Samples of each task in the confirm split.
        changes: Settings of `selection` that are not the defaults.
    """
    split, base = found.confirm[samples]
    objective = objective_on({task: each.value for task, each in base.items()})
    if (seeds, samples) not in found.races:
        found.races[seeds, samples] = race(found, evidence, seeds, split, objective)
    raced = found.races[seeds, samples]
    config = found.config.model_copy(update={"selection": found.config.selection.model_copy(update=changes)})
    confirmation = estimate_finalists(raced.finalists, base, objective, config, trainings(found.candidates))
    selection = select(
        found.trials,
        found.objective,
        found.points,
        rule=config.selection,
        evidence=evidence,
        finalists=raced.finalists,
        confirmation=confirmation,
    )
    return _chosen(selection, confirmation, runs=raced.trainings)


def race(found: Searched, evidence: Evidence, seeds: int, confirm: Split, objective: Objective) -> Raced:
    """Choose finalists and train them again, seed after seed, as `search.finalists.finalist_search` does.

    Args:
        found: The search.
        evidence: What its trials are worth.
        seeds: New seeds.
        confirm: The confirm split.
        objective: What is maximised, with the base's values on that split.
    """
    config, rule = found.config.finalists, found.config.selection
    assert config is not None
    ranked = sorted(found.candidates, key=lambda each: -each.rung.score.score)
    chosen = {each.key: each for each in finalists(ranked, found.objective, evidence, rule, config.most)}
    runs: dict[str, dict[int, tuple[Evaluations, Evaluations]]] = {key: {} for key in chosen}
    splits, shared = (found.split, confirm), trainings(found.candidates)
    # Each selection that trains again draws its new seeds from the same stream.
    random = np.random.default_rng([found.seed, 1])
    standing, left = tuple(map(entrant, chosen.values())), found.config.finalist_steps
    out, count = set(), 0
    for seed in range(seeds):
        running = runners(standing, rounds=seeds - seed, left=left)
        needs = needed(running)
        left, count = left - sum(needs.values()), count + len(needs)
        models = {
            number: Training.draw(random, found.base_truth, found.truth[f"trial {number}"], splits)
            for number in needs
        }
        for each in running:
            candidate = chosen[each.key]
            alpha = alpha_of(candidate.point.transform)
            on_search, on_confirm = models[candidate.trial.number].evaluations(alpha, splits, random)
            runs[each.key][seed] = on_search, on_confirm
        # No bound is set on forgetting, so all keep it.
        means = {each.key: (True, _mean_score(found, runs[each.key].values())) for each in running}
        again = estimate_runs(
            {each.key: {seed: run[0] for seed, run in runs[each.key].items()} for each in running},
            found.base,
            found.objective,
            found.config,
            shared,
        )
        standing, dropped = after_round(running, means, partial(_behind, again, rule))
        out |= {each.key for each in dropped}
    finals = tuple(
        Finalist(
            candidate=key,
            runs=tuple(
                _run(seed, run, found.objective, objective if key not in out else None)
                for seed, run in runs[key].items()
            ),
            dropped=key in out,
        )
        for key in chosen
        if runs[key]
    )
    return Raced(finals, count)


def _behind(evidence: Evidence, rule: SelectionConfig, one: str, other: str) -> bool:
    return behind(evidence, one, other, rule)


def _mean_score(found: Searched, runs: Iterable[tuple[Evaluations, Evaluations]]) -> float:
    return float(np.mean([_score(found.objective, on_search).score for on_search, _ in runs]))


def _score(objective: Objective, evaluations: Evaluations) -> Score:
    return objective.score({task: each.value for task, each in evaluations.items()})


def _run(
    seed: int, run: tuple[Evaluations, Evaluations], search: Objective, confirm: Objective | None
) -> FinalistRun:
    on_search, on_confirm = run
    score = _score(search, on_search)
    rung = Rung(step=100, progress=1.0, score=score, values={}, metrics=score.to_metrics())
    return FinalistRun(
        seed=seed,
        rung=rung,
        confirm={} if confirm is None else on_confirm,
        confirmed=None if confirm is None else _score(confirm, on_confirm),
        folder="",
    )


def _chosen(selection: Selection, evidence: Evidence, runs: int = 0) -> Chosen:
    if selection.key is None:
        return Chosen(None, 0.0, runs=runs)
    told = evidence.estimates[selection.key].score
    return Chosen(selection.key, told.value, told.low, told.high, runs)


SELECTIONS: Final[Mapping[str, Callable[[Searched, Evidence], Chosen]]] = {
    "best score": lambda found, evidence: best_score(found),
    "rule, search split": by_rule,
    "rule, search split, no tie-breaks": partial(by_rule, ties=()),
    "rule, finalists on confirm split": confirmed,
    "finalists on confirm split, no tie-breaks": partial(confirmed, ties=()),
    "rule, finalists on 2 seeds": partial(confirmed, seeds=2),
    "rule, finalists, confidence 0.9": partial(confirmed, confidence=0.9),
    "rule, finalists, 600 confirm samples": partial(confirmed, samples=600),
}
SCENARIOS: Final[Mapping[str, float]] = {"much to gain": 40.0, "little to gain": 8.0, "nothing to gain": 0.0}
"""Points that a good subset gains at most, on average."""


def replay(scenario: str, seed: int) -> dict[str, dict[str, float]]:
    """Return selection -> what its choice in one landscape is worth."""
    found = searched(seed, SCENARIOS[scenario])
    alone = {key: {seed: each} for key, each in found.evaluations.items()}
    evidence = estimate_runs(alone, found.base, found.objective, found.config)
    best = max(found.true_score(key).score for key in (None, *found.truth))
    rows = {}
    for name, choose in SELECTIONS.items():
        chosen = choose(found, evidence)
        true = found.true_score(chosen.key)
        rows[name] = {
            "regret": best - true.score,
            "forgetting": true.held_out_forgetting,
            "true_score": true.score,
            "optimism": chosen.told - true.score,
            "harmful": float(true.score < 0),
            "kept_base": float(chosen.key is None),
            "covered": float(chosen.low <= true.score <= chosen.high) if np.isfinite(chosen.low) else np.nan,
            "interpolation": float(chosen.key is not None and chosen.key.startswith("point")),
            "runs": float(chosen.runs),
        }
    return rows


def summary(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return what a selection came to over all replays; regret and optimism in points."""
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    regret = columns["regret"]
    told = columns["covered"][np.isfinite(columns["covered"])]
    chosen = columns["kept_base"] == 0
    return {
        "regret": round(float(regret.mean()), 3),
        "regret_stderr": round(float(regret.std(ddof=1) / np.sqrt(len(regret))), 3),
        "regret_95th_percentile": round(float(np.quantile(regret, 0.95)), 3),
        "true_score": round(float(columns["true_score"].mean()), 3),
        "true_forgetting": round(float(columns["forgetting"].mean()), 3),
        "optimism_where_chosen": round(float(columns["optimism"][chosen].mean()), 3) if chosen.any() else 0.0,
        "harmful_share": round(float(columns["harmful"].mean()), 4),
        "kept_base_share": round(float(columns["kept_base"].mean()), 4),
        "interpolation_share": round(float(columns["interpolation"].mean()), 4),
        **({"interval_covers_share": round(float(told.mean()), 4)} if len(told) else {}),
        "further_trainings": round(float(columns["runs"].mean()), 2),
    }


def main(replays: int) -> None:
    """Replay every scenario and write the figures."""
    figures: dict[str, Any] = {
        "replays": replays,
        "trials": TRIALS,
        "samples_per_task": SAMPLES,
        "held_out_tasks": len(HELD_OUT),
        "seed_noise_points": SEED_NOISE,
        "agreement": AGREEMENT,
        "bootstrap_replicates": RESAMPLES,
    }
    with Pool() as pool:
        for scenario in SCENARIOS:
            rows = pool.map(partial(replay, scenario), range(replays), chunksize=8)
            figures[scenario] = {name: summary([row[name] for row in rows]) for name in SELECTIONS}
            for name, figure in figures[scenario].items():
                print(f"{scenario:16} {name:42} {figure}", flush=True)
    print(write_results("selection_regret", figures))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
