"""Tasks of lm-eval by name: where they are found, what is refused, and what samples their documents make."""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from lm_eval_world import LEARNT, UNSEEN, WEIGHED, WRITTEN, rows, write_task

from trainables.data.bad_samples import SampleError
from trainables.scoring.lm_eval_library import LmEvalError, find_task, own_tasks
from trainables.scoring.lm_eval_task import LmEvalTask, document_of

ROOT = Path(__file__).resolve().parents[4]


def metrics(*names: str, **fields: Any) -> dict[str, Any]:
    return {
        "metric_list": [
            {"metric": n, "aggregation": "mean", "higher_is_better": True, **fields} for n in names
        ]
    }


def opened(folder: Path, name: str = "mine", **options: Any) -> Any:
    return LmEvalTask.find("held", name, folder, **options).open()


def test_what_lm_eval_ships_is_found_by_name() -> None:
    assert find_task("hellaswag") == "hellaswag/hellaswag.yaml"
    # Written by a program: in quotes, and with blanks and brackets in its name.
    assert (own_tasks() / find_task("AraDiCE_ArabicMMLU_high_humanities_history_egy")).is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hellaswga", "unknown lm-eval task 'hellaswga': did you mean 'hellaswag'?"),
        ("qqqqq", "unknown lm-eval task 'qqqqq': `lm-eval ls tasks` lists those that there are"),
        ("mmlu", "lm-eval's 'mmlu' is a group of tasks: name them one by one"),
    ],
)
def test_what_lm_eval_does_not_ship_is_told(name: str, message: str) -> None:
    with pytest.raises(LmEvalError) as refused:
        LmEvalTask.find("held", name)
    assert str(refused.value) == message


def test_a_folder_of_ones_own_is_all_that_is_looked_in(tmp_path: Path) -> None:
    write_task(tmp_path / "tasks", "mine", WRITTEN)
    assert find_task("mine", tmp_path / "tasks") == str(tmp_path / "tasks" / "mine.yaml")
    with pytest.raises(LmEvalError, match=r"^unknown lm-eval task 'hellaswag': expected one of: mine$"):
        find_task("hellaswag", tmp_path / "tasks")
    with pytest.raises(LmEvalError, match=r"no such folder: .*/none"):
        find_task("mine", tmp_path / "none")


def test_without_lm_eval_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LmEvalError) as refused:
        LmEvalTask.find("held", "hellaswag")
    assert str(refused.value) == "lm-eval is not installed: pip install 'recipe-search[lm-eval]'"


def test_lm_eval_is_imported_only_where_it_is_needed() -> None:
    """Inside of functions of three files, which are called once a study names such a task."""
    importing = set()
    for file in [*ROOT.glob("trainables/**/*.py"), *ROOT.glob("search/**/*.py")]:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {name for node in ast.walk(tree) for name in imported(node)}
        if "lm_eval" in names:
            importing.add(file.name)
        assert "lm_eval" not in {name for node in tree.body for name in imported(node)}, file
    assert importing == {"lm_eval_library.py", "lm_eval_task.py", "lm_eval_scoring.py"}


def imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    return {(node.module or "").partition(".")[0]} if isinstance(node, ast.ImportFrom) else set()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        # Corpus BLEU is no mean over documents; of two metrics the other is left.
        (
            {**WRITTEN, "metric_list": [{"metric": "bleu", "aggregation": "bleu", "higher_is_better": True}]},
            {},
            "has no metric that can be used",
        ),
        (
            {
                **WRITTEN,
                "metric_list": [
                    {"metric": "bleu", "aggregation": "bleu", "higher_is_better": True},
                    *WRITTEN["metric_list"],
                ],
            },
            {"chosen": "bleu"},
            "can be scored by: exact_match, not by 'bleu'",
        ),
        ({**WRITTEN, **metrics("exact_match", higher_is_better=False)}, {}, "of which more is better"),
        (WEIGHED, {"chosen": "f1"}, "can be scored by: acc, acc_norm, acc_bytes, not by 'f1'"),
        ({**WRITTEN, "num_fewshot": 0}, {"num_fewshot": 1}, "num_fewshot must be 0"),
        (WRITTEN, {"num_fewshot": 21}, "'mine' has 20 examples: num_fewshot can't be 21"),
        ({**WRITTEN, "num_fewshot": 30}, {}, "'mine' has 20 examples: num_fewshot can't be 30"),
        (
            {**WRITTEN, "fewshot_split": "test"},
            {"num_fewshot": 20},
            "'mine' has 19 examples beside the question: num_fewshot can't be 20",
        ),
        (
            {**WRITTEN, "generation_kwargs": {"until": ["."], "do_sample": True, "temperature": 0.7}},
            {},
            "draws its answers by chance",
        ),
        ({**WRITTEN, "doc_to_image": "image"}, {}, "asks about images or sound"),
        ({**WRITTEN, "unsafe_code": True}, {}, "runs code that the model wrote"),
        (
            {**WRITTEN, "dataset_kwargs": {"data_files": {"test": "gone.jsonl"}}},
            {},
            "lm-eval's task 'mine' can't be opened: FileNotFoundError: .*gone.jsonl",
        ),
    ],
)
def test_what_can_not_be_scored_is_refused_in_one_line(
    tmp_path: Path, kind: Any, options: Any, message: str
) -> None:
    folder = write_task(tmp_path, "mine", kind)
    with pytest.raises(LmEvalError, match=message) as refused:
        opened(folder, **options)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("split", "most"), [("train", 20), ("test", 19)])
