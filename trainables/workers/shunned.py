"""Nodes on which workers could not serve: avoided for a while, as long as others will do."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from trainables.workers.capacity import Capacity
from trainables.workers.execution import GroupShape

_SECONDS: Final = 600.0  # for which a node is avoided
_MOST: Final = 3  # nodes at a time before any group has served: if more fail, it is not the nodes


class Shunned:
    """The nodes that no new group is sent to.

    A node whose disk is full or that lacks a mount fails what it is given at once, so that it is free again
    before the others are, and would get the next trial, and the one after it.
    """

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._served = False

    @property
    def nodes(self) -> Collection[str]:
        """Their names."""
        return self._until.keys()

    def serves(self) -> None:
        """Note that a group can serve: what fails is not the same everywhere."""
        self._served = True

    def add(self, nodes: Iterable[str], shape: GroupShape, total: Capacity, now: float) -> None:
        """Note that a group of a shape could not serve on nodes of a cluster."""
        self._until.update(dict.fromkeys(nodes, now + _SECONDS))
        self.look(total, [shape], now)
        if not self._served and len(self._until) > _MOST:
            self._until.clear()

    def look(self, total: Capacity, shapes: Iterable[GroupShape], now: float) -> None:
        """Take nodes back whose time has passed, and all of them where shapes do not fit the others."""
        self._until = {name: until for name, until in self._until.items() if until > now}
        if self._until:
            others = total.without(self._until)
            if any(others.find(shape) is None for shape in set(shapes)):
                self._until.clear()
