"""Placement groups that nobody holds any more.

Ray keeps an actor's placement group until its job ends, also if the actor dies (measured with Ray 2.60): what
a Ray Train controller that was killed had reserved would be lost to the study for as long as it runs.
"""

from __future__ import annotations

import ray
from ray._private.state import state
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.util.placement_group import PlacementGroup, remove_placement_group


def remove_orphans() -> int:
    """Free the placement groups of this job whose creating actor is dead; return how many there were.

    Only Ray's own table tells who created a group, which nothing public shows without a dashboard.
    """
    job = ray.get_runtime_context().get_job_id()
    ray.nodes()  # connects to the table
    found = 0
    for entry in state._connect_and_get_accessor().get_placement_group_table():
        place = PlacementGroupTableData.FromString(entry)
        # What the driver made, as Tune makes its trials' places, has no creator, whom Ray calls dead, too.
        made_by_actor = not ray.ActorID(place.creator_actor_id).is_nil()
        gone = place.state == PlacementGroupTableData.REMOVED or place.is_detached
        if made_by_actor and place.creator_actor_dead and place.creator_job_id.hex() == job and not gone:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(place.placement_group_id)))
            found += 1
    return found
