"""How many workers fit, node by node and device by device."""

from __future__ import annotations

import pytest
from packing_world import CPU, EIGHT, HALF, ONE, PAIR, cluster

from trainables.workers.capacity import Capacity
from trainables.workers.execution import GroupShape


@pytest.mark.parametrize(
    ("shape", "nodes", "fits"),
    [
        # Three halves need two devices; 0.6 and 0.6 are more than one; three thirds are one.
        (GroupShape(workers=3, gpus=0.5), cluster(2), True),
        (GroupShape(workers=5, gpus=0.5), cluster(2), False),
        (GroupShape(workers=2, gpus=0.6), cluster(1), False),
        (GroupShape(workers=2, gpus=0.6), cluster(2), True),
        (GroupShape(workers=3, gpus=0.6), cluster(2), False),
        (GroupShape(workers=3, gpus=0.6), cluster(3), True),
        # Ray would put two times 0.6 on one device of one node if it may choose the nodes.
        (GroupShape(workers=3, gpus=0.6), cluster(1, 1, 1), False),
        (GroupShape(workers=3, gpus=0.5), cluster(1, 1), True),
        (GroupShape(workers=3, gpus=1 / 3), cluster(1), True),
        (GroupShape(workers=6, gpus=1), cluster(4, 2), True),
        # A worker of three needs them on one node: 4 + 2 hold one such worker.
        (GroupShape(workers=2, gpus=3), cluster(4, 2), False),
        (GroupShape(gpus=1, cpus=17), cluster(1), False),
        (GroupShape(cpus=0.1, workers=20), cluster(0, cpus=2), True),
        (GroupShape(cpus=0.1, workers=21), cluster(0, cpus=2), False),
    ],
)
def test_workers_fit_node_by_node_and_device_by_device(
    shape: GroupShape, nodes: dict[str, dict[str, float]], fits: bool
) -> None:
    assert (Capacity(nodes).find(shape) is not None) == fits


def test_a_group_goes_where_it_leaves_whole_nodes_and_devices_free() -> None:
    room = Capacity(cluster(0, 8, 8))
    (first,) = room.find(HALF) or ()
    room.take([first])
    (second,) = room.find(HALF) or ()
    assert first.node == second.node
    assert first.devices == second.devices == ((0, 5000),)
    (free,) = {"node-1", "node-2"} - {first.node}
    assert {seat.node for seat in room.find(EIGHT) or ()} == {free}
    (idle_hands,) = room.find(CPU) or ()
    assert idle_hands.node == "node-0", "work without a GPU goes where there is none"


def test_a_group_that_one_node_could_hold_is_not_spread() -> None:
    room = Capacity(cluster(2, 2))
    taken = room.find(ONE) or ()
    room.take(taken)
    (other,) = {"node-0", "node-1"} - {taken[0].node}
    assert [seat.node for seat in room.find(PAIR) or ()] == [other] * 2
    room.take(seats for node in [other] for seats in room.find_on(ONE, [node]) or ())
    assert room.find(PAIR) is None
    assert len(Capacity(cluster(1, 1)).find(PAIR) or ()) == 2


def test_a_share_of_several_gpus_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at most 1 or a whole number, and are 1\.5"):
        Capacity(cluster(4)).find(GroupShape(gpus=1.5))
