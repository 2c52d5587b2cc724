"""A cluster for the packer: trials that take time, and a Ray that places workers as it likes."""

from __future__ import annotations

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from trainables.workers.capacity import PARTS, Capacity, Seat
from trainables.workers.execution import GroupShape
from trainables.workers.groups import Action, Close, Grant, Stage, Start
from trainables.workers.packing import Packer

Nodes = Mapping[str, Mapping[str, float]]
START, CLOSE, TICK = 5.0, 2.0, 7.0  # seconds

HALF = GroupShape(gpus=0.5)
ONE = GroupShape(gpus=1)
PAIR = GroupShape(workers=2, gpus=1)
EIGHT = GroupShape(workers=8, gpus=1, sharded=True)
CPU = GroupShape(cpus=2)
SHAPES = [HALF, GroupShape(gpus=1 / 3), ONE, PAIR, EIGHT, GroupShape(gpus=2), CPU, GroupShape(workers=3)]


def cluster(*gpus: int, cpus: float = 16) -> dict[str, dict[str, float]]:
    return {f"node-{index}": {"CPU": cpus, "GPU": float(count)} for index, count in enumerate(gpus)}


def gpus_of(shape: GroupShape) -> float:
    return shape.workers * shape.gpus


class World:
    """Runs requests to their end, checking the packer's promises after each event.

    Args:
        nodes: The cluster.
        packer: Under test.
        chance: Source of all chance.
        faithful: Whether Ray places groups where the packer expects them; else anywhere.
        tells: Whether groups say on which nodes they are.
    """

    def __init__(
        self, nodes: Nodes, packer: Packer, chance: random.Random, *, faithful: bool, tells: bool = True
    ) -> None:
        self.nodes, self.packer, self.chance = dict(nodes), packer, chance
        self.faithful, self.tells = faithful, tells
        self.now = 0.0
        self.events: list[tuple[float, int, str, str]] = []
        self.count = 0
        self.free = Capacity(nodes)  # the truth
        self.seats: dict[str, tuple[Seat, ...]] = {}  # of the groups that are up
        self.pending: dict[str, GroupShape] = {}  # groups that Ray has not placed
        self.seconds: dict[str, float] = {}  # request -> how long its trial takes
        self.shapes: dict[str, GroupShape] = {}
        self.asked: dict[str, float] = {}
        self.waited: dict[str, float] = {}
        self.running: dict[str, str] = {}  # group -> request
        self.granted: list[str] = []
        self.busy = self.area = 0.0  # GPUs, GPU seconds
        self.starts = 0
        self.follow: list[tuple[GroupShape, float]] = []  # trials asked for as others end

    def ask(self, shape: GroupShape, seconds: float) -> str:
        name = f"trial-{len(self.shapes)}"
        self.packer.ask(name, shape)
        self.shapes[name], self.seconds[name], self.asked[name] = shape, seconds, self.now
        return name

    def at(self, delay: float, kind: str, what: str = "") -> None:
        self.count += 1
        heapq.heappush(self.events, (self.now + delay, self.count, kind, what))

    def settle(self) -> None:
        self.do(self.packer.decide(self.now))
        self.place()
        check_promises(self.packer, self.nodes)

    def step(self) -> None:
        moment, _, kind, what = heapq.heappop(self.events)
        self.area += self.busy * (moment - self.now)
        self.now = moment
        getattr(self, f"on_{kind}")(what)
        self.settle()

    def run(self, until: int, steps: int = 5_000) -> None:
        """Go on until so many requests were granted."""
        self.settle()
        while len(self.granted) < until:
            if not self.events or not any(kind != "tick" for _, _, kind, _ in self.events):
                self.at(TICK, "tick")  # nothing is under way: only time can help
            steps -= 1
            assert steps > 0, f"{until - len(self.granted)} requests starve: {self.packer.status()}"
            self.step()

    def on_tick(self, _: str) -> None:
        pass

    def on_up(self, group: str) -> None:
        if group not in self.seats:
            return
        self.packer.placed(group, [seat.node for seat in self.seats[group]] if self.tells else None)
        self.packer.ready(group, self.now)

    def on_gone(self, group: str) -> None:
        self.pending.pop(group, None)
        self.free.give(self.seats.pop(group, ()))
        self.packer.gone(group)

    def on_done(self, group: str) -> None:
        if group not in self.running:
            return
        self.busy -= gpus_of(self.shapes[self.running.pop(group)])
        self.do(self.packer.release(group, self.now))
        if self.follow:
            self.ask(*self.follow.pop(0))

    def on_lose(self, node: str) -> None:
        """A node goes; Ray Train starts the workers of the groups on it anew, elsewhere."""
        self.nodes.pop(node, None)
        self.renew_nodes()
        for group, seats in list(self.seats.items()):
            if any(seat.node == node for seat in seats):
                self.free.give(self.seats.pop(group))
                self.pending[group] = self.packer._groups[group].shape

    def on_come(self, node: str) -> None:
        self.nodes[node] = {"CPU": 4.0, "GPU": 4.0}
        self.renew_nodes()

    def renew_nodes(self) -> None:
        self.free = Capacity(self.nodes).take(seat for seats in self.seats.values() for seat in seats)
        self.do(self.packer.set_nodes(self.nodes, self.now))

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Start):
                self.starts += 1
                self.pending[action.group] = action.shape
            elif isinstance(action, Close):
                self.at(self.chance.uniform(0, CLOSE), "gone", action.group)
            else:
                assert isinstance(action, Grant)
                self.granted.append(action.request)
                self.waited[action.request] = self.now - self.asked[action.request]
                self.running[action.group] = action.request
                self.busy += gpus_of(self.shapes[action.request])
                self.at(self.seconds[action.request], "done", action.group)

    def place(self) -> None:
        """Be Ray: place any of the pending groups that fit, all workers of a group or none."""
        waiting = list(self.pending.items())
        if not self.faithful:
            self.chance.shuffle(waiting)
        for group, shape in waiting:
            if self.faithful:
                seats = self.packer._groups[group].seats
                seats = seats if seats and not self.free.copy().take(seats).short_of(seats) else None
            else:
                seats = scattered(self.free, list(self.nodes), shape, self.chance)
            if seats is not None:
                del self.pending[group]
                self.seats[group] = seats
                self.free.take(seats)
                self.at(self.chance.uniform(0, START), "up", group)


