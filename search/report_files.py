"""The report as files: the page, and its plots for use elsewhere."""

from __future__ import annotations

from search.plots.study_plots import study_plots
from search.records.study_folder import StudyFolder
from search.records.study_record import StudyRecord
from search.report import render_report
from search.selection import Selection
from trainables.files import write_atomically


def write_report(folder: StudyFolder, record: StudyRecord, selection: Selection) -> None:
    """Write a study's page and its plots as plotly JSON."""
    ran = record.config.folder
    # As the study file names it, unless the folder was moved.
    shown = ran if ran.resolve() == folder.root.resolve() else folder.root
    write_atomically(folder.report, render_report(record, selection, shown).encode())
    for plot in study_plots(record, selection):
        write_atomically(folder.plots / f"{plot.name}.json", plot.figure.to_json().encode())
