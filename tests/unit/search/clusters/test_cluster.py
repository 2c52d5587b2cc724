"""Ray that does not start is a failed study with one line, not a traceback."""

from __future__ import annotations

import pytest

from search.clusters.cluster import connected
from search.phases.study_failed import StudyFailed


def test_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", "/dev/null/nowhere")
    with pytest.raises(StudyFailed, match="Ray did not start: ") as caught, connected():
        pass
    assert "\n" not in str(caught.value)
