from __future__ import annotations

from pathlib import Path

import pytest

from search.clusters.remote import run_on_head
from search.settings.study_file import InputError


def test_a_study_that_is_not_sent_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="the study and its data must lie in it"):
        run_on_head("ray://head:10001", tmp_path / "study.yaml", [])


def test_an_address_at_which_nothing_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"ray://127.0.0.1:1: nothing answers there: Connection refused"):
        run_on_head("ray://127.0.0.1:1", tmp_path / "study.yaml", [])
