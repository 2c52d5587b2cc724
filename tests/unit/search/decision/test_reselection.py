"""`select` and `report` on the folder of a study, finished or not, without Ray."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_study import BASE, config
from safetensors.torch import load_file
from selectable_study import (
    BOLD,
    MILD,
    confirmed,
    document,
    point_of,
    run,
    study_folder,
)

from search import cli
from trainables.scoring.evaluation import rung_file


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


def test_weights_whose_values_were_damaged_are_not_handed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = study_folder(tmp_path / "study")
    assert run(capsys, "select", str(folder.root))[0] == 0
    before = {path.name: path.read_bytes() for path in folder.selected.iterdir()}
    (weights,) = folder.trials.rglob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    status, said = run(capsys, "select", str(folder.root))
    assert status == cli.WRONG_INPUT
    assert "nothing was changed" in said
    assert f"the selected weights can't be handed over: checkpoint {weights} is damaged: its checksum" in said
    assert {path.name: path.read_bytes() for path in folder.selected.iterdir()} == before


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
