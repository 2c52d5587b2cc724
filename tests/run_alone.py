"""Running a study file in the test's own process, on a Ray of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from search.planning.preparation import prepare
from search.runner import Outcome, run_study
from search.settings.study_file import load_study
from search.tracking import prepare_store


def run_alone(file: Path, environment: Mapping[str, str] | None = None) -> Outcome:
    """Run a study on this machine alone, whatever cluster the shell names, one thread a process.

    Args:
        file: The study file.
        environment: Further variables.
    """
    config = load_study(file)
    prepare_store(config.tracking.uri)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        for name, value in {"OMP_NUM_THREADS": "1", **(environment or {})}.items():
            patch.setenv(name, value)
        return run_study(prepare(config), Console(quiet=True))
