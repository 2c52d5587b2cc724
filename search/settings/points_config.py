"""PointsConfig: the study file's section `points`, which says what is made of the best trials' weights."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from search.settings.config_types import Count, Distinct, Number, Section


class PointsConfig(Section):
    """What is made of trials' weights without training, and evaluated once the trials have ended."""

    top: Count = Field(
        2, description="Trials whose weights are interpolated and pruned: in turn best by score and by gain."
    )
    alpha: Distinct[Annotated[Number, Field(ge=0, le=1)]] = Field(
        (0.5, 0.9), description="Shares of the tuned weights in an interpolation with the base (WiSE-FT)."
    )
    keep: Distinct[Annotated[Number, Field(gt=0, le=1)]] = Field(
        (), description="Shares of the changes that are kept when the others are taken back (FAPM)."
    )
    soup: Annotated[int, Field(ge=2)] | None = Field(
        3, description="Best trials whose weights are averaged; null is none."
    )
    earlier_rungs: bool = Field(
        False, description="Whether these trials may be selected as they were at earlier rungs."
    )
