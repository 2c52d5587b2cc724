"""Which of a cluster's nodes are there: those that were planned with, by the names that Ray gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Resources = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Present:
    """A cluster's nodes at a moment.

    Attributes:
        nodes: Name -> what groups may take of it, the expected ones included.
        expected: Names of those that are not there, but that an autoscaler may start.
    """

    nodes: Mapping[str, Resources]
    expected: frozenset[str]


class Nodes:
    """Follows the nodes of a cluster.

    A planned node stands for any real one with as many GPUs and at least its CPUs, since the plan sets some
    CPU aside. Where an autoscaler is at work, what is missing of the plan is expected to come, or to come
    back: also if all of it was there at first.

    Args:
        planned: What groups may take of each node.
        alive: Node -> all its resources, at first.
        grows: Whether an autoscaler starts nodes that groups wait for.
    """

    def __init__(self, planned: Sequence[Resources], alive: Mapping[str, Resources], *, grows: bool) -> None:
        self._planned = list(planned)
        self._slots: dict[str, int | None] = {}  # real node -> index of the planned one it stands for
        self._grows = grows
        self._ignored: frozenset[str] = frozenset()
        self.update(alive)
        self._ignored = frozenset(name for name, slot in self._slots.items() if slot is None)
        self.present = self.update(alive)

    def update(self, alive: Mapping[str, Resources]) -> Present:
        """Return what is there now; a node counts in full if it came later and nobody planned with it."""
        self._slots = {name: slot for name, slot in self._slots.items() if name in alive}
        for name, resources in alive.items():
            if name not in self._slots:
                self._slots[name] = self._slot_for(resources)
        nodes = {
            name: alive[name] if slot is None else self._planned[slot]
            for name, slot in self._slots.items()
            if name not in self._ignored
        }
        missing = [i for i in range(len(self._planned)) if i not in self._slots.values()]
        expected = {f"expected-{i}": self._planned[i] for i in missing} if self._grows else {}
        self.present = Present({**nodes, **expected}, frozenset(expected))
        return self.present

    def _slot_for(self, node: Resources) -> int | None:
        """Return the free planned node that a real one fits best."""
        free = [
            (planned.get("CPU", 0), -index)
            for index, planned in enumerate(self._planned)
            if index not in self._slots.values()
            and planned.get("GPU", 0) == node.get("GPU", 0)
            and planned.get("CPU", 0) <= node.get("CPU", 0)
        ]
        return -max(free)[1] if free else None
