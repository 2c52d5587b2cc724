"""The last decision of a running study: what is selected, with its weights written."""

from __future__ import annotations

from dataclasses import replace

from search.decision.conclusion import conclude
from search.phases.point_search import point_search
from search.phases.study_run import StudyRun
from search.records.stored_results import write_point
from search.records.study_record import StudyRecord
from search.selection import Selection


def with_selection(run: StudyRun, record: StudyRecord) -> tuple[StudyRecord, Selection]:
    """Select, and write the weights of a selected point; one that can't be written is no point."""
    search = point_search(run, record)
    while True:
        selection = conclude(record, run.folder.root)
        point = selection.point
        if point is None or selection.run is not None or point.measured.weights is not None:
            return record, selection
        written = search.written(point)
        write_point(run.folder.root, written)
        points = tuple(written if each.number == point.number else each for each in record.points)
        record = replace(record, points=points)
