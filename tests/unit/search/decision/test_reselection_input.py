"""Wrong input of `select`: one line each, and all stays as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_study import BASE, finalist
from selectable_study import (
    BOLD,
    evaluations,
    run,
    study_folder,
)

from search import cli
from search.records.stored_finalists import write_finalist, write_run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-forgetting", "much"], "error: --max-forgetting: input should be a valid number, got 'much'"),
        (["--forgetting-weight", "-1"], "error: --forgetting-weight: "),
        (["--maximise", "gain"], "error: --maximise: "),
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
    assert f"{file}: this file of the study is damaged: not JSON" in said


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
    assert "confirm_base.json is missing, and with it 'clock', which finalists were scored on" in said
    folder.confirm_base.write_bytes(evaluations(BASE))
    assert run(capsys, "select", str(folder.root))[0] == 0
    leave("trial 9")
    status, said = run(capsys, "select", str(folder.root))
    assert status == 2
    assert "finalist 'trial 9' is no complete trial and no measured point" in said
