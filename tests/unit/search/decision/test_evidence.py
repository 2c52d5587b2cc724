"""Which run of a finalist stands for it."""

from __future__ import annotations

from dataclasses import replace

from made_study import GOOD, MODEST, finalist


def test_a_run_whose_confirmation_failed_stands_for_nobody_who_was_confirmed() -> None:
    """Seed 100 scores 22 on the search split and seed 101 scores 10, but only that one was confirmed."""
    made = finalist("trial 0", GOOD, MODEST)
    assert made.run == made.runs[0]
    failed, confirmed = replace(made.runs[0], confirm={}, confirmed=None, error="no memory"), made.runs[1]
    assert replace(made, runs=(failed, confirmed)).run == confirmed
    # Its weights are gone, and still they are what was confirmed.
    assert failed.rung is not None
    written = replace(failed, rung=replace(failed.rung, weights="weights.safetensors"))
    assert replace(made, runs=(written, confirmed)).run == confirmed
    assert replace(made, runs=(written,)).run == written