def test_all_examples_that_there_are_can_be_asked_for(tmp_path: Path, split: str, most: int) -> None:
    """Of 20 documents each; lm-eval itself can write the question with so many."""
    task = opened(write_task(tmp_path, "mine", WRITTEN, fewshot_split=split), num_fewshot=most)
    written = task.fewshot_context(task.eval_docs[0], num_fewshot=most)
    assert written.count("?") == most + 1
    with pytest.raises((ValueError, AssertionError)):
        task.fewshot_context(task.eval_docs[0], num_fewshot=most + 1)


def test_a_metric_is_chosen_with_its_filter(tmp_path: Path) -> None:
    filters = [
        {"name": name, "filter": [{"function": "take_first"}]}
        for name in ("strict-match", "flexible-extract")
    ]
    folder = write_task(tmp_path, "mine", {**WRITTEN, "filter_list": filters})
    for chosen, expected in (
        (None, ("exact_match", "strict-match")),
        ("exact_match", ("exact_match", "strict-match")),
        ("exact_match,flexible-extract", ("exact_match", "flexible-extract")),
    ):
        task = LmEvalTask.find("held", "mine", folder, chosen=chosen)
        assert task.metric_of(task.open()) == expected
    with pytest.raises(LmEvalError, match="exact_match,strict-match, exact_match,flexible-extract, not by"):
        opened(folder, chosen="exact_match,none")


def test_documents_become_samples(tmp_path: Path) -> None:
    folder = write_task(tmp_path, "mine", WEIGHED, target_delimiter=" = ", description="Say: ")
    task = LmEvalTask.find("held", "mine", folder, limit=5)
    assert len(task.load("search")) == 5
    assert [len(task.load("train", limit)) for limit in (None, 3, 9)] == [5, 3, 5]
    train, search = task.load("train")[0], task.load("search")[4]
    asked, evaluated = rows(1)[0], rows(0)[4]
    assert (train.prompt, search.prompt) == ("Say: " + asked["question"], "Say: " + evaluated["question"])
    assert train.answer == " = " + asked["choices"][asked["answer"]]
    assert search.choices == tuple(" = " + choice for choice in evaluated["choices"])
    assert (search.id, search.where) == ("search-4", "lm-eval's mine search document 4")
    with pytest.raises(LmEvalError, match="lm-eval's task 'mine' has no split 'confirm'"):
        task.load("confirm")


class TestConfirm:
    """A share of what lm-eval evaluates is kept from the search."""

    def test_documents_are_divided_by_their_text_alone(self, tmp_path: Path) -> None:
        folder = write_task(tmp_path, "mine", WRITTEN)
        task = LmEvalTask.find("held", "mine", folder, confirm=0.5)
        assert task.splits == ("train", "search", "confirm")
        parts = {split: task.load(split) for split in ("search", "confirm")}
        numbers = {split: [document_of(each)[1] for each in part] for split, part in parts.items()}
        assert sorted(numbers["search"] + numbers["confirm"]) == list(range(LEARNT + UNSEEN))
        assert all(numbers.values())
        assert all(document_of(each)[0] == "confirm" for each in parts["confirm"])
        # Neither order nor other documents matter: without the first half the others stay where they are.
        later = write_task(tmp_path / "later", "mine", WRITTEN)
        (later / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()[10:]))
        again = LmEvalTask.find("held", "mine", later, confirm=0.5)
        assert [document_of(each)[1] for each in again.load("confirm")] == [
            number - 10 for number in numbers["confirm"] if number >= 10
        ]

    def test_a_bound_counts_the_samples_of_a_split(self, tmp_path: Path) -> None:
        task = LmEvalTask.find("held", "mine", write_task(tmp_path, "mine", WRITTEN), confirm=0.5)
        for split in task.splits[1:]:
            assert task.load(split, 3) == task.load(split)[:3]
            assert len(task.load(split, 3)) == 3

    def test_a_share_that_leaves_nothing_is_refused(self, tmp_path: Path) -> None:
        task = LmEvalTask.find("held", "mine", write_task(tmp_path, "mine", WRITTEN), confirm=1e-9)
        with pytest.raises(
            LmEvalError, match=r"^tasks.held.lm_eval.confirm: a share of 1e-09 leaves none of the"
        ):
            task.load("confirm")


def test_a_task_without_training_documents_is_no_target(tmp_path: Path) -> None:
    folder = write_task(tmp_path, "mine", WRITTEN, training_split=None)
    with pytest.raises(LmEvalError, match=r"^tasks.held: lm-eval's task 'mine' has no training documents$"):
        LmEvalTask.find("held", "mine", folder).load("train")


def test_several_targets_are_references(tmp_path: Path) -> None:
    folder = write_task(tmp_path, "mine", WRITTEN, doc_to_target="{{choices}}")
    sample = LmEvalTask.find("held", "mine", folder).load("search", 1)[0]
    right = tuple(" " + choice for choice in rows()[0]["choices"])
    assert (sample.answer, sample.references) == (right[0], right)
    # A blank one would be found in any text.
    folder = write_task(tmp_path, "mine", WRITTEN, doc_to_target="{{['', choices[0], ' ', choices[1]]}}")
    sample = LmEvalTask.find("held", "mine", folder).load("search", 1)[0]
    assert (sample.answer, sample.references) == (right[0], right[:2])


def test_a_document_without_an_answer_is_bad(tmp_path: Path) -> None:
    start = rows()[2]["question"][:6]
    target = "{{'' if question.startswith('" + start + "') else choices[answer]}}"
    folder = write_task(tmp_path, "mine", WRITTEN, doc_to_target=target)
    task = LmEvalTask.find("held", "mine", folder)
    with pytest.raises(SampleError, match=r"^lm-eval's mine search document 2: it has no answer$"):
        task.load("search")
    bad: list[SampleError] = []
    kept = task.load("search", bad=bad)
    assert len(kept) + len(bad) == LEARNT + UNSEEN
    assert "search-2" not in {sample.id for sample in kept}
