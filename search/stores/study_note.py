"""The note of a study's run in MLflow: what a person reads first there."""

from __future__ import annotations

from search.findings.verdict import caveats, headline, paragraph
from search.records.study_record import StudyRecord
from search.selection import Selection


def verdict_tags(record: StudyRecord, selection: Selection) -> dict[str, str]:
    """Return the tags that tell what a study selected; one of them is MLflow's description of the run."""
    return {
        "verdict": "keep the base" if selection.winner is None else "use this recipe",
        "selected": selection.key or "base",
        "mlflow.note.content": _note(record, selection),
    }


def _note(record: StudyRecord, selection: Selection) -> str:
    """Return the verdict and its limits as Markdown."""
    parts = [f"**{headline(selection)}**", paragraph(record, selection)]
    parts.append("\n".join(f"- {caveat}" for caveat in caveats(record, selection)))
    parts.append(
        "Artifacts: `report.html`, the page with plots and examples; `recipe.yaml`, to be applied again; "
        "`selected/`, the weights; `predictions/`, what was answered to each sample."
    )
    return "\n\n".join(filter(None, parts))
