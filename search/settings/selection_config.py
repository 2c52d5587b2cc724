"""SelectionConfig and FinalistsConfig: what the study file says on what is chosen and how it is confirmed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from search.settings.config_types import Choices, Count, NonNegative, Number, Positive, Section

Maximised = Literal["score", "target_gain"]
TieBreak = Literal["held_out_forgetting", "worst_forgetting", "cost", "target_gain"]
KeptWeights = Literal["selected", "pareto", "all"]


class SelectionConfig(Section):
    """By which rule a recipe is chosen."""

    maximise: Maximised = Field(
        "score", description="What is maximised, among what keeps objective.max_forgetting."
    )
    strict: bool = Field(
        False, description="Whether the interval's upper end, not the mean, must keep max_forgetting."
    )
    ties: Choices[TieBreak] = Field(
        ("held_out_forgetting", "cost"),
        description="What decides among those whose difference to the best lies within noise, in this order.",
    )
    confidence: Annotated[Number, Field(gt=0.5, lt=1)] = Field(
        0.95, description="Share of a bootstrap distribution that an interval covers."
    )
    tie_confidence: Annotated[Number, Field(gt=0, lt=1)] = Field(
        0.68,
        description="The same for the paired difference of two recipes, which are tied where it holds 0.",
    )
    replicates: Annotated[int, Field(ge=200)] = Field(2000, description="Resamples of the bootstrap.")
    keep_weights: KeptWeights = Field(
        "pareto",
        description="Whose trained parameters stay when the study has ended; pareto: the feasible front's.",
    )
    max_disk_gib: Positive | None = Field(
        None, description="Bound in GiB on what trained weights and checkpoints take; null: none."
    )


class FinalistsConfig(Section):
    """How the best recipes are trained again on new seeds, and scored on the confirm split."""

    most: Count = Field(
        3, description="Most recipes that are trained again; what is made of the same weights rides along."
    )
    seeds: Count = Field(3, description="New seeds that each of them is trained on.")
    budget: NonNegative = Field(
        0.5, description="Bound on their optimiser steps, as a share of search.trials whole trials' steps."
    )
