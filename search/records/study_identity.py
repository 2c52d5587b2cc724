"""StudyIdentity: what makes a study the same one, however often its driver is started."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from search.records.stored_results import read_json
from search.records.stored_shapes import IdentityShape
from search.records.study_folder import StudyFolder
from trainables.files import write_atomically


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyIdentity:
    """A study's name for itself, and when its search was begun.

    Attributes:
        study_id: Tells it from other studies of its name, in MLflow and in a database of Optuna's.
        directory: The working directory that it was started in, which relative addresses refer to.
        searches: When the search was begun or gone on with, in seconds since 1970.
    """

    study_id: str
    directory: str
    searches: tuple[float, ...] = ()

    @classmethod
    def new(cls) -> StudyIdentity:
        """Return the identity of a study that starts in the working directory."""
        return cls(study_id=uuid.uuid4().hex, directory=str(Path.cwd()))

    def searching(self, now: float) -> StudyIdentity:
        """Return the identity of the study whose search is gone on with."""
        return replace(self, searches=(*self.searches, now))

    def to_json(self) -> bytes:
        """Return it as a file's content; see `read`."""
        fields = {"study_id": self.study_id, "directory": self.directory, "searches": list(self.searches)}
        return json.dumps(fields).encode()

    def write(self, folder: StudyFolder) -> None:
        """Write it to the study's folder."""
        write_atomically(folder.identity, self.to_json())

    @classmethod
    def read(cls, folder: StudyFolder) -> StudyIdentity:
        """Read it back.

        Raises:
            OSError: The file can't be read.
            DamagedFile: It is damaged.
        """
        fields = read_json(folder.identity, IdentityShape)
        return cls(
            study_id=fields["study_id"], directory=fields["directory"], searches=tuple(fields["searches"])
        )


def seconds_before(searches: Iterable[float], events: Iterable[float]) -> float:
    """Return how long drivers searched before the last one, each counted from its start to its last event.

    What a driver did between its last event and its end is not known.

    Args:
        searches: When each driver began to search, rising.
        events: When anything was recorded: a rung or a trial's end.
    """
    starts, happened = list(searches), sorted(events)
    total = 0.0
    for start, end in pairwise(starts):
        own = [event for event in happened if start <= event < end]
        total += own[-1] - start if own else 0.0
    return total
