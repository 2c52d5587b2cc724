"""The embedded tasks."""

from __future__ import annotations

import pytest

from trainables import tiny
from trainables.data.tasks import EmbeddedTask
from trainables.metrics import EXACT_MATCH


class TestEmbeddedTask:
    @pytest.mark.parametrize("name", sorted(tiny.TASKS))
    def test_a_limit_is_a_prefix_and_always_the_same(self, name: str) -> None:
        embedded = EmbeddedTask(name=name)
        three, two = embedded.load("search", 3), embedded.load("search", 2)
        assert [s.content_hash() for s in three[:2]] == [s.content_hash() for s in two]
        assert [s.id for s in three[:2]] == [s.id for s in two]
        assert all(sample.prompt and sample.answer for sample in three)

    def test_scores_by_exact_match(self) -> None:
        assert EmbeddedTask(name="digits").metric == EXACT_MATCH
