"""How far a trial has come, as a file that whoever takes the study up reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from made_study import GOOD, MODEST, trial

from search.records.open_trials import (
    OPEN_FILE,
    OpenTrial,
    close_open_trial,
    read_open_trials,
    trial_id_of,
    write_open_trial,
)
from search.records.stored_results import write_trial
from search.results import TrialState
from trainables.files import DamagedFile


def open_trial(number: int = 7, rungs: int = 2) -> OpenTrial:
    made = trial(number, [MODEST, GOOD])
    opened = OpenTrial(
        trial_id=trial_id_of(number), number=number, recipe=made.recipe, preset="paper_full", started=1e9
    )
    for rung in made.rungs[:rungs]:
        path = f"/runs/made/trials/0007/step_{rung.step}.safetensors"
        opened.add(rung, {"path": path, "optimizer": None, "sha256": "0", "step": rung.step}, ["here"])
    return opened


def test_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = open_trial()
    written.seconds, written.losses = 12.5, 2
    write_open_trial(tmp_path, written)
    (read,) = read_open_trials(tmp_path).values()
    # The folder may have been moved or copied: its own files count.
    here = tmp_path / "trials" / "0007"
    assert [each["path"] for each in read.checkpoints] == [
        str(here / Path(each["path"]).name) for each in written.checkpoints
    ]
    read.checkpoints = written.checkpoints
    assert read == written
    close_open_trial(tmp_path, written.trial_id)
    close_open_trial(tmp_path, written.trial_id)
    assert read_open_trials(tmp_path) == {}


def test_the_last_two_checkpoints_are_known_newest_first() -> None:
    opened = open_trial(rungs=0)
    for rung in (step := trial(0, [MODEST, MODEST, GOOD]).rungs):
        opened.add(rung, {"step": rung.step}, [])
    assert [each["step"] for each in opened.checkpoints] == [step[2].step, step[1].step]
    opened.add(step[2], None, [])
    assert len(opened.checkpoints) == 2


def test_a_trial_that_ended_is_no_longer_open(tmp_path: Path) -> None:
    """The driver died between writing the end and forgetting the way to it."""
    opened = open_trial()
    write_open_trial(tmp_path, opened)
    write_trial(tmp_path, opened.ended())
    assert read_open_trials(tmp_path) == {}


@pytest.mark.parametrize(
    ("rungs", "error", "state"),
    [
        (2, None, TrialState.COMPLETE),
        (1, None, TrialState.PRUNED),
        (2, "out of memory", TrialState.FAILED),
        (0, None, TrialState.FAILED),
    ],
)
def test_ends_as_far_as_it_came(rungs: int, error: str | None, state: TrialState) -> None:
    ended = open_trial(rungs=rungs).ended(error)
    assert (ended.state, len(ended.rungs), ended.started) == (state, rungs, 1e9)
    assert open_trial(rungs=rungs).is_trained == (rungs == 2)
    assert ended.error == (error or ("the trial ended before its first rung" if not rungs else None))


def _changed(**changes: object) -> Callable[[bytes], bytes]:
    return lambda content: json.dumps(json.loads(content) | changes).encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:40],
        lambda content: b"[]",
        _changed(trial_id="0008"),
        _changed(checkpoints=[{"nonsense": 1}]),
        _changed(checkpoints=[{"path": "/etc/passwd", "sha256": "0", "step": 1}]),
        _changed(checkpoints=[{"path": "../a.safetensors", "sha256": "0", "step": 1}]),
        _changed(checkpoints=[{"path": "a", "optimizer": "../../b", "sha256": "0", "step": 1}]),
        _changed(checkpoints=[{"path": "..", "sha256": "0", "step": 1}]),
        _changed(checkpoints=[{"path": "a", "sha256": "0", "step": 1, "micro_batch_size": 0}]),
        _changed(rungs=[{}]),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    write_open_trial(tmp_path, open_trial())
    file = tmp_path / "trials" / "0007" / OPEN_FILE
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DamagedFile) as refused:
        read_open_trials(tmp_path)
    assert str(file) in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
