"""The packer: which request gets which group."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packing_world import EIGHT, HALF, ONE, PAIR, World, cluster

from trainables.workers.execution import GroupShape
from trainables.workers.groups import Close, Grant, Start
from trainables.workers.packing import Packer


def up(packer: Packer, *groups: str) -> None:
    for group in groups:
        packer.placed(group)
        packer.ready(group, 0)


def test_a_group_that_never_served_does_not_age() -> None:
    """Evaluating the base may take longer than an idle group lives."""
    packer = Packer(cluster(2), idle_seconds=100)
    (started,) = packer.warm_up(ONE, 1, 0)
    up(packer, started.group)
    assert packer.decide(1000) == []
    packer.ask("r", ONE)
    assert packer.decide(1000) == [Grant("r", started.group)]
    packer.release(started.group, 1000)
    assert packer.decide(1100) == []
    assert packer.decide(1101) == [Close(started.group)]


# ---- single decisions


def test_what_can_never_fit_is_refused_with_the_numbers() -> None:
    packer = Packer(cluster(2, 2, 0))
    with pytest.raises(
        ValueError,
        match=r"^8 worker\(s\) x \(1 CPU, 1 GPU\) don't fit 1 x \(16 CPU, 0 GPU\) and 2 x \(16 CPU, 2 GPU\)",
    ):
        packer.ask("a", EIGHT)


def test_the_next_request_of_a_shape_gets_its_warm_group() -> None:
    packer = Packer(cluster(1))
    packer.ask("a", ONE)
    assert packer.decide(0) == [Start("group-1", ONE)]
    assert packer.decide(1) == []
    packer.ask("b", ONE)
    up(packer, "group-1")
    assert packer.decide(2) == [Grant("a", "group-1")]
    packer.release("group-1", 3)
    assert packer.decide(3) == [Grant("b", "group-1")]


def test_an_idle_group_makes_room_and_counts_until_it_is_gone() -> None:
    packer = Packer(cluster(2))
    for name in "ab":
        packer.ask(name, ONE)
    packer.decide(0)
    up(packer, "group-1", "group-2")
    packer.decide(0)
    packer.release("group-2", 1)
    packer.release("group-1", 2)
    packer.ask("c", GroupShape(gpus=0.5))
    # The one that was leased first was used least recently.
    assert packer.decide(3) == [Close("group-1")]
    assert packer.decide(4) == [], "its GPU is not free yet"
    packer.gone("group-1")
    assert packer.decide(5) == [Start("group-3", HALF)]


def test_a_request_takes_the_group_that_is_free_first() -> None:
    """A group that was started for a request is not bound to it."""
    packer = Packer(cluster(2))
    packer.ask("a", ONE)
    packer.decide(0)
    up(packer, "group-1")
    packer.decide(0)
    packer.ask("b", ONE)
    assert packer.decide(1) == [Start("group-2", ONE)]
    packer.release("group-1", 2)
    assert packer.decide(2) == [Grant("b", "group-1")]
    # Nobody waits for the second one any more, so it makes room even while it starts.
    packer.ask("c", HALF)
    assert packer.decide(3) == [Close("group-2")]


def test_idle_groups_are_bounded_in_number_and_time() -> None:
    packer = Packer(cluster(4), max_idle=2, idle_seconds=100)
    assert len(packer.warm_up(ONE, 9, 0)) == 2
    for name in "abcd":
        packer.ask(name, ONE)
    started = [action.group for action in packer.decide(0) if isinstance(action, Start)]
    assert len(started) == 2
    up(packer, "group-1", "group-2", *started)
    assert len(packer.decide(0)) == 4
    for second, group in enumerate(("group-1", "group-2", "group-3", "group-4")):
        packer.release(group, second)
    assert packer.decide(4) == [Close("group-1"), Close("group-2")]
    assert packer.decide(102) == []
    assert packer.decide(103) == [Close("group-3")]
    packer.gone("group-1")
    assert packer.status().idle == {ONE: 1}
    assert packer.status().closing == {ONE: 2}


def test_a_group_that_can_not_start_tells_one_request_why() -> None:
    packer = Packer(cluster(2))
    packer.ask("a", ONE)
    packer.warm_up(ONE, 2, 0)
    assert packer.broke("group-1") == [Grant("a", "group-1")]
    assert packer.broke("group-2") == [Close("group-2")]
    assert packer.release("group-1", 0, usable=False) == [Close("group-1")]


def test_who_no_longer_waits_is_granted_nothing() -> None:
    packer = Packer(cluster(1))
    packer.ask("a", ONE)
    packer.decide(0)
    packer.withdraw("a")
    up(packer, "group-1")
    assert packer.decide(0) == []
    assert packer.status().idle == {ONE: 1}
    assert not packer.status().waiting


# ---- fairness


def stream(packer: Packer, chance: random.Random, trials: int) -> tuple[World, str]:
    """Let a group for a whole node of eight GPUs wait behind and before a stream of small trials."""
    world = World(cluster(8), packer, chance, faithful=True)
    for _ in range(12):
        world.ask(ONE, chance.uniform(5, 15))
    world.settle()
    large = world.ask(EIGHT, 10)
    world.follow = [(ONE, chance.uniform(5, 15)) for _ in range(trials)]
    return world, large


@given(seed=st.integers(0, 10**6), patience=st.integers(0, 12))
@settings(max_examples=10, deadline=None)
def test_a_large_trial_waits_for_a_bounded_number_of_small_ones(seed: int, patience: int) -> None:
    """It is passed `patience` times, then each of the eight small trials that run ends once."""
    world, large = stream(Packer(cluster(8), patience=patience), random.Random(seed), 200)
    world.run(until=213)
    earlier = 12
    assert world.granted.index(large) <= earlier + patience


def test_without_the_rule_it_starves() -> None:
    world, large = stream(Packer(cluster(8), patience=10**9), random.Random(0), 200)
    world.run(until=212)
    assert large not in world.granted


def test_others_go_on_while_a_place_is_kept() -> None:
    """A place for eight GPUs is kept on the node whose trials run longest; the other node goes on."""
    packer = Packer(cluster(2, 2), patience=0)
    for name in "abcd":
        packer.ask(name, ONE)
    packer.decide(0)
    up(packer, *(f"group-{n}" for n in range(1, 5)))
    packer.decide(0)
    on = {group.name: group.seats[0].node for group in packer._groups.values()}
    packer.ask("pair", PAIR)
    packer.ask("later", ONE)
    assert packer.decide(1) == []
    first, second = (g for g in on if on[g] == on["group-1"])
    (other, _) = (g for g in on if on[g] != on["group-1"])
    packer.release(first, 2)
    assert packer.decide(2) == [Close(first)], "nobody else may have it"
    packer.release(other, 3)
    assert packer.decide(3) == [Grant("later", other)]
    packer.release(second, 4)
    assert packer.decide(4) == [Close(second)]
    packer.gone(first)
    assert packer.decide(5) == []
    packer.gone(second)
    assert packer.decide(6) == [Start("group-5", PAIR)]


# ---- groups that Ray does not place


def test_groups_go_one_after_another_for_one_that_does_not_come_up() -> None:
    """Somebody else holds the fourth GPU, of which the packer knows nothing."""
    packer = Packer(cluster(4), start_seconds=10)
    for name in "abc":
        packer.ask(name, ONE)
    packer.decide(0)
    up(packer, "group-1", "group-2", "group-3")
    packer.decide(0)
    packer.ask("half", HALF)
    assert packer.decide(0) == [Start("group-4", HALF)]
    packer.release("group-1", 5)
    assert packer.decide(5) == []
    # After 10 seconds one group goes, after 20 three, after 30 seven.
    assert packer.decide(11) == [Close("group-1")]
    packer.gone("group-1")
    packer.release("group-2", 12)
    packer.ask("d", ONE)
    assert packer.decide(12) == [Grant("d", "group-2")]
    packer.release("group-2", 21)
    packer.ask("e", ONE)
    assert packer.decide(21) == [Close("group-2"), Start("group-5", ONE)], "one of a shape may be started"
    packer.release("group-3", 31)
    packer.ask("f", ONE)
    assert packer.decide(31) == [Close("group-3")], "the late one is to have the cluster for itself"
    up(packer, "group-4")
    assert packer.decide(32) == [Grant("half", "group-4")]


def test_a_late_group_s_own_shape_does_not_make_room_for_it() -> None:
    """Whoever waits for it is served by its likes; once nobody waits, it is given up."""
    packer = Packer(cluster(2), start_seconds=10)
    packer.ask("a", ONE)
    packer.decide(0)
    up(packer, "group-1")
    packer.decide(0)
    packer.ask("b", ONE)
    assert packer.decide(0) == [Start("group-2", ONE)]
    packer.release("group-1", 20)
    assert packer.decide(20) == [Grant("b", "group-1")]
    assert packer.decide(21) == [Close("group-2")]


def test_the_others_go_on_when_making_room_does_not_help() -> None:
    packer = Packer(cluster(2), start_seconds=10)
    packer.ask("a", GroupShape(gpus=2))
    assert packer.decide(0) == [Start("group-1", GroupShape(gpus=2))]
    packer.set_nodes(cluster(2, 2), 0)
    assert packer.decide(11) == []
    packer.ask("b", ONE)
    assert packer.decide(12) == [], "it has the cluster for itself"
    assert packer.decide(22) == [Start("group-2", ONE)], "what it needs is held by somebody else"


def test_groups_of_a_lost_node_move_and_idle_ones_end() -> None:
    packer = Packer(cluster(1, 1))
    for name in "ab":
        packer.ask(name, ONE)
    packer.decide(0)
    up(packer, "group-1", "group-2")
    packer.decide(0)
    nodes = {group.name: group.seats[0].node for group in packer._groups.values()}
    packer.release("group-1", 1)
    left = {"new": {"CPU": 1.0, "GPU": 1.0}}
    assert packer.set_nodes(left, 2) == [Close("group-1")]
    assert packer.decide(2) == []
    assert [seat.node for seat in packer._groups["group-2"].seats] == ["new"], nodes


# ---- nodes on which groups can't serve


def fails(packer: Packer, group: str, node: str, now: float) -> list[object]:
    """Have a group's workers come up on a node and not be able to serve there, as the pool tells it."""
    packer.placed(group, [node])
    return [*packer.shun(group, now), *packer.broke(group), *packer.decide(now)]


