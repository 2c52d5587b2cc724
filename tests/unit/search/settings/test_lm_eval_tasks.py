"""Tasks of lm-eval in a study file: names, options, paths, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from lm_eval_world import LEARNT, UNSEEN, WEIGHED, WRITTEN, write_task
from tiny_models import save_llama

from search.data.inputs import load_data
from search.phases.base import base_key
from search.planning.preparation import prepare
from search.settings.study_file import InputError, dump_study, load_study
from trainables.scoring.lm_eval_task import LmEvalTask
from trainables.workers.jobs import TaskData, WorkerSetup


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text model without a template, and with two tasks of lm-eval."""
    folder = tmp_path_factory.mktemp("home")
    save_llama(folder / "plain")
    write_task(folder / "my_tasks", "written", WRITTEN)
    write_task(folder / "my_tasks", "weighed", WEIGHED)
    return folder


def study_file(home: Path, name: str = "study", **changes: Any) -> Path:
    values = {
        "name": "lesson",
        "model": {"path": "plain"},
        "tasks": {
            "say": {"lm_eval": {"task": "written", "task_folder": "my_tasks", "run_code": True}, "limit": 7},
            "pick": {
                "lm_eval": {
                    "task": "weighed",
                    "task_folder": "my_tasks",
                    "run_code": True,
                    "metric": "acc_norm",
                    "num_fewshot": 2,
                }
            },
        },
        "targets": ["say"],
        "held_out": ["pick"],
        "space": {"subsets": ["full"], "learning_rate": [1e-5, 1e-2]},
        "training": {"steps": 4, "batch_size": 2},
        "finalists": None,
        "search": {"trials": 2},
        "output": str(home / "runs"),
        **changes,
    }
    path = home / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_definitions_become_tasks_with_their_options(home: Path) -> None:
    config = load_study(study_file(home))
    say, pick = load_data(config).tasks
    assert (say.role, len(say.train), len(say.search)) == ("target", 7, 7)
    assert (pick.role, len(pick.train), len(pick.search)) == ("held_out", 0, LEARNT + UNSEEN)
    assert say.harness is not None
    assert pick.harness is not None
    assert pick.harness.file == str(home / "my_tasks" / "weighed.yaml")
    assert (pick.harness.chosen, pick.harness.num_fewshot, say.harness.limit) == ("acc_norm", 2, 7)


def test_the_resolved_study_stands_by_itself(home: Path, tmp_path: Path) -> None:
    config = load_study(study_file(home))
    (tmp_path / "again.yaml").write_text(dump_study(config), encoding="utf-8")
    assert load_study(tmp_path / "again.yaml") == config


def test_what_lm_eval_ships_needs_no_definition(home: Path) -> None:
    config = load_study(study_file(home, "shipped", held_out=["lm_eval.hellaswag"]))
    task = config.resolved_tasks()["lm_eval.hellaswag"]
    assert isinstance(task, LmEvalTask)
    assert (task.name, task.task, task.file) == (
        "lm_eval.hellaswag",
        "hellaswag",
        "hellaswag/hellaswag.yaml",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"held_out": ["lm_eval.hellaswga"]},
            "held_out: task 'lm_eval.hellaswga': unknown lm-eval task 'hellaswga': did you mean 'hellaswag'?",
        ),
        (
            {
                "tasks": {
                    "say": {"lm_eval": {"task": "writen", "task_folder": "my_tasks", "run_code": True}}
                },
                "held_out": ["digits"],
            },
            "targets: task 'say': unknown lm-eval task 'writen': did you mean 'written'?",
        ),
        (
            {"tasks": {"say": {"lm_eval": {"task": "written"}, "prompt": "{q}"}}},
            "tasks.say: prompt: means nothing beside lm_eval, whose task says it",
        ),
        (
            {"tasks": {"say": {"lm_eval": {"task": "written", "tasks_folder": "my_tasks"}}}},
            "unknown key 'tasks.say.lm_eval.tasks_folder': did you mean 'task_folder'?",
        ),
    ],
)
def test_what_is_wrong_is_told_in_one_line(home: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        load_data(load_study(study_file(home, "wrong", **changes)))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_target_is_asked_as_it_is_taught(home: Path) -> None:
    """A chat template writes the training samples, so that lm-eval must ask by it, too."""
    template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    save_llama(home / "chatty")
    (home / "chatty" / "chat_template.jinja").write_text(template, encoding="utf-8")
    with pytest.raises(InputError, match=r"^tasks\.say\.lm_eval\.chat_template: must be true for a target"):
        prepare(load_study(study_file(home, "chatty-study", model={"path": "chatty"})))
    wanting = "tasks.pick.lm_eval.chat_template=true"
    with pytest.raises(InputError, match=r"^tasks\.pick\.lm_eval\.chat_template: the model has no chat"):
        prepare(load_study(study_file(home), [wanting]))
    tasks = prepare(load_study(study_file(home))).setup.tasks
    assert [task.harness is not None for task in tasks] == [True, True]


def test_the_bases_scores_are_those_of_the_task_as_it_is_asked(home: Path) -> None:
    def key(**changes: Any) -> str:
        harness = LmEvalTask.find("pick", "weighed", home / "my_tasks", **changes)
        task = TaskData(
            name="pick", role="held_out", metric=harness.metric, train=(), search=(), harness=harness
        )
        setup = WorkerSetup(
            model="plain", dtype="float32", tasks=(task,), eval_batch_size=1, drift_samples=1, threads=1
        )
        return base_key(setup, "", ())

    assert key() == key()
    assert len({key(), key(num_fewshot=1), key(chosen="acc_norm"), key(chat_template=True)}) == 4
