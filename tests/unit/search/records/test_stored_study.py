"""A study that is read back from its folder."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest
from made_study import GOOD, MODEST, config, record, trial

from search.data.leakage import Leak
from search.records.stored_results import TRIAL_FILE, read_trial, write_point, write_trial
from search.records.stored_study import read_study, write_base, write_facts
from search.records.study_folder import StudyFolder
from search.records.study_record import StudyRecord
from search.results import PointResult, TrialState
from search.settings.study_file import dump_study
from search.settings.user_input import InputError
from spaces.points import Interpolation, Point
from trainables.data.bad_samples import BadSample

LEAK = Leak(train="count/train", scored="count/search", samples=2, exact=1, examples=(("a", "b"),))
BAD = BadSample(task="count", split="train", label="rows.jsonl:3", reason="the answer is empty")


def written(root: Path, *, finished: bool = True) -> StudyRecord:
    folder = StudyFolder(root)
    weights = root / "trials" / "t_0" / "step_000040.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"tensors")
    first = trial(0, [GOOD])
    last = dataclasses.replace(first.last, weights=str(weights), sha256="0" * 64)
    first = dataclasses.replace(first, trial_id="t_0", rungs=(last,))
    failed = dataclasses.replace(trial(1, [MODEST], state=TrialState.FAILED, error="lost"), trial_id="t_1")
    half = Point(0, 40, Interpolation(0.5))
    point = PointResult(number=0, point=half, trial=first, rung=first.last, unwritten="no space left")
    study = dataclasses.replace(
        record((first, failed), bad=[BAD]),
        points=(point,),
        leaks=(LEAK,),
        model_fingerprint="f1",
        data_fingerprints={"count/train": "d1"},
        finalists_left_out=("point 0",),
        run_id="r1",
        finished=finished,
    )
    folder.study.write_text(dump_study(study.config), encoding="utf-8")
    write_base(folder, study.base)
    write_facts(folder, study)
    for each in study.trials:
        write_trial(root, each)
    write_point(root, point)
    return study


def test_a_study_reads_back_as_it_was(tmp_path: Path) -> None:
    study = written(tmp_path / "study")
    assert read_study(tmp_path / "study") == study


def test_a_moved_study_finds_its_weights(tmp_path: Path) -> None:
    written(tmp_path / "study")
    (tmp_path / "study").rename(tmp_path / "moved")
    (first, _) = read_study(tmp_path / "moved").trials
    assert first.last.weights == str(tmp_path / "moved" / "trials" / "t_0" / "step_000040.safetensors")


def test_weights_that_are_gone_are_not_promised(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "trials" / "t_0" / "step_000040.safetensors").unlink()
    assert read_study(tmp_path).trials[0].last.weights is None


def test_a_half_finished_study_says_so(tmp_path: Path) -> None:
    written(tmp_path, finished=False)
    assert not read_study(tmp_path).finished


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("study.yaml", None, "is not a study's folder: it has no study.yaml"),
        ("base.json", None, "base.json: this file of the study is missing, though trials have ended"),
        ("record.json", "{", "damaged"),
        ("trials/t_0/trial.json", json.dumps({"number": 0}), "damaged"),
    ],
)
def test_a_folder_that_can_not_be_read(tmp_path: Path, file: str, content: str | None, message: str) -> None:
    written(tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_study(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_config_reads_back_to_the_same_study(tmp_path: Path) -> None:
    written(tmp_path)
    assert read_study(tmp_path).config == config()


def test_when_a_trial_started_is_kept_and_may_be_unknown(tmp_path: Path) -> None:
    """Trials that ended before it was written have no start."""
    write_trial(tmp_path, trial(0, [GOOD], started=1790000000.5))
    file = tmp_path / "trials" / "id0" / TRIAL_FILE
    assert read_trial(tmp_path, file).started == 1790000000.5
    fields = json.loads(file.read_text(encoding="utf-8"))
    del fields["started"]
    file.write_text(json.dumps(fields), encoding="utf-8")
    assert math.isnan(read_trial(tmp_path, file).started)


def test_a_study_that_ended_before_its_base_was_evaluated_says_so(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "base.json").unlink()
    shutil.rmtree(tmp_path / "trials")
    with pytest.raises(InputError, match="ended before its base was evaluated"):
        read_study(tmp_path)
