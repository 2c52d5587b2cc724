"""Where workers fit: nodes with CPU cores and GPUs, counted as Ray counts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from trainables.workers.execution import GroupShape

PARTS = 10_000  # Ray counts resources in ten-thousandths
_Demand = tuple[int, int]  # of one worker: CPU and GPU, in parts


@dataclass(frozen=True, slots=True)
class Seat:
    """What one worker takes from a node, in parts.

    Attributes:
        node: The node's name.
        cpus: Of its CPU cores.
        devices: (index, parts) of its GPUs: a share of one, or several whole ones.
    """

    node: str
    cpus: int
    devices: tuple[tuple[int, int], ...]


class _Node:
    """What is free on one node, in parts; below zero where more is promised than is free."""

    __slots__ = ("cpus", "devices")

    def __init__(self, cpus: int, devices: list[int]) -> None:
        self.cpus = cpus
        self.devices = devices

    def holds(self, demand: _Demand, most: int) -> int:
        """Return how many workers fit, up to a number."""
        cpus, gpus = demand
        if cpus:
            most = min(most, max(self.cpus, 0) // cpus)
        if gpus >= PARTS:
            return min(most, self.devices.count(PARTS) // (gpus // PARTS))
        if gpus:
            return min(most, sum(free // gpus for free in self.devices if free > 0))
        return most

    def seat(self, name: str, demand: _Demand) -> Seat:
        """Return one worker's seat; a share of a GPU goes where it leaves the least over, as Ray does it."""
        cpus, gpus = demand
        devices: list[tuple[int, int]] = []
        if gpus >= PARTS:
            whole = [index for index, free in enumerate(self.devices) if free == PARTS]
            devices = [(index, PARTS) for index in whole[: gpus // PARTS]]
        elif gpus:
            fitting = [(free, index) for index, free in enumerate(self.devices) if free >= gpus]
            devices = [(min(fitting)[1], gpus)]
        return Seat(name, cpus, tuple(devices))

    def tightness(self) -> tuple[int, int]:
        """Return what is free; the least of it is the tightest."""
        return sum(self.devices), self.cpus


class Capacity:
    """What is free on each node of a cluster.

    Args:
        nodes: Node -> its `CPU` and `GPU`; a device is either free or shared out within itself.
    """

    def __init__(self, nodes: Mapping[str, Mapping[str, float]]) -> None:
        self._nodes = {
            name: _Node(_parts(node.get("CPU", 0)), [PARTS] * int(node.get("GPU", 0) + 1e-6))
            for name, node in nodes.items()
        }
        self._kinds = Counter((node.cpus, len(node.devices)) for node in self._nodes.values())

    def copy(self) -> Capacity:
        """Return a copy whose changes leave this one as it is."""
        made = Capacity({})
        made._nodes = {name: _Node(node.cpus, list(node.devices)) for name, node in self._nodes.items()}
        made._kinds = self._kinds
        return made

    def without(self, nodes: Collection[str]) -> Capacity:
        """Return a copy on whose nodes of these names nothing fits."""
        made = self.copy()
        for name in nodes:
            made._nodes.pop(name, None)
        return made

    def take(self, seats: Iterable[Seat], sign: int = -1) -> Capacity:
        """Mark seats as taken, below zero where need be, and return self; seats on lost nodes don't count."""
        for seat in seats:
            if (node := self._nodes.get(seat.node)) is not None:
                node.cpus += sign * seat.cpus
                for index, parts in seat.devices:
                    node.devices[index] += sign * parts
        return self

    def give(self, seats: Iterable[Seat]) -> Capacity:
        """Mark seats as free again and return self."""
        return self.take(seats, sign=1)

    def find(self, shape: GroupShape) -> tuple[Seat, ...] | None:
        """Return seats for a group's workers, or None if there is no room.

        They lie on one node where some node could hold the group, since its workers exchange gradients; else
        on few nodes. Of nodes that will do, the fullest is taken.
        """
        demand, left = _demand(shape), shape.workers
        rooms = {name: room for name, node in self._nodes.items() if (room := node.holds(demand, left))}
        if sum(rooms.values()) < left:
            return None
        chosen: dict[str, int] = {}
        while left:
            whole = [name for name, room in rooms.items() if room >= left]
            if whole:
                name = min(whole, key=lambda name: self._nodes[name].tightness())
            elif chosen or self._may_spread(demand, left):
                name = max(rooms, key=rooms.__getitem__)
            else:
                return None
            chosen[name] = min(left, rooms.pop(name))
            left -= chosen[name]
        return self._seats(demand, chosen)

    def count(self, shape: GroupShape, most: int | None = None) -> int:
        """Return how many groups of a shape fit one after another, up to a number."""
        left, found = self.copy(), 0
        while found != most and (seats := left.find(shape)) is not None:
            left.take(seats)
            found += 1
        return found

    def find_on(self, shape: GroupShape, nodes: Sequence[str]) -> tuple[Seat, ...] | None:
        """Return seats for a group's workers on given nodes, one name a worker; or None."""
        demand, wanted = _demand(shape), Counter(nodes)
        if any(n not in self._nodes or self._nodes[n].holds(demand, k) < k for n, k in wanted.items()):
            return None
        return self._seats(demand, wanted)

    def short_of(self, seats: Iterable[Seat]) -> bool:
        """Return whether more is promised than is free of anything that these seats take."""
        for seat in seats:
            if (node := self._nodes.get(seat.node)) is not None and (
                (seat.cpus and node.cpus < 0) or any(node.devices[index] < 0 for index, _ in seat.devices)
            ):
                return True
        return False

    def has(self, seats: Iterable[Seat]) -> bool:
        """Return whether the nodes of all seats are there."""
        return all(seat.node in self._nodes for seat in seats)

    def free_gpus(self) -> float:
        """Return the GPUs that are free, shares included."""
        return sum(sum(node.devices) for node in self._nodes.values()) / PARTS

    def __str__(self) -> str:
        lines = [
            f"{count} x ({cpus / PARTS:g} CPU, {gpus} GPU)"
            for (cpus, gpus), count in sorted(self._kinds.items())
        ]
        return " and ".join(lines) or "no node"

    def _may_spread(self, demand: _Demand, workers: int) -> bool:
        """Return whether a group may lie on several nodes."""
        share = demand[1]
        if 0 < share < PARTS and PARTS % share > PARTS // share:
            # Ray counts a node's shares by their sum and would put three times 0.6 on two devices, for ever.
            return False
        return all(_Node(c, [PARTS] * g).holds(demand, workers) < workers for c, g in self._kinds)

    def _seats(self, demand: _Demand, chosen: Mapping[str, int]) -> tuple[Seat, ...]:
        seats: list[Seat] = []
        for name, count in chosen.items():
            for _ in range(count):
                seats.append(self._nodes[name].seat(name, demand))
                self.take(seats[-1:])
        self.give(seats)
        return tuple(seats)


def _parts(amount: float) -> int:
    return round(amount * PARTS)


def _demand(shape: GroupShape) -> _Demand:
    """Return what one worker takes.

    Raises:
        ValueError: A worker takes more than one GPU and not a whole number of them.
    """
    if shape.gpus > 1 and shape.gpus % 1:
        raise ValueError(f"a worker's GPUs must be at most 1 or a whole number, and are {shape.gpus:g}")
    # Ray takes a share down to a whole number of parts, so that three thirds fit one device.
    return _parts(shape.cpus), int(shape.gpus * PARTS + 1e-6)