def scattered(
    free: Capacity, nodes: list[str], shape: GroupShape, chance: random.Random
) -> tuple[Seat, ...] | None:
    """Place each worker on a node drawn by chance: what no packer would do."""
    room, seats = free.copy(), []
    worker = GroupShape(workers=1, cpus=shape.cpus, gpus=shape.gpus)
    for _ in range(shape.workers):
        chance.shuffle(nodes)
        found = next((seats for node in nodes if (seats := room.find_on(worker, [node]))), None)
        if found is None:
            return free.find(shape)
        room.take(found)
        seats += found
    return tuple(seats)


def check_promises(packer: Packer, nodes: Nodes) -> None:
    """What holds after every decision, counted anew from the groups and requests."""
    taken: dict[Any, int] = defaultdict(int)
    for group in packer._groups.values():
        for seat in group.seats:
            taken[seat.node] += seat.cpus
            for index, parts in seat.devices:
                taken[seat.node, index] += parts
    for where, parts in taken.items():
        if isinstance(where, tuple):
            node, index = where
            assert node not in nodes or (index < nodes[node]["GPU"] and parts <= PARTS), "a GPU is overbooked"
        else:
            assert where not in nodes or parts <= round(nodes[where]["CPU"] * PARTS), "a node is overbooked"

    groups = packer._groups.values()
    idle = [group for group in groups if group.stage is Stage.IDLE]
    assert len(idle) <= packer._max_idle
    if packer._late or any(not group.seats for group in groups):
        return
    starting = Counter(group.shape for group in groups if group.stage is Stage.STARTING)
    unserved = []
    for request in packer._waiting.values():
        starting[request.shape] -= 1
        if starting[request.shape] < 0:
            unserved.append(request)
    if not unserved:
        return
    closing = any(group.stage is Stage.CLOSING for group in groups)
    room = packer._left()
    assert room.find(unserved[0].shape) is None, "the oldest request waits beside a place for it"
    if closing or any(request.passed >= packer._patience for request in unserved):
        return
    room.give(seat for group in idle for seat in group.seats)
    for request in unserved:
        assert request.shape not in {group.shape for group in idle}, "a request waits beside its warm group"
        assert room.find(request.shape) is None, "a request waits beside free or idle resources"
