"""What is tried again, how, and how often."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import train_job

from trainables.pointer import Pointer
from trainables.workers.attempts import Attempts, GivenUp, micro_batch_of
from trainables.workers.jobs import EvaluateJob, TrainJob

JOB = train_job(Path("/shared/trial"), rungs=(2, 4, 6), batch_size=8)


def pointer(step: int) -> Pointer:
    return Pointer(f"/shared/trial/step_{step:06d}.safetensors", "0", step)


def between(step: int) -> Pointer:
    return Pointer(f"/shared/trial/between_{step:06d}.safetensors", "0", step)


def sizes(attempts: Attempts, times: int) -> list[int | None]:
    found = []
    for _ in range(times):
        job = attempts.next([])
        assert isinstance(job, TrainJob)
        found.append(job.micro_batch_size)
        attempts.too_large("2 GiB wanted")
    return found


def test_a_job_whose_workers_die_is_tried_again_from_the_last_two_checkpoints() -> None:
    attempts = Attempts(replace(JOB, resume=(pointer(1), pointer(0))), 1, max_failures=9)
    assert attempts.next([]) == replace(JOB, resume=(pointer(1), pointer(0)))
    assert attempts.next([pointer(2)]) == replace(JOB, resume=(pointer(2), pointer(1)))
    saved = [pointer(step) for step in (6, 4, 2)]
    assert attempts.next(saved) == replace(JOB, resume=(pointer(6), pointer(4)))
    # What is no training has nothing to go on from.
    assert Attempts(EvaluateJob(), 1, 9).next(saved) == EvaluateJob()


def test_deaths_count_from_the_last_rung() -> None:
    attempts = Attempts(JOB, 1, max_failures=2)
    attempts.next([])
    for _ in range(5):
        attempts.next([])
        attempts.next([])
        attempts.progressed()
    attempts.lost("no sign of progress for 7 seconds")
    attempts.next([])
    attempts.next([])
    attempts.lost("gone")
    attempts.lost("Connection closed by peer")
    with pytest.raises(GivenUp, match=r"^its workers died 3 times: gone$") as given_up:
        attempts.next([])
    assert given_up.value.lost


def test_a_step_that_is_too_large_is_halved_down_to_one_sample() -> None:
    attempts = Attempts(JOB, 1, max_failures=0)
    assert sizes(attempts, 4) == [None, 4, 2, 1]
    with pytest.raises(GivenUp, match=r"^out of memory with one sample per pass: 2 GiB wanted$"):
        attempts.next([])


def test_a_worker_s_own_share_is_halved() -> None:
    """Of 8 samples 3 workers take 3, 3 and 2."""
    assert micro_batch_of(JOB, 3) == 3
    assert micro_batch_of(replace(JOB, micro_batch_size=2), 3) == 2
    assert micro_batch_of(replace(JOB, micro_batch_size=64), 3) == 3
    assert sizes(Attempts(JOB, 3, 0), 2) == [None, 1]
    assert sizes(Attempts(replace(JOB, micro_batch_size=6), 1, 0), 3) == [6, 3, 1]


def test_the_smaller_batch_stays_when_workers_die_later() -> None:
    attempts = Attempts(JOB, 1, max_failures=1)
    sizes(attempts, 1)
    again = [attempts.next([]), attempts.next([pointer(2)])]
    assert again == [
        replace(JOB, micro_batch_size=4),
        replace(JOB, micro_batch_size=4, resume=(pointer(2),)),
    ]


def test_a_run_that_had_to_stop_goes_on_from_there_and_has_not_failed() -> None:
    attempts = Attempts(JOB, 1, max_failures=0)
    attempts.next([])
    for _ in range(2):
        attempts.stopped(between(3))
        assert attempts.next([pointer(2)]) == replace(JOB, resume=(between(3), pointer(2)))
    # After the next rung that is no longer the last checkpoint.
    attempts.progressed()
    attempts.stopped(between(5))
    expected = replace(JOB, resume=(between(5), pointer(4), pointer(2)))
    assert attempts.next([pointer(4), pointer(2)]) == expected
    attempts.progressed()
    with pytest.raises(GivenUp, match=r"^its workers died 1 times$"):
        attempts.next([pointer(6), pointer(4)])


def test_the_rung_before_the_last_stays_what_a_run_goes_back_to_after_a_stop_between_them() -> None:
    """The study's record and the folder know of the rungs alone, once one comes after the stop."""
    begun = replace(JOB, resume=(between(3), pointer(2), pointer(1)))
    attempts = Attempts(begun, 1, max_failures=1)
    assert attempts.next([]) == begun
    assert attempts.next([pointer(4)]) == replace(JOB, resume=(pointer(4), pointer(2)))
    attempts = Attempts(begun, 1, max_failures=1)
    attempts.stopped(between(4))
    assert attempts.next([]) == replace(JOB, resume=(between(4), pointer(2), pointer(1)))


def test_a_stop_that_is_told_after_a_later_rung_is_none_to_go_on_from() -> None:
    attempts = Attempts(JOB, 1, max_failures=0)
    attempts.next([])
    attempts.progressed()
    attempts.stopped(between(3))
    assert attempts.next([pointer(4), pointer(2)]) == replace(JOB, resume=(pointer(4), pointer(2)))


def test_what_only_trains_can_be_halved() -> None:
    attempts = Attempts(EvaluateJob(), 1, max_failures=3)
    attempts.next([])
    attempts.too_large("2 GiB wanted")
    with pytest.raises(GivenUp, match=r"^2 GiB wanted$"):
        attempts.next([])


def test_an_error_of_a_worker_s_own_is_tried_once_more_and_not_max_failures_times() -> None:
    attempts = Attempts(JOB, 2, max_failures=9)
    attempts.next([])
    attempts.failed(1, "OSError: gone")
    attempts.next([])
    attempts.failed(0, "ValueError: other words")
    attempts.next([])
    attempts.failed(1, "ValueError: other words")
    with pytest.raises(GivenUp, match=r"^ValueError: other words \(twice\)$") as given_up:
        attempts.next([])
    assert not given_up.value.lost


def test_an_error_on_every_worker_is_not_tried_again() -> None:
    attempts = Attempts(JOB, 2, max_failures=9)
    attempts.next([])
    attempts.failed(0, "OSError: gone")
    attempts.failed(1, "OSError: gone")
    with pytest.raises(GivenUp, match=r"^OSError: gone \(on every worker\)$"):
        attempts.next([])


def test_the_same_error_after_a_rung_is_another_one() -> None:
    attempts = Attempts(JOB, 2, max_failures=9)
    for step in (2, 4, 6):
        attempts.next([pointer(step)])
        attempts.failed(0, "OSError: gone")
        attempts.next([pointer(step)])
        attempts.progressed()


def test_different_errors_are_bounded_too() -> None:
    attempts = Attempts(JOB, 2, max_failures=2)
    for number in range(3):
        attempts.next([])
        attempts.failed(0, f"OSError: {number}")
    with pytest.raises(GivenUp, match=r"^its workers died 3 times: OSError: 2$") as given_up:
        attempts.next([])
    assert not given_up.value.lost, "the job itself failed, each time"
