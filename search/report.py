"""The report: one self-contained HTML page that says what a study found."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from search.findings import study_findings as findings
from search.findings import verdict
from search.findings.data_findings import bad_rows, leak_rows
from search.findings.example_findings import example_rows
from search.findings.metric_findings import metric_notes
from search.findings.point_findings import point_rows
from search.plots import plot_theme
from search.plots.importance import too_few
from search.plots.plot_marks import Plot
from search.plots.study_plots import study_plots
from search.records.study_record import StudyRecord
from search.report_sections import again
from search.report_sections.choices import choice_cards
from search.report_sections.confirmed import finalist_rows
from search.report_sections.costs import cost_notes, cost_rows
from search.report_sections.headline import tiles
from search.report_sections.ranking import formula, ranking_rows
from search.report_sections.subsets import subset_rows
from search.report_sections.tasks import task_rows, tasks_title
from search.report_sections.totals import failure_rows, total_rows
from search.selection import Selection

_RANKED: Final = 50  # rows that the page opens with; the others are folded away
_PAGE: Final = Path(__file__).with_name("report_page")


def render_report(record: StudyRecord, selection: Selection, folder: Path | None = None) -> str:
    """Return the report as one HTML page that needs no network; every text of the user's is escaped.

    Args:
        record: What was measured.
        selection: The verdict.
        folder: Where the study lies, for the commands on the page; None is where it ran.
    """
    folder = folder or record.config.folder
    plots = study_plots(record, selection)
    scripts = (get_plotlyjs(), (_PAGE / "page.js").read_text(encoding="utf-8")) if plots else ()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PAGE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    ranking = ranking_rows(record, selection)
    return environment.get_template("page.html").render(
        name=record.config.name,
        headline=verdict.headline(selection),
        tiles=tiles(record, selection),
        finding=verdict.paragraph(record, selection),
        caveats=verdict.caveats(record, selection),
        choices=choice_cards(record, selection, folder),
        finalists=finalist_rows(record, selection),
        confidence=f"{100 * record.config.selection.confidence:g} %",
        formula=formula(record, selection),
        has_intervals=bool(selection.estimates),
        ranking=ranking[:_RANKED],
        further=ranking[_RANKED:],
        subsets=subset_rows(record, selection),
        points=point_rows(record, selection),
        tasks=task_rows(record, selection),
        tasks_title=tasks_title(selection),
        metric_notes=metric_notes(record),
        has_tuned=findings.shown(selection) is not None,
        has_confirmed=findings.confirmed(selection) is not None,
        examples=example_rows(record),
        warnings=record.predictions.warnings,
        importance_missing=too_few(record),
        totals=total_rows(record),
        costs=cost_rows(record, selection),
        cost_notes=cost_notes(record, selection),
        failures=failure_rows(record),
        leaks=leak_rows(record.leaks),
        bad=bad_rows(record.bad),
        command=again.command(record, folder),
        repeatable=again.repeatable(record),
        recipe_yaml=again.recipe_yaml(record, selection),
        study_yaml=again.study_yaml(record),
        versions=sorted(record.versions.items()),
        plots={plot.name: plot for plot in plots},
        plot_json=Markup(_plot_json(plots)),
        scripts=[Markup(script) for script in scripts],
        script_sources=Markup(" ".join(_hash(script) for script in scripts) or "'none'"),
    )


def _plot_json(plots: tuple[Plot, ...]) -> str:
    """Return the figures and the two themes as JSON that is safe inside a script element."""
    figures: dict[str, Any] = {}
    for plot in plots:
        figure = json.loads(plot.figure.to_json())
        del figure["layout"]["template"]
        if plot.narrow is not None:
            figure["narrow"] = json.loads(plot.narrow.to_json())["layout"]
            del figure["narrow"]["template"]
        figures[plot.name] = figure
    themes = {mode: plot_theme.template(mode).to_plotly_json() for mode in ("light", "dark")}
    text = json.dumps({"plots": figures, "themes": themes}, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"
