"""`select` and `report` on the folder of a study, finished or not, without Ray."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import yaml
from made_study import BASE, config, evaluation, finalist, objective, record, trial
from safetensors.torch import load_file

from search import cli
from search.config import StudyConfig
from search.decision.candidates import EVALUATIONS_FILE
from search.decision.evidence import Finalist, FinalistRun
from search.records.predictions import Whose, read_answers, write_predictions
from search.records.stored_finalists import run_folder, slug_of, write_finalist, write_run
from search.records.stored_results import write_point, write_trial
from search.records.stored_study import write_base, write_facts
from search.records.study_folder import StudyFolder
from search.results import PointResult, TrialResult, TrialState
from search.settings.study_file import dump_study
from spaces.points import Interpolation, Point
from trainables.checkpoint import save_checkpoint
from trainables.data.samples import Sample
from trainables.files import write_atomically
from trainables.metrics import EXACT_MATCH
from trainables.scoring.evaluation import Evaluation, evaluations_json, rung_file
from trainables.workers.jobs import TaskData

MANIFEST = {
    "model_type": "llava",
    "family": "llava",
    "subset": "gate_up",
    "trained": 2,
    "total": 12,
    "by_role": {"mlp.gate": 2},
    "adapters": None,
}
# Gain 50, forgetting (30 + 10) / 2 = 20: score 30.
BOLD = {"count": 60.0, "clock": 70.0, "colour": 60.0, "shape": 70.0}
# Gain (30 + 10) / 2 = 20, forgetting (0 + 2) / 2 = 1: score 19.
MILD = {"count": 40.0, "clock": 30.0, "shape": 78.0}


def evaluations(values: Mapping[str, float]) -> bytes:
    return evaluations_json({task: evaluation(task, value, 100) for task, value in values.items()})


def stored(folder: StudyFolder, made: TrialResult, *, kept: bool = True) -> TrialResult:
    """Leave a trial's files as a study does."""
    home = folder.trials / made.trial_id
    for rung in made.rungs:
        write_atomically(home / rung_file(rung.step), evaluations(rung.values))
    (home / "manifest.json").write_text(json.dumps(MANIFEST), encoding="utf-8")
    if kept:
        tensors = {"parameter/a.weight": torch.full((2,), float(made.number))}
        pointer = save_checkpoint(home / "step_000040.safetensors", tensors, 40)
        last = dataclasses.replace(made.last, weights=pointer.path)
        made = dataclasses.replace(made, rungs=(*made.rungs[:-1], last))
    write_trial(folder.root, made)
    return made


def study_folder(
    root: Path,
    *,
    study: StudyConfig | None = None,
    finished: bool = True,
    pruned: bool = False,
    written: bool = False,
    unwritten: str | None = None,
) -> StudyFolder:
    """Make the folder of a study of a bold and a mild trial, and the bold one halfway to the base.

    The latter's weights may have been `written`, or `unwritten` for a reason.
    """
    folder = StudyFolder(root)
    root.mkdir()
    study = study or config()
    state = TrialState.PRUNED if pruned else TrialState.COMPLETE
    trials = [
        stored(folder, trial(0, [BASE | BOLD], study=study, state=state)),
        stored(folder, trial(1, [BASE | MILD], study=study, state=state), kept=False),
    ]
    made = dataclasses.replace(record(trials, study=study), finished=finished)
    # Gain 35, forgetting 10: score 25.
    halfway = {"count": 45.0, "clock": 55.0, "colour": 75.0, "shape": 75.0}
    if not pruned:
        measured = trial(0, [BASE | halfway], study=study).last
        point = PointResult(number=0, point=Point(0, 40, Interpolation(0.5)), trial=trials[0], rung=measured)
        write_atomically(folder.points / "0" / EVALUATIONS_FILE, evaluations(BASE | halfway))
        if written:
            tensors = {"parameter/a.weight": torch.full((2,), 0.5)}
            pointer = save_checkpoint(folder.points / "0" / "weights.safetensors", tensors, 40)
            (folder.points / "0" / "manifest.json").write_text(json.dumps(MANIFEST), encoding="utf-8")
            point = dataclasses.replace(point, rung=dataclasses.replace(measured, weights=pointer.path))
        write_point(root, dataclasses.replace(point, unwritten=unwritten))
    write_atomically(folder.study, dump_study(study).encode())
    write_base(folder, made.base)
    write_facts(folder, made)
    return folder


