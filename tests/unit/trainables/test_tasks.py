"""Tasks: those of the user's own beside the embedded ones."""

from __future__ import annotations

import pytest

from trainables import tiny
from trainables.metrics import EXACT_MATCH
from trainables.source_task import SourceTask
from trainables.task_spec import Origin, TaskSpec
from trainables.tasks import EmbeddedTask, resolve_tasks


def own_task(name: str = "birds") -> SourceTask:
    return SourceTask(spec=TaskSpec(name=name, origins={"search": Origin(source="birds.jsonl")}))


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


class TestResolveTasks:
    def test_own_tasks_go_first_and_the_order_is_kept(self) -> None:
        own = own_task()
        resolved = resolve_tasks(["digits", "birds"], {"birds": own, "bees": own})
        assert resolved == {"digits": EmbeddedTask(name="digits"), "birds": own}
        assert list(resolved) == ["digits", "birds"]

    def test_an_own_task_hides_the_embedded_one_of_its_name(self) -> None:
        own = own_task()
        assert resolve_tasks(["digits"], {"digits": own})["digits"] is own

    @pytest.mark.parametrize(("name", "nearest"), [("digitz", "digits"), ("brids", "birds")])
    def test_the_nearest_name_is_offered(self, name: str, nearest: str) -> None:
        with pytest.raises(ValueError, match="unknown task") as caught:
            resolve_tasks([name], {"birds": own_task()})
        assert str(caught.value) == f"unknown task {name!r}: did you mean {nearest!r}?"

    def test_every_embedded_task_is_known(self) -> None:
        assert list(resolve_tasks(list(tiny.TASKS), {})) == list(tiny.TASKS)
