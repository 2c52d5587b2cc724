"""What is not refused when a study is taken up: a whole folder, and one that lost what can be made again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hostile_input.folders import DAMAGES
from hostile_input.resumed import FILES, TRIAL, WEIGHTS, interrupted, put

from search import cli
from search.records.study_folder import StudyFolder
from search.records.whole_study import check_whole
from search.settings.study_file import load_study


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    """A copy of the interrupted study, elsewhere than where it was begun."""
    return StudyFolder(Path(shutil.copytree(interrupted(), tmp_path / "moved" / "lesson")))


def check(folder: StudyFolder) -> None:
    check_whole(folder, load_study(folder.study))


def test_a_whole_folder_is_gone_on_with_wherever_it_lies(folder: StudyFolder) -> None:
    check(folder)
    # Optuna's lock is a link to where the journal lay when the driver was killed.
    folder.sampler.with_name("optuna.journal.lock").symlink_to("/where/it/lay/optuna.journal")
    check(folder)


@pytest.mark.parametrize(
    ("file", "damage"),
    [(file, damage) for file, fine in FILES.items() for damage in sorted(fine - {"utf-16"})],
)
def test_what_can_be_made_again_may_be_gone(folder: StudyFolder, file: str, damage: str) -> None:
    DAMAGES[damage](folder.root / file)
    check(folder)


def test_half_a_line_of_the_journal_is_none(folder: StudyFolder) -> None:
    with folder.sampler.open("ab") as journal:
        journal.write(b'{"op_code": 5, "wor')
    check(folder)


def test_an_ended_trial_without_its_record_is_refused_until_all_of_it_is_gone(folder: StudyFolder) -> None:
    for made in ("points", "finalists"):
        shutil.rmtree(folder.root / made)
    (folder.root / TRIAL).unlink()
    with pytest.raises(
        ValueError, match=r"0000/trial\.json is missing, and Optuna knows how the trial ended"
    ):
        check(folder)
    shutil.rmtree((folder.root / TRIAL).parent)
    check(folder)


def test_weights_may_lack_where_the_room_for_them_is_bounded(folder: StudyFolder) -> None:
    (folder.root / WEIGHTS).unlink()
    with pytest.raises(ValueError, match=r"step_000004\.safetensors is missing"):
        check(folder)
    check_whole(folder, load_study(folder.study, ["selection.max_disk_gib=1"]))


def test_a_finished_study_loses_no_weights_for_a_record_that_names_others(
    folder: StudyFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.spool.unlink()
    put("record.json", "finished", value=True)(folder.root)
    put("record.json", "kept", value=["trials/0009/step_000004.safetensors"])(folder.root)
    before = sorted(folder.root.rglob("*.safetensors"))
    assert before
    assert cli.main(["resume", str(folder.root)]) == 0
    assert sorted(folder.root.rglob("*.safetensors")) == before
    (line,) = capsys.readouterr().err.splitlines()
    assert "trials/0009/step_000004.safetensors is gone, so that no other weights are deleted" in line

    put("record.json", "kept", value=[WEIGHTS])(folder.root)
    assert cli.main(["resume", str(folder.root)]) == 0
    assert sorted(folder.root.rglob("*.safetensors")) == [folder.root / WEIGHTS]
    assert json.loads(folder.facts.read_text())["kept"] == [WEIGHTS]