def test_a_node_where_groups_fail_gets_no_trial_while_there_are_others() -> None:
    """The failed group's place is free at once, while the other node is taken: it must stay empty."""
    packer = Packer(cluster(1, 1))
    for name in "ab":
        packer.ask(name, ONE)
    packer.decide(0)
    packer.placed("group-1", ["node-0"])
    packer.ready("group-1", 1)
    assert packer.decide(1) == [Grant("a", "group-1")]
    assert fails(packer, "group-2", "node-1", 2) == [Close("group-2")]
    packer.gone("group-2")
    assert packer.decide(3) == [], "the node that failed was asked again"
    # Whoever waits for the other node gets it; and after ten minutes the node is tried again.
    packer.release("group-1", 4)
    assert packer.decide(4) == [Grant("b", "group-1")]
    packer.ask("c", ONE)
    assert packer.decide(601) == []
    assert packer.decide(603) == [Start("group-3", ONE)]


def test_what_is_starting_on_such_a_node_is_ended_too() -> None:
    packer = Packer(cluster(2, 2))
    packer.warm_up(ONE, 4, 0)
    packer.ask("a", ONE)
    on = {group.name: group.seats[0].node for group in packer._groups.values()}
    (first, second), others = [g for g in on if on[g] == "node-0"], [g for g in on if on[g] == "node-1"]
    assert fails(packer, first, "node-0", 1) == [Close(second), Close(first)]
    up(packer, *others)
    (granted,) = packer.decide(2)
    assert isinstance(granted, Grant)
    assert granted.group in others


