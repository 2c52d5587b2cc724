"""Tables of answers go with what `select` chooses, and what it leaves to MLflow is said."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from made_study import BASE, config, evaluation
from selectable_study import (
    BOLD,
    MILD,
    confirmed,
    run,
    study_folder,
)

from search.records.predictions import Whose, read_answers, write_predictions
from search.records.stored_finalists import slug_of
from search.records.study_folder import StudyFolder
from trainables.data.samples import Sample
from trainables.metrics import EXACT_MATCH
from trainables.scoring.evaluation import Evaluation
from trainables.workers.jobs import TaskData

TASK = TaskData(
    name="count",
    role="target",
    metric=EXACT_MATCH,
    train=(),
    search=(Sample(id="s0", prompt="How many?", answer="2", references=("2",), where="count.jsonl:1"),),
)


def table(folder: StudyFolder, name: str, answer: str, whose: Whose | None) -> None:
    found = {"count": Evaluation(task="count", scores=(0.0,), predictions=(answer,))}
    write_predictions(folder.predictions / f"{name}.parquet", [TASK], found, whose)


def answers(folder: StudyFolder) -> dict[str, str]:
    """Return what the one sample is answered in each table."""
    return {
        file.stem: read_answers(file)["count"].predictions[0]
        for file in sorted(folder.predictions.glob("*.parquet"))
    }


def test_the_table_of_answers_goes_with_the_choice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bold one was selected and answered "two"; nobody asked the mild one, or what is halfway."""
    folder = study_folder(tmp_path / "study")
    table(folder, "selected", "two", Whose(candidate="trial 0"))
    assert run(capsys, "select", str(folder.root))[0] == 0
    assert answers(folder) == {"selected": "two"}
    for rule in (["--max-forgetting", "5"], ["--max-forgetting", "15"], ["--max-forgetting", "0"]):
        assert run(capsys, "select", str(folder.root), *rule)[0] == 0
        assert answers(folder) == {"trial_0": "two"}
    assert run(capsys, "select", str(folder.root))[0] == 0
    assert answers(folder) == {"selected": "two", "trial_0": "two"}
    assert run(capsys, "select", str(folder.root), "--choice", "cautious")[0] == 0
    assert answers(folder) == {"trial_0": "two"}


def test_a_finalist_s_own_table_becomes_that_of_the_selected_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both were confirmed as they were found: 30 and 19, and at a weight of 3 it is -10 and 17."""
    folder = study_folder(tmp_path / "study")
    for key, values, answer in (("trial 0", BOLD, "two"), ("trial 1", MILD, "three")):
        confirmed(folder, key, {100: values, 200: values})
        table(folder, slug_of(key), answer, Whose(candidate=key, seed=100))
    table(folder, "selected", "two", Whose(candidate="trial 0", seed=100))
    both = {"trial_0": "two", "trial_1": "three"}
    for rule, answer in ((["--forgetting-weight", "3"], "three"), ([], "two")):
        assert run(capsys, "select", str(folder.root), *rule)[0] == 0
        assert answers(folder) == {**both, "selected": answer}
    # Weights of another seed answered otherwise, as far as anybody knows.
    table(folder, "trial_1", "three", Whose(candidate="trial 1", seed=200))
    assert run(capsys, "select", str(folder.root), "--forgetting-weight", "3")[0] == 0
    assert answers(folder) == both


def test_a_table_that_does_not_tell_whose_it_is_is_known_by_its_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Earlier versions wrote such: its 60 points of count are the bold trial's."""
    folder = study_folder(tmp_path / "study")
    values = BASE | BOLD
    samples = tuple(dataclasses.replace(TASK.search[0], id=f"s{number}") for number in range(100))
    tasks = [dataclasses.replace(TASK, name=name, search=samples) for name in values]
    found = {
        name: dataclasses.replace(evaluation(name, value, 100), predictions=("two",) * 100)
        for name, value in values.items()
    }
    write_predictions(folder.predictions / "selected.parquet", tasks, found)
    for rule, name in (([], "selected"), (["--max-forgetting", "5"], "former")):
        assert run(capsys, "select", str(folder.root), *rule)[0] == 0
        assert answers(folder) == {name: "two"}
    assert run(capsys, "select", str(folder.root))[0] == 0
    assert answers(folder) == {"former": "two", "selected": "two"}


def test_select_says_what_it_leaves_to_mlflow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = study_folder(tmp_path / "study")
    told = "the study's record and models:/made@champion stay as they were; no command changes them"
    assert told in run(capsys, "select", str(folder.root))[1]
    assert "champion" not in run(capsys, "report", str(folder.root))[1]
    # A study that registers nothing has no champion.
    study = config()
    tracking = study.tracking.model_copy(update={"register_weights": None})
    folder = study_folder(tmp_path / "other", study=study.model_copy(update={"tracking": tracking}))
    said = run(capsys, "select", str(folder.root))[1]
    assert "the study's record stays as it was; no command changes it" in said
