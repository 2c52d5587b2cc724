"""Choices: named recipes of the Pareto front, for who would rather gain more or forget less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ChoiceName = Literal["cautious", "balanced", "bold"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A recipe of the front, offered under a name.

    Attributes:
        name: How it is asked for.
        candidate: Its key, such as `trial 3` or `point 5`; see `search.candidates`.
        title: What it is, in a few words.
        sentence: What it gains and what it forgets.
    """

    name: ChoiceName
    candidate: str
    title: str
    sentence: str
