"""What each side's own program is told on its command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rivals.problem import STUDY

TRACE = "trace.jsonl"


@dataclass(frozen=True, kw_only=True)
class Options:
    """A side's task.

    Attributes:
        study: The study file.
        folder: Where everything that the side writes goes.
        trials: Trials of the search.
        seed: Seed of the sampler and of training.
        limit: Seconds after which no further trial is begun; None is no limit.
    """

    study: Path = STUDY
    folder: Path
    trials: int
    seed: int = 0
    limit: float | None = None

    @property
    def trace(self) -> Path:
        """The trace's file."""
        return self.folder / TRACE

    def to_arguments(self) -> list[str]:
        """Return the command line that `parse` reads."""
        words = [f"--study={self.study}", f"--folder={self.folder}", f"--trials={self.trials}"]
        words.append(f"--seed={self.seed}")
        return words if self.limit is None else [*words, f"--limit={self.limit}"]


def parse(about: str | None, arguments: Sequence[str] | None = None) -> tuple[Options, list[str]]:
    """Return a side's options, and what else its command line says."""
    parser = argparse.ArgumentParser(description=(about or "").split("\n")[0])
    parser.add_argument("--study", type=Path, default=STUDY)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float)
    parsed, rest = parser.parse_known_args(arguments)
    return Options(**vars(parsed)), rest
