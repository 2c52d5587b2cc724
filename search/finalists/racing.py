"""Racing: which finalists are trained on the next seed, and which are dropped; pure.

Each round trains every finalist that is still in the race on one new seed. Finalists that need the same
trial's recipe share its run, so who needs no other run rides along. What a round may take is bounded, and the
one that stands first is looked after: no other one is trained with the steps that it needs for its remaining
seeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Entrant:
    """A candidate that may be trained again.

    Attributes:
        key: Key of the candidate, such as `trial 3`.
        needs: Number of each trial whose recipe must be trained again -> optimiser steps of that.
    """

    key: str
    needs: Mapping[int, int]


def fresh_seeds(seed: int, count: int) -> tuple[int, ...]:
    """Return seeds below 2^32 for finalists, all different and none of them the study's.

    Args:
        seed: The study's.
        count: Seeds wanted; more of them begin with the same.
    """
    found: dict[int, None] = {}
    for draw in _draws(seed):
        if len(found) == count:
            break
        if draw != seed:
            found[draw] = None
    return tuple(found)


def _draws(seed: int) -> Iterator[int]:
    number = 0
    while True:
        digest = hashlib.sha256(f"finalists of seed {seed}, draw {number}".encode()).digest()
        yield int.from_bytes(digest[:4], "big")
        number += 1


def needed(entrants: Iterable[Entrant]) -> dict[int, int]:
    """Return trial -> optimiser steps of a round in which these run; what several need is trained once."""
    steps: dict[int, int] = {}
    for entrant in entrants:
        for trial, own in entrant.needs.items():
            steps[trial] = max(own, steps.get(trial, 0))
    return steps


def runners(standing: Sequence[Entrant], *, rounds: int, left: int) -> tuple[Entrant, ...]:
    """Return who runs in the next round: the first ones, as many as there are steps for, and who rides along.

    Args:
        standing: Who is still in the race, best first.
        rounds: Rounds to come, this one included.
        left: Optimiser steps that are left for all of them.
    """
    for size in range(len(standing), 0, -1):
        running = standing[:size]
        # The first one alone needs this in the rounds after this one, if there is enough for them at all.
        kept_back = (rounds - 1) * sum(needed(standing[:1]).values()) if size > 1 else 0
        trained = needed(running)
        if sum(trained.values()) + kept_back <= left:
            return tuple(each for each in standing if needed((*running, each)) == trained)
    return ()


def after_round(
    running: Sequence[Entrant],
    worth: Mapping[str, tuple[bool, float]],
    behind: Callable[[str, str], bool],
) -> tuple[tuple[Entrant, ...], tuple[Entrant, ...]]:
    """Return who stays in the race, best first, and who is dropped, since it is clearly behind the first.

    Args:
        running: Who ran.
        worth: Key -> whether it keeps the bound on forgetting, and its score, both as means over the new
            seeds so far; who has no run is neither in nor dropped. Who keeps the bound comes first.
        behind: Whether one, named first, is worth less than another beyond noise.
    """
    left = [each for each in running if each.key in worth]
    ranked = sorted(left, key=lambda each: worth[each.key], reverse=True)
    if not ranked:
        return (), ()
    first = ranked[0]
    dropped = tuple(each for each in ranked[1:] if behind(each.key, first.key))
    return tuple(each for each in ranked if each not in dropped), dropped