def test_where_no_other_node_holds_a_shape_who_waits_hears_why() -> None:
    packer = Packer(cluster(1, 2))
    packer.ask("a", PAIR)
    assert packer.decide(0) == [Start("group-1", PAIR)]
    packer.placed("group-1", ["node-1", "node-1"])
    assert [*packer.shun("group-1", 1), *packer.broke("group-1")] == [Grant("a", "group-1")]


def test_a_shape_that_fits_such_a_node_alone_goes_there_nevertheless() -> None:
    packer = Packer(cluster(1, 2))
    packer.ask("a", ONE)
    packer.decide(0)
    assert fails(packer, "group-1", "node-1", 1)[0] == Close("group-1")
    packer.gone("group-1")
    packer.ask("b", PAIR)
    assert Start("group-3", PAIR) in packer.decide(2)


def test_what_fails_on_node_after_node_is_not_the_nodes() -> None:
    """A model that can't be loaded anywhere must not be tried on a hundred nodes before that is told."""
    packer = Packer(cluster(*[1] * 100))
    packer.ask("a", ONE)
    granted: list[object] = []
    for number in range(1, 5):
        assert not granted
        packer.decide(number)
        granted = [
            a for a in fails(packer, f"group-{number}", f"node-{number}", number) if isinstance(a, Grant)
        ]
    assert granted == [Grant("a", "group-4")]


