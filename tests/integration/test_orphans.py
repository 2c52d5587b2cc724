"""What dead actors have reserved is freed, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import ray
from faults import until
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table

from trainables.orphans import remove_orphans

pytestmark = pytest.mark.usefixtures("local_ray")


def holder() -> Any:
    """Return an actor that reserves one core when it is asked to."""

    class Holder:
        def reserve(self) -> PlacementGroup:
            place = placement_group([{"CPU": 1}])
            ray.get(place.ready())
            return place

    return ray.remote(num_cpus=0)(Holder).remote()


def state_of(place: PlacementGroup) -> str:
    return str(placement_group_table(place)["state"])


def test_only_what_a_dead_actor_has_reserved_is_freed() -> None:
    living, dead = holder(), holder()
    kept, orphan = ray.get(living.reserve.remote()), ray.get(dead.reserve.remote())
    ray.kill(dead)
    # As Tune makes a trial's: the driver's own has no creator that could be alive.
    of_the_driver = placement_group([{"CPU": 0.01}])
    until(lambda: remove_orphans() == 1, "the dead actor's place was not found")
    until(lambda: state_of(orphan) == "REMOVED", "it was not freed")
    assert remove_orphans() == 0
    assert state_of(kept) == "CREATED"
    assert state_of(of_the_driver) in ("CREATED", "PENDING")
    ray.kill(living)
    for place in (kept, of_the_driver):
        ray.util.remove_placement_group(place)
