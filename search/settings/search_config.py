"""SearchConfig: what the study file says on how the space is searched."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from search.sampling.aims import AimName, check_objectives
from search.settings.config_types import Choices, Count, Positive, Section

SamplerName = Literal["tpe", "nsga2", "nsga3", "random"]


class PruningConfig(Section):
    """Asynchronous successive halving (ASHA) over rungs at fixed absolute optimiser steps."""

    first_rung: Count = Field(description="Optimiser steps before the first decision.")
    reduction_factor: Annotated[int, Field(ge=2)] = Field(
        2, description="One in this many trials goes on at each rung; rungs are this factor apart."
    )


class SearchConfig(Section):
    """How the space is searched."""

    trials: Count = Field(description="Number of trials, presets included.")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        0, description="Seed of the sampler and of every trial."
    )
    objectives: Annotated[Choices[AimName], AfterValidator(check_objectives)] = Field(
        ("score",), description="What the sampler and the pruning improve; of several they seek the front."
    )
    sampler: SamplerName = Field("tpe", description="Who proposes recipes.")
    population: Annotated[int, Field(ge=2)] | None = Field(
        None, description="Trials of a generation of nsga2 and nsga3; null: computed from the trials."
    )
    presets: bool = Field(
        True, description="Queue the published recipes first; they count as start-up trials."
    )
    preset_learning_rate: Positive | None = Field(
        None, description="Learning rate of the presets; null takes the middle of each subset's bounds."
    )
    pruning: PruningConfig | None = Field(None, description="Early stopping of weak trials; null is none.")
    storage: str | None = Field(
        None, description="Database of the Optuna study; null keeps it in the study's folder."
    )


def startup_trials(search: SearchConfig) -> int:
    """Return the fewest trials before the sampler takes over from chance; of NSGA that is a generation."""
    if search.sampler == "random":
        return search.trials
    if search.sampler == "tpe":
        return max(1, min(10, search.trials // 3))
    return search.population or max(4, min(50, search.trials // 4))


def check_search(search: SearchConfig) -> None:
    """Check what no key says alone.

    Raises:
        ValueError: A key contradicts another, or would mean nothing; the message names it.
    """
    if search.population is not None and search.sampler not in ("nsga2", "nsga3"):
        raise ValueError(f"search.population: the sampler {search.sampler!r} has none; nsga2 and nsga3 do")