def test_once_a_group_has_served_any_number_of_nodes_may_be_bad() -> None:
    packer = Packer(cluster(*[1] * 100))
    packer.ask("a", ONE)
    packer.decide(0)
    up(packer, "group-1")
    packer.decide(0)
    packer.ask("b", ONE)
    packer.decide(1)
    for number in range(2, 30):
        said = fails(packer, f"group-{number}", f"node-{number}", number)
        assert said == [Close(f"group-{number}"), Start(f"group-{number + 1}", ONE)]


class TestElastic:
    """Two workers with a GPU each on two nodes, of which one is lost."""

    WAIT, BOOT = 30.0, 900.0

    def world(self, min_workers: int | None, expected: tuple[str, ...] = ()) -> tuple[Packer, str]:
        packer = Packer(cluster(1, 1), min_workers=min_workers)
        packer.ask("a", PAIR)
        (start,) = packer.decide(0)
        assert isinstance(start, Start)
        packer.placed(start.group, ["node-0", "node-1"])
        packer.ready(start.group, 1)
        assert packer.decide(1) == [Grant("a", start.group)]
        nodes = {"node-0": cluster(1)["node-0"], **{name: cluster(1)["node-0"] for name in expected}}
        assert packer.set_nodes(nodes, 10, expected=expected) == []
        return packer, start.group

    def test_a_group_comes_down_to_the_workers_that_fit(self) -> None:
        packer, lost = self.world(1)
        assert packer.decide(10) == packer.decide(10 + self.WAIT - 1) == []
        assert packer.decide(10 + self.WAIT) == [Close(lost)]
        packer.gone(lost)
        packer.ask("a again", PAIR)
        (start,) = packer.decide(41)
        assert start == Start("group-2", replace(PAIR, workers=1))
        packer.placed("group-2", ["node-0"])
        packer.ready("group-2", 42)
        assert packer.decide(42) == [Grant("a again", "group-2")]
        # The next one takes the planned size as soon as it fits again.
        packer.release("group-2", 50)
        packer.set_nodes(cluster(1, 1), 50)
        packer.ask("b", PAIR)
        assert packer.decide(50) == [Close("group-2")]

    def test_not_below_the_fewest_and_not_unasked(self) -> None:
        for min_workers in (2, None):
            packer, _ = self.world(min_workers)
            assert packer.decide(10) == packer.decide(10_000) == []

    def test_a_node_that_an_autoscaler_may_start_is_waited_for(self) -> None:
        packer, lost = self.world(1, expected=("expected-1",))
        assert packer.decide(10) == packer.decide(10 + self.BOOT - 1) == []
        assert packer.decide(10 + self.BOOT) == [Close(lost)]

    @pytest.mark.parametrize("expected", [(), ("expected-1",)])
    def test_what_waits_for_long_is_told(self, expected: tuple[str, ...]) -> None:
        packer, _ = self.world(None, expected)
        packer.decide(10)
        assert packer.short(69) is None
        assert packer.short(130) == (
            "waiting for 2 min for 2 worker(s) x (1 CPU, 1 GPU): of the cluster 1 x (16 CPU, 1 GPU) is there"
        )
        packer.set_nodes(cluster(1, 1), 140)
        packer.decide(140)
        assert packer.short(300) is None
