"""Which nodes are there: planned nodes, real ones, and those that are expected."""

from __future__ import annotations

from trainables.workers.nodes import Nodes, Present

BIG, SMALL = {"CPU": 64.0, "GPU": 8.0}, {"CPU": 4.0, "GPU": 0.0}


def test_planned_nodes_go_by_the_names_of_the_real_ones() -> None:
    """The plan sets CPU aside; of two nodes that would do, the plan's larger one takes the larger."""
    nodes = Nodes([{"CPU": 3.5, "GPU": 0}, {"CPU": 63.9, "GPU": 8}], {"a": BIG, "b": SMALL}, grows=False)
    assert nodes.present == Present({"a": {"CPU": 63.9, "GPU": 8}, "b": {"CPU": 3.5, "GPU": 0}}, frozenset())


def test_a_node_that_the_plan_leaves_out_is_left_out() -> None:
    nodes = Nodes([{"CPU": 4, "GPU": 0}], {"a": BIG, "b": SMALL}, grows=False)
    assert set(nodes.present.nodes) == {"b"}
    assert set(nodes.update({"a": BIG, "b": SMALL}).nodes) == {"b"}


def test_a_lost_node_is_gone_and_a_new_one_takes_its_place() -> None:
    plan = {"CPU": 60, "GPU": 8}
    nodes = Nodes([plan, plan], {"a": BIG, "b": BIG}, grows=False)
    assert nodes.update({"b": BIG}) == Present({"b": plan}, frozenset())
    # One comes back under a new name, and one more that nobody planned with.
    assert dict(nodes.update({"b": BIG, "c": BIG, "d": SMALL}).nodes) == {"b": plan, "c": plan, "d": SMALL}


def test_what_an_autoscaler_may_start_is_expected() -> None:
    nodes = Nodes([SMALL, BIG, BIG], {"head": SMALL}, grows=True)
    assert nodes.present == Present(
        {"head": SMALL, "expected-1": BIG, "expected-2": BIG}, frozenset({"expected-1", "expected-2"})
    )
    assert nodes.update({"head": SMALL, "x": BIG}).expected == {"expected-2"}
    assert nodes.update({"head": SMALL}).expected == {"expected-1", "expected-2"}, "it may come back"


def test_what_an_autoscaler_takes_away_is_expected_back_though_all_was_there_at_first() -> None:
    nodes = Nodes([SMALL, BIG], {"head": SMALL, "a": BIG}, grows=True)
    assert nodes.present == Present({"head": SMALL, "a": BIG}, frozenset())
    assert nodes.update({"head": SMALL}) == Present(
        {"head": SMALL, "expected-1": BIG}, frozenset({"expected-1"})
    )
