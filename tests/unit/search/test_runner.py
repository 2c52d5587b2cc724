from __future__ import annotations

from pathlib import Path

import pytest

from search.handover import StudyFolder
from search.runner import _make_anew
from search.study_file import InputError


def test_only_a_studys_own_folder_is_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "search"
    precious.mkdir()
    (precious / "work.py").write_text("kept")
    with pytest.raises(InputError, match="is not a study's folder"):
        _make_anew(precious)
    assert (precious / "work.py").read_text() == "kept"


def test_an_earlier_run_is_replaced_by_an_empty_folder(tmp_path: Path) -> None:
    earlier = tmp_path / "runs" / "study"
    earlier.mkdir(parents=True)
    StudyFolder(earlier).study.write_text("name: study")
    (earlier / "trials.csv").write_text("old")
    _make_anew(earlier)
    assert list(earlier.iterdir()) == []
