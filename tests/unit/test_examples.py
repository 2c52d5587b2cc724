"""Every study file that ships is a valid study."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.study_file import load_study

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
STUDIES = sorted(EXAMPLES.rglob("*.yaml"))


def test_there_are_study_files() -> None:
    assert len(STUDIES) >= 1


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.relative_to(EXAMPLES).as_posix())
def test_a_shipped_study_loads(path: Path) -> None:
    study = load_study(path)
    assert set(study.targets) | set(study.held_out) == set(study.resolved_tasks())
