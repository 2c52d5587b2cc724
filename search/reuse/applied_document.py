"""The recipe of `apply`: as it was trained here, with what it scored and in what it differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from search.config import StudyConfig
from search.decision.evidence import MEASURES
from search.handover.licences import licence_of
from search.handover.model_card import hub_data_sets, model_card
from search.handover.recipe_document import Architecture, BaseModelFacts, RecipeDocument, TrainedFacts
from search.handover.study_files import described
from search.phases.study_run import StudyRun
from search.records.stored_study import objective_of
from search.reuse.caveats import caveat_sentence
from search.reuse.comparison import Compared
from trainables.manifest import TrainableManifest


def applied_document(
    document: RecipeDocument,
    run: StudyRun,
    compared: Sequence[Compared],
    manifest: TrainableManifest,
    *,
    seed: int,
    caveats: Sequence[str],
) -> RecipeDocument:
    """Return a recipe with the evidence of its training here.

    Args:
        document: The recipe as it was trained, with the evidence that it was selected by.
        run: Where it was trained.
        compared: What it scored.
        manifest: What was trained.
        seed: The seed.
        caveats: In what it was applied otherwise than it was found.
    """
    config, prepared = run.config, run.prepared
    score = objective_of(config, compared[0].base).score(_values(compared[0]))
    facts = described(prepared.outline.architecture, manifest.to_dict())
    return replace(
        document,
        reason=(
            f"the recipe was trained on {', '.join(config.targets)} without a search, from seed {seed}: "
            f"{score.score:+.1f} points, a gain of {score.target_gain:+.1f} for "
            f"{score.held_out_forgetting:+.1f} of forgetting"
        ),
        model=BaseModelFacts(
            path=config.model.path,
            dtype=config.model.dtype,
            roles=config.model.roles,
            fingerprint=prepared.model_fingerprint,
        ),
        architecture=Architecture(**facts["architecture"]),
        trained=TrainedFacts(**facts["trained"]),
        evidence=_evidence(run, compared, seed),
        objective={
            "forgetting_weight": config.objective.forgetting_weight,
            "max_forgetting": config.objective.max_forgetting,
        },
        selection={},
        trials={},
        points=0,
        data=dict(prepared.data_fingerprints),
        versions=dict(run.versions),
        applied={
            "seed": seed,
            "caveats": list(caveats),
            "found_on": None if document.model is None else document.model.model_dump(exclude_none=True),
            "found_by": None if document.evidence is None else dict(document.evidence),
        },
    )


def applied_card(config: StudyConfig, document: RecipeDocument, compared: Sequence[Compared]) -> str:
    """Return the model card of the weights that applying a recipe gave, in Markdown.

    Args:
        config: The study that it was trained on.
        document: The recipe with the evidence of its training here.
        compared: What it scored, on the search split and maybe on the confirm split.
    """
    assert document.applied is not None
    assert document.recipe is not None
    caveat = caveat_sentence(document.recipe, document.applied["caveats"])
    estimates = {each.split: each.estimates for each in compared}
    return model_card(
        config.name,
        document,
        estimates=estimates["search"],
        confirmed=estimates.get("confirm"),
        licence=licence_of(config.model.path),
        data_sets=hub_data_sets(config),
        notes=(f"{caveat[0].upper()}{caveat[1:]}.",) if caveat else (),
    )


def _evidence(run: StudyRun, compared: Sequence[Compared], seed: int) -> dict[str, Any]:
    first = compared[0]
    score = objective_of(run.config, first.base).score(_values(first))
    evidence = {
        "split": first.split,
        "seed": seed,
        **{name: _rounded(value) for name, value in score.to_metrics().items()},
        **_tasks(run, first),
    }
    for each in compared[1:]:
        known = {name: each.estimates.of(name) for name in MEASURES}
        evidence[each.split] = {
            "split": each.split,
            "seeds": [seed],
            "handed_over": seed,
            **{
                name: {"value": _rounded(own.value), "low": _rounded(own.low), "high": _rounded(own.high)}
                for name, own in known.items()
            },
            **_tasks(run, each),
        }
    return evidence


def _tasks(run: StudyRun, compared: Compared) -> dict[str, Any]:
    def of(names: Sequence[str]) -> dict[str, dict[str, float | int]]:
        return {
            name: {
                "base": _rounded(compared.base[name].value),
                "tuned": _rounded(compared.tuned[name].value),
                "n": compared.base[name].n,
            }
            for name in names
        }

    return {"targets": of(run.config.targets), "held_out": of(run.config.held_out)}


def _values(compared: Compared) -> Mapping[str, float]:
    return {task: evaluation.value for task, evaluation in compared.tuned.items()}


def _rounded(value: float) -> float:
    return round(value, 4) + 0.0  # adding 0 turns -0.0 into 0.0
