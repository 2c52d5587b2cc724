"""The last decision of a running study: what is selected, and the weights of points that it leaves."""

from __future__ import annotations

from dataclasses import replace

from search.decision.conclusion import conclude
from search.phases.point_progress import point_text
from search.phases.point_search import point_search
from search.phases.steps import step
from search.phases.study_run import StudyRun
from search.records.retention import points_to_write
from search.records.stored_results import write_point
from search.records.study_record import StudyRecord
from search.results import PointResult
from search.selection import Selection
from search.wording import counted


def with_selection(run: StudyRun, record: StudyRecord) -> tuple[StudyRecord, Selection]:
    """Select, and write the weights of a selected point; one that can't be written is no point."""
    search = point_search(run, record)
    while True:
        selection = conclude(record, run.folder.root)
        point = selection.point
        if point is None or selection.run is not None or point.measured.weights is not None:
            return record, selection
        (written,) = search.written([point])
        if written.unwritten is not None:
            error = f"its weights can't be written: {written.unwritten}"
            written = replace(written, rung=None, error=error)
        record = _with_point(run, record, written)


def with_point_weights(run: StudyRun, record: StudyRecord, selection: Selection) -> StudyRecord:
    """Write the weights of all points that stay, while what they are made of is there.

    A point that can't be written keeps what was measured of it, with the reason.
    """
    points = points_to_write(record, selection)
    if not points:
        return record
    with step(run.console, f"writing the weights of {counted(len(points), 'point')} for a later choice"):
        for written in point_search(run, record).written(points):
            record = _with_point(run, record, written)
            if written.unwritten is not None:
                line = f"{point_text(written)}: its weights can't be written: {written.unwritten}"
                run.console.print(line, markup=False, highlight=False, soft_wrap=True)
    return record


def _with_point(run: StudyRun, record: StudyRecord, written: PointResult) -> StudyRecord:
    write_point(run.folder.root, written)
    points = tuple(written if each.number == written.number else each for each in record.points)
    return replace(record, points=points)
