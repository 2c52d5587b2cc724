"""What models answered, read back with the samples that they answered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from made_study import trial

from search.config import StudyConfig
from search.data.inputs import load_scored
from search.records.predictions import Whose, read_answers, read_whose, write_predictions
from search.records.stored_predictions import NoSamples, with_stored_predictions
from search.records.stored_study import objective_of
from search.records.study_folder import StudyFolder
from search.records.study_record import StudyRecord
from search.selection import Selection
from trainables.data.samples import fingerprint
from trainables.scoring.evaluation import Evaluation


def rows(path: Path, *answers: str) -> str:
    lines = [json.dumps({"prompt": f"{number}?", "answer": answer}) for number, answer in enumerate(answers)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path / "study")


@pytest.fixture
def record(tmp_path: Path, folder: StudyFolder) -> StudyRecord:
    """A study of two tasks of two samples; of `sum` the recipe has one right that the base has not."""
    config = StudyConfig.model_validate(
        {
            "name": "made",
            "model": {"path": "tiny-llava"},
            "tasks": {
                "sum": {
                    "train": rows(tmp_path / "train.jsonl", "9"),
                    "search": rows(tmp_path / "sum.jsonl", "1", "2"),
                },
                "word": {"search": rows(tmp_path / "word.jsonl", "a", "b")},
            },
            "targets": ["sum"],
            "held_out": ["word"],
            "space": {"subsets": ["full"], "learning_rate": [1e-5, 1e-1]},
            "training": {"steps": 40, "batch_size": 8},
            "search": {"trials": 1},
            "finalists": None,
        }
    )
    base = {
        "sum": Evaluation(task="sum", scores=(0.0, 0.0), predictions=("7", "7")),
        "word": Evaluation(task="word", scores=(100.0, 100.0), predictions=("a", "b")),
    }
    tuned = {**base, "sum": Evaluation(task="sum", scores=(100.0, 0.0), predictions=("1", "7"))}
    tasks = load_scored(config)
    for model, evaluations in (("base", base), ("selected", tuned)):
        write_predictions(folder.predictions / f"{model}.parquet", tasks, evaluations)
    return StudyRecord(
        config=config,
        objective=objective_of(config, base),
        base=base,
        trials=(),
        seconds=1.0,
        versions={},
        data_fingerprints={f"{task.name}/search": fingerprint(task.search) for task in tasks},
    )


def selected(**values: float) -> Selection:
    made = trial(0, [{}])
    rung = replace(made.last, values={"word": 100.0, **values})
    return Selection(winner=replace(made, rungs=(rung,)), ranking=(), infeasible=(), reason="best")


def test_answers_come_back_with_their_samples(record: StudyRecord, folder: StudyFolder) -> None:
    found = with_stored_predictions(record, selected(sum=50.0), folder)
    assert [(task.name, [sample.prompt for sample in task.search]) for task in found.tasks] == [
        ("sum", ["0?", "1?"]),
        ("word", ["0?", "1?"]),
    ]
    assert found.predictions.models["base"] == record.base
    assert found.predictions.models["selected"]["sum"].predictions == ("1", "7")


def test_answers_of_another_recipe_are_not_shown(record: StudyRecord, folder: StudyFolder) -> None:
    with pytest.raises(NoSamples, match="is of another recipe"):
        with_stored_predictions(record, selected(sum=0.0), folder)


def test_a_table_that_tells_whose_it_is_is_known_by_that(record: StudyRecord, folder: StudyFolder) -> None:
    """Adapters that are merged into half precision may score otherwise the second time, and are the same."""
    file = folder.predictions / "selected.parquet"
    answers = read_answers(file)
    tasks = load_scored(record.config)
    write_predictions(file, tasks, answers, Whose(candidate="trial 0"))
    with_stored_predictions(record, selected(sum=49.0), folder)
    for other in (Whose(candidate="trial 1"), Whose(candidate="trial 0", seed=7)):
        write_predictions(file, tasks, answers, other)
        assert read_whose(file) == other
        with pytest.raises(NoSamples, match="is of another recipe"):
            with_stored_predictions(record, selected(sum=50.0), folder)


def test_other_samples_than_the_study_s_are_not_shown(
    record: StudyRecord, folder: StudyFolder, tmp_path: Path
) -> None:
    rows(tmp_path / "word.jsonl", "a", "c")
    with pytest.raises(NoSamples, match="the search split of task 'word' is another one than the study's"):
        with_stored_predictions(record, selected(sum=50.0), folder)
    (tmp_path / "word.jsonl").unlink()
    with pytest.raises(NoSamples, match="word"):
        with_stored_predictions(record, selected(sum=50.0), folder)


def test_answers_that_were_not_kept_are_said_so(record: StudyRecord, folder: StudyFolder) -> None:
    (folder.predictions / "selected.parquet").unlink()
    with pytest.raises(NoSamples, match="what the selected model answers is not known"):
        with_stored_predictions(record, selected(sum=50.0), folder)
