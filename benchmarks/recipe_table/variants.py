"""What simulated studies differ in: who proposes, who stops trials, and what a study begins with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from search.settings.search_config import PruningConfig, SamplerName, SearchConfig, startup_trials

Proposer = SamplerName | Literal["grid"]
Start = Literal["nothing", "presets", "low presets", "three rates", "best elsewhere", "results elsewhere"]
"""What a study begins with: nothing; the published recipes at the middle of the rates, or a quarter of the
way from the lowest to the highest, or at three rates each; the best recipes of a study of another target; or
that study's results, told to the sampler as if they were of this one."""

HALVING: Final = PruningConfig(first_rung=25, reduction_factor=2)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to search.

    Attributes:
        sampler: Who proposes; `grid` goes through as many rates a subset as the steps suffice for, and on by
            chance if some are left.
        pruning: Successive halving, or None.
        start: What is known or queued before the first proposal.
        drift: KL(base || tuned) on held-out tasks, in nats per answer token, above which a trial is stopped
            at an early rung; None stops none. Without halving that is the table's first rung.
        finalists: How many of the best recipes are trained again on other seeds of the table, within the
            budget. The best mean is selected then, else the best trial.
        repeats: On how many other seeds; with all of them the means would be the true scores themselves.
    """

    sampler: Proposer = "tpe"
    pruning: PruningConfig | None = HALVING
    start: Start = "presets"
    drift: float | None = None
    finalists: int = 0
    repeats: int = 1

    @property
    def name(self) -> str:
        """What it is called in tables."""
        parts: list[str] = [self.sampler]
        if self.pruning is not None:
            parts.append(f"halving {self.pruning.reduction_factor} from {self.pruning.first_rung}")
        if self.start != "nothing":
            parts.append(self.start)
        if self.drift is not None:
            parts.append(f"drift {self.drift:g}")
        if self.finalists:
            times = "twice" if self.repeats == 2 else "once"
            parts.append(f"{self.finalists} finalists {times} again")
        return ", ".join(parts)

    def trials(self, whole_trials: int, rungs: tuple[int, ...]) -> int:
        """Return how many trials to expect where steps suffice for so many whole ones.

        Args:
            whole_trials: Trials that go to their end.
            rungs: Those of the study.
        """
        share, taken, before = 1.0, 0.0, 0
        for rung in rungs:
            taken, before = taken + share * (rung - before), rung
            share /= 1 if self.pruning is None else self.pruning.reduction_factor
        return int(whole_trials * rungs[-1] / taken)

    def startup_trials(self, whole_trials: int) -> int:
        """Return the trials before the sampler takes over, as a study of so many whole trials has them."""
        name: SamplerName = "random" if self.sampler == "grid" else self.sampler
        return startup_trials(SearchConfig(trials=max(1, whole_trials), sampler=name))


DEFAULT: Final = Variant()
"""How examples/quickstart.yaml searches, but for its finalists."""


def rungs_of(pruning: PruningConfig | None, drift: float | None, rungs: tuple[int, ...]) -> tuple[int, ...]:
    """Return the rungs of a table at which a study's trials report.

    A rung that halving would have and the table has not is left out: with the factor 3 from 25 on, 75.
    """
    early: set[int] = set()
    if pruning is not None:
        step = pruning.first_rung
        while step < rungs[-1]:
            early.add(step)
            step *= pruning.reduction_factor
    elif drift is not None:
        early.add(rungs[0])
    return (*(rung for rung in rungs[:-1] if rung in early), rungs[-1])


def variants(*, elsewhere: bool) -> tuple[Variant, ...]:
    """Return the variants that are compared: each one thing away from the default, and some together.

    Args:
        elsewhere: Whether there is another target whose results a study can begin with.
    """
    proposers: tuple[Proposer, ...] = ("tpe", "nsga2", "random", "grid")
    starts: tuple[Start, ...] = ("nothing", "low presets", "three rates")
    others: tuple[Start, ...] = ("best elsewhere", "results elsewhere")
    quarters = PruningConfig(first_rung=25, reduction_factor=4)
    later = [PruningConfig(first_rung=50, reduction_factor=factor) for factor in (2, 4)]
    halvings = [quarters, PruningConfig(first_rung=25, reduction_factor=3), *later]
    found = [replace(DEFAULT, sampler=sampler) for sampler in proposers]
    found += [replace(DEFAULT, sampler=sampler, pruning=None) for sampler in proposers]
    found += [replace(DEFAULT, pruning=pruning) for pruning in halvings]
    found += [replace(DEFAULT, start=start) for start in (*starts, *(others if elsewhere else ()))]
    found += [replace(DEFAULT, pruning=quarters, start=start) for start in starts]
    found += [replace(DEFAULT, sampler="grid", pruning=quarters)]
    found += [replace(DEFAULT, sampler="random", pruning=quarters, start="nothing")]
    found += [replace(DEFAULT, drift=drift) for drift in (0.1, 1.0)]
    found += [replace(DEFAULT, pruning=None, drift=0.3)]
    found += [replace(DEFAULT, pruning=quarters, start="three rates", drift=0.3)]
    found += [replace(DEFAULT, finalists=count) for count in (2, 4)]
    for sampler, start in (("tpe", "three rates"), ("tpe", "nothing"), ("grid", "nothing")):
        plain = replace(DEFAULT, sampler=sampler, pruning=quarters, start=start)  # type: ignore[arg-type]
        found += [replace(plain, finalists=4), replace(plain, finalists=4, repeats=2)]
    return tuple(replace(one, start="nothing") if one.sampler == "grid" else one for one in found)
