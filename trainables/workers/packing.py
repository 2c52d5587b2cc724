"""Packer: which waiting request gets which worker group, and which group must go to make room.

A state machine without clock, Ray or threads: events change its state, `decide` returns what to do. Its
picture of the cluster is a guess until a group says where its workers are, since Ray places them, and others
may use the cluster too. Three rules keep it live:

- A request that was passed `patience` times by later ones reserves the place that is likely to be free first,
  by the longest-running groups; what is reserved is given to no later request.
- A group whose workers don't come up within `start_seconds` makes the other groups go, one, then three, then
  seven... as time passes, until it has the cluster for itself.
- Whoever holds a group waits for nothing else.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from trainables.workers.capacity import Capacity, Seat
from trainables.workers.elastic import Elastic
from trainables.workers.execution import GroupShape
from trainables.workers.groups import Action, Close, Grant, Group, PoolStatus, Request, Stage, Start
from trainables.workers.shunned import Shunned

_LONG: Final = 60.0  # seconds to wait for nodes without a word


class Packer:
    """Decides for requests of group shapes on a cluster.

    Args:
        nodes: Node -> its `CPU` and `GPU` that groups may take.
        max_idle: Idle groups kept alive; None keeps as many as there is room for.
        patience: Later requests that may pass one before it reserves its place.
        start_seconds: How long workers may take to come up before other groups make room.
        idle_seconds: How long a group that has served stays idle before it is ended.
        prefix: Begins the names of groups.
        expected: Nodes that are not there yet, but will be when groups wait for them.
        boot_seconds: How long workers may take to come up where a node has to come up first.
        min_workers: The fewest workers of a group whose nodes were lost; None keeps groups as planned.
    """

    def __init__(
        self,
        nodes: Mapping[str, Mapping[str, float]],
        *,
        max_idle: int | None = None,
        patience: int = 4,
        start_seconds: float = 50.0,
        idle_seconds: float = math.inf,
        prefix: str = "group",
        expected: Iterable[str] = (),
        boot_seconds: float = 900.0,
        min_workers: int | None = None,
    ) -> None:
        self._nodes = nodes
        self._first = self._total = Capacity(nodes)
        self._max_idle = math.inf if max_idle is None else max_idle
        self._patience = patience
        self._start_seconds = start_seconds
        self._idle_seconds = idle_seconds
        self._prefix = prefix
        self._expected = frozenset(expected)
        self._boot_seconds = boot_seconds
        self._elastic = Elastic(min_workers, boot_seconds)
        self._groups: dict[str, Group] = {}
        self._waiting: dict[str, Request] = {}  # in the order of their arrival
        self._shunned = Shunned()
        self._turns = 0
        self._made = 0

    # ---- events

    def check(self, shape: GroupShape) -> None:
        """Check that a shape fits the empty cluster, as it was or as it is.

        Raises:
            ValueError: It does not.
        """
        if self._first.find(shape) is None and self._total.find(shape) is None:
            raise ValueError(
                f"{shape.workers} worker(s) x ({shape.cpus:g} CPU, {shape.gpus:g} GPU) don't fit "
                f"{self._total} even when nothing else runs"
            )

    def ask(self, request: str, shape: GroupShape) -> None:
        """Let a request wait for a group.

        Raises:
            ValueError: The shape can never fit.
        """
        self.check(shape)
        self._waiting[request] = Request(request, shape, shape)

    def withdraw(self, request: str) -> None:
        """Forget a request that waits."""
        self._waiting.pop(request, None)

    def warm_up(self, shape: GroupShape, count: int, now: float) -> list[Action]:
        """Start groups that nobody asked for yet, as far as there is room and `max_idle` allows."""
        self.check(shape)
        actions: list[Action] = []
        there = sum(group.shape == shape for group in self._alive())
        left = self._left()
        for _ in range(count - there):
            seats = left.find(shape)
            if seats is None or len(self._in(Stage.IDLE, Stage.STARTING)) >= self._max_idle:
                break
            actions.append(self._start(shape, left, seats, now))
        return actions

    def placed(self, group: str, nodes: Sequence[str] | None = None) -> None:
        """Note that a group's workers are up, and on which nodes if that is known, one name a worker."""
        if (member := self._groups.get(group)) is None or member.stage is Stage.CLOSING:
            return
        member.placed, member.yielded, member.alone_since = True, 0, None
        if nodes is not None and Counter(nodes) != Counter(seat.node for seat in member.seats):
            self._move(member, nodes)

    def starts(self, group: str, now: float) -> tuple[str, ...]:
        """Note that a group asks Ray for its workers, once more perhaps; return the nodes to ask for.

        None are named where nodes have yet to come or the named ones did not do: then Ray shall choose.
        """
        if (member := self._groups.get(group)) is None:
            return ()
        if member.placed:
            member.placed, member.since = False, now
        nodes = tuple(sorted({seat.node for seat in member.seats}))
        return () if self._expected.intersection(nodes) or self._is_late(member, now) else nodes

    def ready(self, group: str, now: float) -> None:
        """Note that a group can serve."""
        self._shunned.serves()
        if (member := self._groups.get(group)) is not None and member.stage is Stage.STARTING:
            self._idle(member, now)

    def release(self, group: str, now: float, *, usable: bool = True) -> list[Action]:
        """Take a leased group back; one that is not usable is to be closed."""
        member = self._groups.get(group)
        if member is None or member.stage is not Stage.LEASED:
            return []
        self._idle(member, now)
        return [] if usable else [self._close(member)]

    def broke(self, group: str) -> list[Action]:
        """Note that a group can't serve; if it never could, a request that waits for one shall hear why.

        It need not where the group was only in a bad place: see `shun`.
        """
        member = self._groups.get(group)
        if member is None or member.stage not in (Stage.STARTING, Stage.IDLE):
            return []
        if member.stage is Stage.STARTING and not self._is_shunned(member):
            for request in self._waiting.values():
                if request.shape == member.shape:
                    return [self._grant(request, member)]
        return [self._close(member)]

    def shun(self, group: str, now: float) -> list[Action]:
        """Note that a group can't serve where it is: for a while others shall be elsewhere, if they fit."""
        if (member := self._groups.get(group)) is None:
            return []
        self._shunned.add({seat.node for seat in member.seats}, member.shape, self._total, now)
        return [
            self._close(other)
            for other in self._in(Stage.STARTING)
            if other is not member and self._is_shunned(other)
        ]

    def gone(self, group: str) -> None:
        """Note that a group has ended and holds nothing any more."""
        self._groups.pop(group, None)

    def set_nodes(
        self, nodes: Mapping[str, Mapping[str, float]], now: float, *, expected: Iterable[str] = ()
    ) -> list[Action]:
        """Note which nodes there are; groups on lost ones need a new place, and idle ones are closed."""
        self._nodes, self._total, self._expected = nodes, Capacity(nodes), frozenset(expected)
        actions: list[Action] = []
        for group in list(self._groups.values()):
            if not self._total.has(group.seats):
                group.seats, group.placed, group.since = (), False, now
                if group.stage is Stage.IDLE:
                    actions.append(self._close(group))
        return actions

    def status(self) -> PoolStatus:
        """Return how many groups and requests there are, by shape."""
        by_stage = {stage: Counter(group.shape for group in self._in(stage)) for stage in Stage}
        waiting = Counter(request.shape for request in self._waiting.values())
        return PoolStatus(**{stage.value: by_stage[stage] for stage in Stage}, waiting=waiting)

    # ---- decisions

    def decide(self, now: float) -> list[Action]:
        """Return what to do now; the state takes it as done."""
        actions: list[Action] = self._shrink(now)
        homeless = (group.shape for group in self._alive() if not group.seats)
        wanted = (request.shape for request in self._waiting.values())
        self._shunned.look(self._total, [*wanted, *homeless], now)
        actions += self._end_spare_and_stale(now)
        actions += self._make_room_for_late(now)
        left = self._left()
        for group in self._alive():
            if not group.seats and (seats := left.find(group.shape)) is not None:
                group.seats = seats
                left.take(seats)
        actions += self._serve(left, now)
        idle = sorted(self._in(Stage.IDLE), key=_turn)
        surplus = len(idle) - self._max_idle
        actions += [self._close(group) for index, group in enumerate(idle) if index < surplus]
        return actions

    def _shrink(self, now: float) -> list[Action]:
        """Let requests wait for what fits the nodes that are there; close the groups that no longer do."""
        there = self._total.without(self._expected)

        def fitting(shape: GroupShape) -> GroupShape:
            return self._elastic.fitting(shape, there, now, expecting=bool(self._expected))

        for request in self._waiting.values():
            request.shape = fitting(request.planned)
        return [self._close(group) for group in self._unplaced() if fitting(group.shape) != group.shape]

    def short(self, now: float) -> str | None:
        """Say what has waited for a minute for nodes that are not there; None where nothing has."""
        wanted = {request.planned for request in self._waiting.values()}
        wanted |= {group.shape for group in self._unplaced()}
        waits = {shape: wait for shape, wait in self._elastic.short(wanted, now).items() if wait >= _LONG}
        if not waits:
            return None
        shape, seconds = max(waits.items(), key=lambda item: item[1])
        there = Capacity({name: each for name, each in self._nodes.items() if name not in self._expected})
        return (
            f"waiting for {seconds / 60:.0f} min for {shape.workers} worker(s) x ({shape.cpus:g} CPU, "
            f"{shape.gpus:g} GPU): of the cluster {there} is there"
        )

    def _unplaced(self) -> list[Group]:
        """Return the groups whose workers wait for nodes that are not there."""
        there = self._total.without(self._expected)
        return [
            group
            for group in self._alive()
            if not group.placed and (not group.seats or not there.has(group.seats))
        ]

    def _serve(self, left: Capacity, now: float) -> list[Action]:
        """Serve requests in their order: those passed too often first, then what is warm, then the rest."""
        actions: list[Action] = []
        starting = Counter(group.shape for group in self._in(Stage.STARTING))
        queue = list(self._waiting.values())
        old = [request for request in queue if request.passed >= self._patience]
        rest = [request for request in queue if request.passed < self._patience]
        hopeless: set[GroupShape] = set()
        idle: defaultdict[GroupShape, list[Group]] = defaultdict(list)
        for group in sorted(reversed(self._in(Stage.IDLE)), key=_turn):
            idle[group.shape].append(group)
        for request in old:
            actions += self._warm(request, idle) or self._place(
                request, starting, left, hopeless, now, old=True
            )
        for request in rest:
            actions += self._warm(request, idle)
        for request in rest:
            if request.name in self._waiting:
                actions += self._place(request, starting, left, hopeless, now, old=False)
        return actions

    def _warm(self, request: Request, idle: Mapping[GroupShape, list[Group]]) -> list[Action]:
        """Grant the idle group of a request's shape that was used last, if there is one."""
        groups = idle[request.shape]
        while groups:
            group = groups.pop()
            if group.stage is Stage.IDLE:  # not closed meanwhile, to make room for an older request
                if group.turn:
                    self._count_passed(request)
                return [self._grant(request, group)]
        return []

    def _place(
        self,
        request: Request,
        starting: Counter[GroupShape],
        left: Capacity,
        hopeless: set[GroupShape],
        now: float,
        *,
        old: bool,
    ) -> list[Action]:
        """Start a group for a request, or reserve a place in `left` and close the idle groups in it."""
        shape = request.shape
        if starting[shape]:
            starting[shape] -= 1  # a group that is starting will serve it
            return []
        if shape in hopeless or not self._may_start(shape):
            return []
        if (seats := left.find(shape)) is not None:
            self._count_passed(request)
            return [self._start(shape, left, seats, now)]
        if (plan := self._plan(shape, left, old=old)) is None:
            hopeless.add(shape)
            return []
        seats, leaving = plan
        left.take(seats)
        return [self._close(group) for group in leaving if group.stage in (Stage.IDLE, Stage.STARTING)]

    def _plan(
        self, shape: GroupShape, left: Capacity, *, old: bool
    ) -> tuple[tuple[Seat, ...], list[Group]] | None:
        """Return the place that is free first, and the groups that must leave it."""
        order = [*self._in(Stage.CLOSING), *self._spare(), *sorted(self._in(Stage.IDLE), key=_turn)]
        if old:
            order += sorted(self._in(Stage.LEASED), key=_turn)

        def without(count: int) -> tuple[Seat, ...] | None:
            return left.copy().give(seat for group in order[:count] for seat in group.seats).find(shape)

        if without(len(order)) is None:
            return None
        low, high = 0, len(order)  # the fewest groups without which it fits
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if without(middle) is not None else (middle + 1, high)
        seats = without(low)
        assert seats is not None
        room, leaving = left.copy().take(seats), []
        for group in order[:low]:
            if group.stage is Stage.CLOSING or room.short_of(group.seats):
                room.give(group.seats)
                leaving.append(group)
        return seats, leaving

    def _end_spare_and_stale(self, now: float) -> list[Action]:
        """Close groups that were idle for too long, and those that are late and nobody waits for."""
        idle = self._in(Stage.IDLE)
        # What was warmed up and has not served yet waits for the study to begin.
        stale = [g for g in idle if g.turn and now - g.idle_since > self._idle_seconds]
        late = [group for group in [*idle, *self._spare()] if self._is_late(group, now)]
        return [self._close(group) for group in {group.name: group for group in stale + late}.values()]

    def _make_room_for_late(self, now: float) -> list[Action]:
        """Close idle groups, more and more as time passes, for the one that waits longest to come up."""
        self._late = {g.name for g in self._alive() if self._is_late(g, now)}
        self._alone = False
        late = self._neediest()
        if late is None:
            return []
        others = [group for group in self._groups.values() if group is not late and group.placed]
        if others:
            late.alone_since = None
        else:
            # What it needs is held by somebody else: let the others work, and come back to it later.
            late.alone_since = now if late.alone_since is None else late.alone_since
            if now - late.alone_since > self._start_seconds:
                late.since, late.yielded, late.alone_since = now, 0, None
                return []
        stages = 1 + int((now - late.since - self._seconds_for(late)) / self._start_seconds)
        allowed = 2 ** min(stages, 30) - 1 - late.yielded
        wanted = {request.shape for request in self._waiting.values()}
        idle = [g for g in others if g.stage is Stage.IDLE and (g.turn or g.shape not in wanted)]
        idle = sorted(idle, key=_turn)[: max(allowed, 0)]
        late.yielded += len(idle)
        self._alone = allowed > len(others)
        return [self._close(group) for group in idle]

    def _neediest(self) -> Group | None:
        """Return the group that is late for longest and without which somebody is not served."""
        served = {g.shape for g in self._alive() if g.placed}
        needy = [
            group
            for group in self._groups.values()
            if group.name in self._late and (group.stage is Stage.LEASED or group.shape not in served)
        ]
        return min(needy, key=lambda group: group.since, default=None)

    def _may_start(self, shape: GroupShape) -> bool:
        """Return whether a new group would not stand in the way of one that is late."""
        if self._alone:
            return False
        return not self._late or all(group.placed for group in self._alive() if group.shape == shape)

    # ---- changes of state

    def _start(self, shape: GroupShape, left: Capacity, seats: tuple[Seat, ...], now: float) -> Start:
        self._made += 1
        group = Group(f"{self._prefix}-{self._made}", shape, seats, now)
        self._groups[group.name] = group
        left.take(seats)
        return Start(group.name, shape)

    def _grant(self, request: Request, group: Group) -> Grant:
        del self._waiting[request.name]
        self._turns += 1
        group.stage, group.turn = Stage.LEASED, self._turns
        return Grant(request.name, group.name)

    def _idle(self, group: Group, now: float) -> None:
        group.stage, group.idle_since = Stage.IDLE, now

    def _close(self, group: Group) -> Close:
        group.stage = Stage.CLOSING
        return Close(group.name)

    def _count_passed(self, served: Request) -> None:
        for request in self._waiting.values():
            if request is served:
                return
            request.passed += 1

    def _move(self, group: Group, nodes: Sequence[str]) -> None:
        """Give a group the seats that Ray gave it; groups that only might be there lose theirs."""
        group.seats = ()
        for other in self._alive():
            if not other.placed and any(seat.node in nodes for seat in other.seats):
                other.seats = ()
        group.seats = self._free().find_on(group.shape, nodes) or ()

    # ---- what there is

    def _in(self, *stages: Stage) -> list[Group]:
        return [group for group in self._groups.values() if group.stage in stages]

    def _alive(self) -> list[Group]:
        return [group for group in self._groups.values() if group.stage is not Stage.CLOSING]

    def _spare(self) -> list[Group]:
        """Return the starting groups that no request waits for, the youngest of their shapes."""
        waiting = Counter(request.shape for request in self._waiting.values())
        spare = []
        for group in self._in(Stage.STARTING):
            waiting[group.shape] -= 1
            if waiting[group.shape] < 0:
                spare.append(group)
        return spare

    def _is_late(self, group: Group, now: float) -> bool:
        return not group.placed and now - group.since > self._seconds_for(group)

    def _seconds_for(self, group: Group) -> float:
        """Return how long a group may take to come up."""
        boots = any(seat.node in self._expected for seat in group.seats)
        return self._boot_seconds if boots else self._start_seconds

    def _is_shunned(self, group: Group) -> bool:
        return any(seat.node in self._shunned.nodes for seat in group.seats)

    def _free(self) -> Capacity:
        """Return what no group takes."""
        return self._total.copy().take(_seats(self._groups.values()))

    def _left(self) -> Capacity:
        """Return what no group takes and a new one may."""
        return self._free().without(self._shunned.nodes)


def _turn(group: Group) -> int:
    return group.turn


def _seats(groups: Iterable[Group]) -> Iterable[Seat]:
    return (seat for group in groups for seat in group.seats)
