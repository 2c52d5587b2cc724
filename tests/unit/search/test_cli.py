"""The commands of `recipe-search` that start nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from search.cli import main
from search.clusters.study_check import check_study
from search.settings.study_file import load_study

STUDY = str(Path(__file__).resolve().parents[3] / "examples" / "quickstart.yaml")


def test_a_server_s_pages_are_named_and_no_other_server_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[str] = []
    monkeypatch.setattr(os, "execv", lambda program, _: started.append(program))
    assert main(["ui", "--uri", "http://me:secret@mlflow:5000"]) == 0
    assert capsys.readouterr().out.startswith("MLflow UI: http://me@mlflow:5000 ")
    assert not started


def test_a_plan_is_for_no_machine_that_was_not_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:1")
    assert main(["plan", STUDY]) == 2
    assert "is not asked through ray://127.0.0.1:1; ask on its head" in capsys.readouterr().err
    assert main(["plan", STUDY, "--json", "--gpus", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["machines"][0]["gpus"] == 1


@pytest.mark.parametrize(
    ("address", "overrides", "found"),
    [
        (None, [], (True, True)),
        (None, ["resources.cpus_per_worker=4096"], (False, True)),
        ("127.0.0.1:1", [], (False, True)),
        ("ray://127.0.0.1:1", [], (False, False)),
    ],
)
def test_the_doctor_looks_whether_a_study_s_trials_fit(
    address: str | None, overrides: list[str], found: tuple[bool, bool]
) -> None:
    check = check_study(load_study(Path(STUDY), overrides), address)
    assert (check.ok, check.required) == found
    assert bool(overrides) == ("4096 CPU" in check.detail)
