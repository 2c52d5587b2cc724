"""The comparison with public tools, whole: every side on one small study."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console
from small_rivals import write_study

from benchmarks.rivals.__main__ import compare, parser
from benchmarks.rivals.shown import shown
from benchmarks.rivals.sides import SIDES


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_side_searches_the_same_study(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    arguments = parser().parse_args([f"--study={study}", "--trials=2", "--limit=1"])
    console = Console(record=True, width=300)
    content, runs = compare(tmp_path / "runs", arguments, console)
    assert [run.side for run in runs] == list(SIDES)
    for run in runs:
        # The limit lets the sweeps and the sequential search begin one trial.
        assert run.trials == (1 if SIDES[run.side].limited else 2), run.side
        assert {each.subset for each in run.found.trace} <= {"sa_proj", "projector"}
        assert {each.step for each in run.found.trace} <= {20, 40}
        assert all(0 < each.at < run.usage.seconds for each in run.found.trace)
        assert run.usage.cpu_seconds > 1
    assert content["sides"]["grid"]["seconds_of_whole_plan"]["extrapolated"]
    assert content["sides"]["ray_tune"]["megabytes_of_weights_per_trial"]["median"] > 8
    console.print(shown(content))
    assert "extrapolated from 1 of 32 trials" in console.export_text()
