"""The commands of `recipe-search` that start nothing."""

from __future__ import annotations

import os

import pytest

from search.cli import main


def test_a_server_s_pages_are_named_and_no_other_server_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[str] = []
    monkeypatch.setattr(os, "execv", lambda program, _: started.append(program))
    assert main(["ui", "--uri", "http://me:secret@mlflow:5000"]) == 0
    assert capsys.readouterr().out.startswith("MLflow UI: http://me@mlflow:5000 ")
    assert not started