def confirmed(folder: StudyFolder, candidate: str, runs: Mapping[int, Mapping[str, float]]) -> None:
    """Leave a finalist's files: seed -> what its run scored on either split; its weights are the seed's."""
    goal = objective(config())
    done = []
    for seed, values in runs.items():
        home = folder.root / run_folder(candidate, seed)
        tensors = {"parameter/a.weight": torch.full((2,), float(seed))}
        home.mkdir(parents=True)
        pointer = save_checkpoint(home / "weights.safetensors", tensors, 40)
        (home / "manifest.json").write_text(json.dumps(MANIFEST), encoding="utf-8")
        scored = {task: evaluation(task, value, 100) for task, value in (BASE | dict(values)).items()}
        done.append(
            FinalistRun(
                seed=seed,
                rung=dataclasses.replace(trial(0, [values]).last, weights=pointer.path),
                confirm=scored,
                confirmed=goal.score(BASE | dict(values)),
                folder=str(run_folder(candidate, seed)),
            )
        )
        write_run(folder.root, done[-1], scored)
    write_finalist(folder.root, 0, Finalist(candidate=candidate, runs=tuple(done)))
    write_atomically(folder.confirm_base, evaluations(BASE))


def document(folder: StudyFolder) -> dict[str, object]:
    found = yaml.safe_load(folder.recipe.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def point_of(folder: StudyFolder) -> dict[str, object]:
    point = document(folder)["point"]
    assert isinstance(point, dict)
    return point


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Return a command's status and all that it said, in one line."""
    status = cli.main(arguments)
    said = capsys.readouterr()
    return status, " ".join((said.out + said.err).replace("│", " ").split())


def test_another_rule_selects_another_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = study_folder(tmp_path / "study")
    status, said = run(capsys, "select", str(folder.root))
    assert status == 0
    assert "Trial 0 (gate_up at learning rate 0.001) has the highest score of 2 feasible" in said
    assert "+30.0 points (+2" in said
    assert "The study has not finished" not in said
    assert point_of(folder) == {"trial": 0, "step": 40, "transform": "identity"}
    (tensor,) = load_file(folder.selected / "delta.safetensors").values()
    assert tensor.tolist() == [0.0, 0.0]
    before = folder.study.read_bytes()

    # The mild one's weights are gone: its recipe is written, and no other's weights stay.
    status, said = run(capsys, "select", str(folder.root), "--max-forgetting", "5")
    assert status == 0
    assert point_of(folder)["trial"] == 1
    assert "weights of this recipe were not kept: the study kept those of" in said
    assert not folder.selected.exists()

    # The report of a later command stays with the rule; the study's own rule comes back when asked for.
    assert "Trial 1" in run(capsys, "report", str(folder.root))[1]
    assert "Trial 0" in run(capsys, "select", str(folder.root))[1]
    assert folder.selected.is_dir()
    assert folder.study.read_bytes() == before
    assert "<html" in folder.report.read_text(encoding="utf-8")


def test_the_weight_of_forgetting_rescores_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With forgetting weighed 3 times the scores are 50 - 60, 20 - 3 = 17 and 35 - 30 = 5."""
    folder = study_folder(tmp_path / "study")
    status, said = run(capsys, "select", str(folder.root), "--forgetting-weight", "3")
    assert status == 0
    assert "Trial 1" in said
    assert "+17.0 points" in said
    rows = folder.trials_table
    assert not rows.exists(), "select leaves the tables of what was measured"


def test_the_weights_are_those_of_the_seed_that_the_recipe_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seed 100 gains 35 and forgets 3: 32, and 26 at a weight of 3; seed 200 gains 34 and forgets 2.5.

    So the second scores 31.5, and 26.5 at a weight of 3: it is the same recipe, by its other run.
    """
    folder = study_folder(tmp_path / "study")
    first = {"count": 45.0, "clock": 55.0, "colour": 87.0, "shape": 77.0}
    second = {"count": 44.0, "clock": 54.0, "colour": 88.0, "shape": 77.0}
    confirmed(folder, "trial 0", {100: first, 200: second})
    for seed, arguments in ((100, []), (200, ["--forgetting-weight", "3"]), (100, [])):
        assert run(capsys, "select", str(folder.root), *arguments)[0] == 0
        evidence = document(folder)["evidence"]
        assert isinstance(evidence, dict)
        assert evidence["confirm"]["handed_over"] == evidence["selected"]["seed"] == seed
        (tensor,) = load_file(folder.selected / "delta.safetensors").values()
        assert tensor.tolist() == [seed, seed]

    # Without either run's weights there are those of the search's own seed, which the recipe does not name.
    for file in folder.finalists.rglob("*.safetensors"):
        file.unlink()
    assert run(capsys, "select", str(folder.root))[0] == 0
    (tensor,) = load_file(folder.selected / "delta.safetensors").values()
    assert tensor.tolist() == [100, 100]
    said = run(capsys, "select", str(folder.root), "--forgetting-weight", "3")[1]
    assert "weights of this recipe are no longer there" in said
    assert not folder.selected.exists()


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


@pytest.mark.parametrize(
    ("finalist", "rule", "selected", "offered"),
    [
        # The bold one scores 50 - 20 = 30, the confirmed mild one 20 - 1.
        (
            "trial 1",
            ["--max-forgetting", "30"],
            "Trial 0",
            "is trial 1 (gate_up at learning rate 0.001): +19.0 points",
        ),
        (
            "trial 1",
            ["--max-forgetting", "null", "--forgetting-weight", "0"],
            "Trial 0",
            "is trial 1 (gate_up at learning rate 0.001): +20.0 points",
        ),
        # Halfway to the base it gains 35 and forgets 10.
        (
            "trial 1",
            ["--max-forgetting", "15", "--maximise", "target_gain"],
            "Trial 0 (gate_up at learning rate 0.001), interpolated with the base at alpha 0.5,",
            "is trial 1 (gate_up at learning rate 0.001): +20.0 points",
        ),
        # 50 - 3 x 20 is less than nothing; the mild one scores 20 - 3.
        (
            "trial 0",
            ["--max-forgetting", "null", "--forgetting-weight", "3"],
            "Trial 1",
            "No finalist's score lies above 0 on the confirm split, beyond its noise.",
        ),
    ],
    ids=["looser bound", "no weight", "gain", "heavier weight"],
)
def test_another_rule_takes_what_is_best_by_it_and_says_that_it_was_not_confirmed(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    finalist: str,
    rule: list[str],
    selected: str,
    offered: str,
) -> None:
    folder = study_folder(
        tmp_path / "study", study=config(max_forgetting=5 if finalist == "trial 1" else None)
    )
    values = MILD if finalist == "trial 1" else BOLD
    confirmed(folder, finalist, {100: values, 200: values})
    said = run(capsys, "select", str(folder.root), *rule)[1]
    assert f"{selected} " in said.partition("has the highest")[0]
    assert "was not trained again: its numbers are those of the search split" in said
    assert offered in said
    # By the study's own rule, whoever names it, only what was confirmed counts.
    for same in ([], ["--maximise", "score"], ["selection.ties=[cost]"]):
        said = run(capsys, "select", str(folder.root), *same)[1]
        assert (
            f"{finalist.capitalize()} (gate_up at learning rate 0.001) has the highest score of 1 final"
            in said
        )
        assert "was not trained again" not in said


def test_another_rule_whose_best_is_a_finalist_asks_the_confirm_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mild one is the best within a bound of 3, and at three times the weight: 20 - 3."""
    folder = study_folder(tmp_path / "study", study=config(max_forgetting=5))
    confirmed(folder, "trial 1", {100: MILD, 200: MILD})
    said = run(capsys, "select", str(folder.root), "--forgetting-weight", "3")[1]
    assert "Trial 1 (gate_up at learning rate 0.001) has the highest score of 1 finalist" in said
    assert "+17.0 points" in said
    # What it gained in the search it did not gain again: nor is the next best taken.
    again = study_folder(tmp_path / "again", study=config(max_forgetting=15))
    confirmed(again, "trial 1", {100: BASE, 200: BASE})
    said = run(capsys, "select", str(again.root), "--max-forgetting", "3")[1]
    assert "Keep the base: the best of 1 finalist on the confirm split scores +0.0 points" in said


def test_a_finalist_that_keeps_another_bound_when_confirmed_is_not_passed_by_what_is_worse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the search the bold one forgot 20; trained again it scores 50 - 0, where the mild one scored 19."""
    folder = study_folder(tmp_path / "study")
    confirmed(folder, "trial 0", {100: {**BOLD, "colour": 90.0, "shape": 80.0}})
    said = run(capsys, "select", str(folder.root), "--max-forgetting", "5")[1]
    assert "Trial 0 (gate_up at learning rate 0.001) has the highest score of 1 finalist" in said


def test_only_another_bound_takes_what_was_not_confirmed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one finalist forgets 20 on either split: more than the study's bound of 15, and than 5."""
    folder = study_folder(tmp_path / "study", study=config(max_forgetting=15))
    confirmed(folder, "trial 0", {100: BOLD, 200: BOLD})
    for same in ([], ["--max-forgetting", "15"], ["--maximise", "score"]):
        assert "Keep the base: all 1 finalist" in run(capsys, "select", str(folder.root), *same)[1]
    said = run(capsys, "select", str(folder.root), "--max-forgetting", "5")[1]
    assert "Trial 1" in said
    assert "was not trained again" in said
    assert "No finalist keeps the allowed 5 points of forgetting on the confirm split." in said


def test_the_strict_bound_takes_the_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The mild one forgets 1 +- 2 points: within a bound of 1.5 by its mean alone."""
    folder = study_folder(tmp_path / "study")
    bound = ("select", str(folder.root), "--max-forgetting", "1.5")
    assert "Trial 1" in run(capsys, *bound)[1]
    said = run(capsys, *bound, "--strict")[1]
    assert "Keep the base: all 2 complete trials" in said
    assert "the nearest, trial 1" in said
    assert "too much" in said
    assert document(folder)["verdict"] == "keep the base"


def test_choices_are_taken_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At weights of 4, 1 and 1/4 of forgetting: 20 - 4 beats 35 - 40; 30 beats 25 and 19; 45 beats 32.5."""
    folder = study_folder(tmp_path / "study")
    assert "Trial 1" in run(capsys, "select", str(folder.root), "--choice", "cautious")[1]
    assert point_of(folder)["trial"] == 1
    said = run(capsys, "select", str(folder.root), "--choice", "bold")[1]
    assert point_of(folder)["trial"] == 0
    assert "is the bold choice, which was asked for" in said
    assert "The same as balanced" in said


def test_a_point_s_weights_are_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The point forgets 10 of the 12 points that are allowed, and the bold trial 20; it scores 25."""
    folder = study_folder(tmp_path / "study", written=True)
    for arguments, value in (([], 0.0), (["--max-forgetting", "12"], 0.5), ([], 0.0)):
        status, said = run(capsys, "select", str(folder.root), *arguments)
        assert status == 0
        assert "weights of this recipe" not in said
        (tensor,) = load_file(folder.selected / "delta.safetensors").values()
        assert tensor.tolist() == [value, value]
        assert ("alpha" in point_of(folder)) == bool(arguments)


@pytest.mark.parametrize(
    ("unwritten", "finished", "keep", "reason"),
    [
        ("no space left on device", True, "pareto", "could not be written (no space left on device). So"),
        (None, False, "pareto", "were not written, since the study has not finished. So"),
        (None, True, "selected", "were not kept: the study kept those of what its own rule selected alone"),
    ],
)
def test_a_point_without_weights_says_why(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    unwritten: str | None,
    finished: bool,
    keep: str,
    reason: str,
) -> None:
    study = config()
    study = study.model_copy(update={"selection": study.selection.model_copy(update={"keep_weights": keep})})
    folder = study_folder(tmp_path / "study", study=study, finished=finished, unwritten=unwritten)
    status, said = run(capsys, "select", str(folder.root), "--max-forgetting", "12")
    assert status == 0
    assert f"weights of this recipe {reason}" in said
    assert not folder.selected.exists()


def test_a_half_finished_study_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = study_folder(tmp_path / "study", finished=False)
    status, said = run(capsys, "select", str(folder.root))
    assert status == 0
    assert "The study has not finished: this is chosen from 2 complete trials of the 4 planned trials" in said


def test_a_candidate_without_scores_of_samples_has_no_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = study_folder(tmp_path / "study")
    (folder.trials / "id0" / rung_file(40)).unlink()
    said = run(capsys, "select", str(folder.root))[1]
    assert "+30.0 points, a gain" in said
    assert "not known for 1 of 3 candidates" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-forgetting", "much"], "objective.max_forgetting: input should be a valid number"),
        (["--forgetting-weight", "-1"], "objective.forgetting_weight: "),
        (["--maximise", "gain"], "selection.maximise: "),
        (["selection.tie=[cost]"], "unknown key 'selection.tie': did you mean 'ties'?"),
        (["selection.keep_weights=all"], "whose weights stay was decided when the study ended"),
        (["search.trials=9"], "'search.trials=9': what has run can't be changed"),
        (["--choice", "balance"], "unknown choice 'balance': did you mean 'balanced'?"),
    ],
)
def test_a_wrong_setting_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    folder = study_folder(tmp_path / "study")
    assert cli.main(["select", str(folder.root), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not folder.recipe.exists()


def test_a_wrong_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study_folder(tmp_path / "made")
    status, said = run(capsys, "select", str(tmp_path / "mode"))
    assert (status, said) == (2, f"error: {tmp_path / 'mode'}: no such folder; did you mean 'made'?")
    status, said = run(capsys, "report", str(tmp_path))
    assert status == 2
    assert (
        said == f"error: {tmp_path} is not a study's folder: it has no study.yaml; the study made lies in it"
    )


def test_damaged_files_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = study_folder(tmp_path / "study")
    file = folder.trials / "id0" / "trial.json"
    file.write_text(file.read_text(encoding="utf-8")[:50], encoding="utf-8")
    status, said = run(capsys, "select", str(folder.root))
    assert status == 2
    assert "a file of the study is damaged" in said


def test_nothing_complete_is_nothing_to_select_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = study_folder(tmp_path / "study", pruned=True)
    status, said = run(capsys, "select", str(folder.root))
    assert status == 2
    assert "none of the 2 trials that have ended is complete" in said


def contents(root: Path) -> dict[str, bytes]:
    return {str(f.relative_to(root)): f.read_bytes() for f in sorted(root.rglob("*")) if f.is_file()}


def test_what_fails_leaves_all_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The mild trial lacks its manifest; then, selected, the bold one's weights are damaged."""
    folder = study_folder(tmp_path / "study")
    assert run(capsys, "select", str(folder.root))[0] == 0
    (folder.trials / "id1" / "manifest.json").unlink()
    before = contents(folder.root)
    status, said = run(capsys, "select", str(folder.root), "--choice", "cautious")
    assert status == 2
    assert "nothing was changed" in said
    assert "id1/manifest.json" in said
    assert contents(folder.root) == before

    weights = folder.trials / "id0" / "step_000040.safetensors"
    weights.write_bytes(b"xx")
    before = contents(folder.root)
    assert cli.main(["select", str(folder.root), "selection.ties=[cost]"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "nothing was changed" in error
    assert contents(folder.root) == before


def test_nothing_is_left_beside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = study_folder(tmp_path / "study")
    for arguments in ([], ["--choice", "bold"], ["--max-forgetting", "5"], []):
        assert run(capsys, "select", str(folder.root), *arguments)[0] == 0
    assert not [each.name for each in folder.root.iterdir() if each.name.startswith(".")]
    names = {each.name for each in folder.selected.iterdir()}
    assert names == {"README.md", "delta.safetensors", "manifest.json"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("overrides: [3]\nchoice: null\n", "a rule holds overrides, a list of key=value"),
        ("overrides: []\nchoice: 7\n", "a choice, a name or null"),
        ("overrides: [training.steps=3]\nchoice: null\n", "what has run can't be changed"),
        ("overrides: []\nchoice: balance\n", "did you mean 'balanced'?"),
    ],
)
def test_a_damaged_rule_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    folder = study_folder(tmp_path / "study")
    folder.rule.write_text(text, encoding="utf-8")
    assert cli.main(["report", str(folder.root)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {folder.rule}: ")
    assert message in line


def test_finalists_of_nothing_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = study_folder(tmp_path / "study")

    def leave(key: str) -> None:
        made = finalist(key, BOLD)
        for each in made.runs:
            write_run(folder.root, each, each.confirm)
        write_finalist(folder.root, 0, made)

    leave("trial 0")
    status, said = run(capsys, "select", str(folder.root))
    assert status == 2
    assert "confirm_base.json lacks 'clock', which finalists were scored on" in said
    folder.confirm_base.write_bytes(evaluations(BASE))
    assert run(capsys, "select", str(folder.root))[0] == 0
    leave("trial 9")
    status, said = run(capsys, "select", str(folder.root))
    assert status == 2
    assert "finalist 'trial 9' is no complete trial and no measured point" in said
