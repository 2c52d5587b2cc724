from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from made_study import GOOD, MODEST, config, trial
from rich.console import Console

from search.phases.progress import StudyProgress
from search.results import TrialState
from spaces.recipe import Recipe

RECIPE = Recipe(subset="gate_up", learning_rate=3.14e-4, steps=40, batch_size=8)


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def text() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def plain(clock: Clock, text: io.StringIO) -> Iterator[StudyProgress]:
    with StudyProgress(8, Console(file=text, width=60), clock=clock) as progress:
        yield progress


def last_line(text: io.StringIO) -> str:
    return text.getvalue().splitlines()[-1]


def test_a_line_an_event_off_a_terminal(plain: StudyProgress, text: io.StringIO, clock: Clock) -> None:
    plain.trial_started(7, RECIPE, "paper_gate_up")
    assert last_line(text) == "trial 7  gate_up lr 3.1e-4  started  (preset paper_gate_up)"
    result = trial(7, [MODEST, GOOD], learning_rate=3.14e-4, seconds=20)
    plain.trial_rung(7, 20, result.rungs[0].score)
    assert (
        last_line(text) == "trial 7  gate_up lr 3.1e-4  step 20  score +10.0  (gain +10.0, forgetting +0.0)"
    )
    clock.now += 20
    plain.trial_ended(result)
    # Seven more trials of 20 s, one at a time: 140 s. The line is longer than the console is wide.
    assert last_line(text) == (
        "trial 7  gate_up lr 3.1e-4  COMPLETE  score +22.0  (gain +25.0, forgetting +3.0)  "
        "1/8 done, about 2m 20s left"
    )


def test_a_pruned_and_a_failed_trial_say_so(plain: StudyProgress, text: io.StringIO) -> None:
    plain.trial_ended(trial(0, [MODEST], state=TrialState.PRUNED, seconds=10))
    assert "PRUNED at step 20  score +10.0" in last_line(text)
    plain.trial_ended(trial(1, state=TrialState.FAILED, error="out of memory [bold]"))
    assert "FAILED  out of memory [bold]  2/8 done" in last_line(text)


def test_time_left_from_durations_and_concurrency(plain: StudyProgress, clock: Clock) -> None:
    """Two ran at a time for 10 s and 20 s, so 15 s is usual.

    Of eight, two ended; one has run for 5 s (10 s to go), one just started (15 s to go), four wait (60 s):
    85 s of work for two at a time are 42.5 s.
    """
    assert plain.time_left() is None
    plain.trial_started(0, RECIPE, None)
    plain.trial_started(1, RECIPE, None)
    plain.trial_ended(trial(0, [GOOD], seconds=10))
    plain.trial_started(2, RECIPE, None)
    clock.now += 5
    plain.trial_ended(trial(1, [GOOD], seconds=20))
    plain.trial_started(3, RECIPE, None)
    assert plain.time_left() == pytest.approx(42.5)


def test_time_left_is_at_least_the_longest_open_trial(plain: StudyProgress) -> None:
    for number in range(8):
        plain.trial_started(number, RECIPE, None)
    for number in range(7):
        plain.trial_ended(trial(number, [GOOD], seconds=16))
    # One trial is left and just began: 16 s, although eight ran side by side.
    assert plain.time_left() == pytest.approx(16)


def test_what_earlier_drivers_did_counts(plain: StudyProgress, clock: Clock) -> None:
    plain.taken_up([trial(0, [GOOD], seconds=4), trial(1, state=TrialState.FAILED, error="x", seconds=1)])
    plain.trial_started(2, RECIPE, None, step=25)
    # Of eight trials two are done, one began just now, and five wait: six of 4 s.
    assert plain.time_left() == pytest.approx(24)


def test_a_failed_trial_tells_nothing_about_the_time_left(plain: StudyProgress) -> None:
    plain.trial_ended(trial(0, state=TrialState.FAILED, error="at once", seconds=0.1))
    assert plain.time_left() is None


def test_the_summary_names_the_best_complete_trial_and_is_said_once(clock: Clock, text: io.StringIO) -> None:
    progress = StudyProgress(3, Console(file=text, width=60), clock=clock)
    with progress:
        progress.trial_ended(trial(0, [MODEST]))
        progress.trial_ended(trial(1, [GOOD], state=TrialState.PRUNED))
        clock.now += 75
    progress.stop()
    assert text.getvalue().count("in 1m 15s") == 1
    assert last_line(text) == (
        "2 of 3 trials in 1m 15s: 1 complete, 1 pruned, 0 failed; "
        "best: trial 0  gate_up lr 1.0e-3  score +10.0  (gain +10.0, forgetting +0.0)"
    )


def test_an_infeasible_trial_is_not_the_best(clock: Clock, text: io.StringIO) -> None:
    with StudyProgress(2, Console(file=text, width=60), max_forgetting=1.0, clock=clock) as progress:
        progress.trial_ended(trial(0, [GOOD]))  # forgets 3
        progress.trial_ended(trial(1, [MODEST]))  # forgets 0
    assert "best: trial 1" in last_line(text)


def test_a_terminal_shows_what_runs(clock: Clock, text: io.StringIO) -> None:
    console = Console(file=text, width=110, force_terminal=True, color_system=None, legacy_windows=False)
    with StudyProgress(4, console, clock=clock) as progress:
        progress.trial_ended(trial(0, [GOOD], seconds=30))
        progress.trial_started(1, RECIPE, "paper_gate_up")
        progress.trial_rung(1, 20, trial(1, [MODEST]).last.score)
        clock.now += 10
    shown = text.getvalue()
    assert "1/4" in shown
    assert "1 running, 1 complete, 0 pruned, 0 failed" in shown
    assert "best: trial 0  gate_up lr 1.0e-3  score +22.0" in shown
    assert "step 20/40" in shown
    # 20 s of the open trial and two more of 30 s, one at a time.
    assert "10s, about 1m 20s left" in shown
    # What the display shows already, the lines above it leave out.
    assert "started" not in shown
    assert " done" not in shown
    assert "1 of 4 trials in 10s" in last_line(text)


def test_only_some_of_many_running_trials_are_listed(clock: Clock, text: io.StringIO) -> None:
    console = Console(file=text, width=110, force_terminal=True, color_system=None, legacy_windows=False)
    with StudyProgress(20, console, clock=clock) as progress:
        for number in range(11):
            progress.trial_started(number, RECIPE, None)
    assert "and 3 more" in text.getvalue()
    assert "11 running" in text.getvalue()


def test_the_display_ends_when_the_study_breaks(clock: Clock, text: io.StringIO) -> None:
    console = Console(file=text, width=110, force_terminal=True, color_system=None, legacy_windows=False)
    with pytest.raises(RuntimeError, match="broke"), StudyProgress(2, console, clock=clock):
        raise RuntimeError("the study broke")
    # The cursor is shown again, and the last line sums up.
    assert "\x1b[?25h" in text.getvalue()
    assert "0 of 2 trials" in last_line(text)


def test_the_made_study_is_what_the_expected_numbers_say() -> None:
    score = trial(0, [GOOD], study=config()).last.score
    assert (score.target_gain, score.held_out_forgetting, score.worst_forgetting, score.score) == (
        25,
        3,
        4,
        22,
    )
