"""The command line's own words: what is missing, and which version this is."""

from __future__ import annotations

import importlib.metadata

import pytest

from search.cli import main


@pytest.mark.parametrize("command", ["plan", "run"])
def test_only_what_is_required_is_called_missing(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command])
    assert capsys.readouterr().err.endswith("the following arguments are required: STUDY.yaml\n")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"recipe-search {importlib.metadata.version('recipe-search')}\n"


def test_the_default_port_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["ui", "--help"])
    assert "(default: 5000)" in " ".join(capsys.readouterr().out.split())
