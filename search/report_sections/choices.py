"""Named choices of the front: what to take for more gain, or for less forgetting."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

from search import wording
from search.decision.candidates import candidates
from search.decision.choices import Choice
from search.decision.naming import brief_name
from search.findings import study_findings as findings
from search.records.study_record import StudyRecord
from search.selection import Selection


def choice_cards(record: StudyRecord, selection: Selection, folder: Path) -> list[dict[str, object]]:
    """Return one card a recipe that is offered under one or several names, the most cautious first.

    Args:
        record: What was measured.
        selection: The verdict.
        folder: Where the study lies, for the commands that take another choice.
    """
    by_key = {each.key: each for each in candidates(record.trials, record.points)}
    chosen = findings.selected(selection)
    offered: dict[str, list[Choice]] = {}
    for choice in selection.choices:
        offered.setdefault(choice.candidate, []).append(choice)
    cards: list[dict[str, object]] = []
    for key, choices in offered.items():
        candidate = by_key[key]
        known, score = findings.estimates_of(selection, candidate), candidate.rung.score
        is_chosen = chosen is not None and chosen.key == key
        trained = candidate.rung.metrics.get("cost/trainable_parameters", math.nan)
        cards.append(
            {
                "name": wording.listed([choice.name for choice in choices], len(choices)),
                "title": "; ".join(choice.title for choice in choices),
                "recipe": brief_name(candidate),
                "selected": is_chosen,
                "gain": findings.with_interval(score.target_gain, known.target_gain if known else None),
                "forgetting": findings.with_interval(
                    score.held_out_forgetting, known.held_out_forgetting if known else None
                ),
                "cost": f"{wording.count(trained)} parameters",
                "command": "" if is_chosen else _command(folder, choices[0]),
            }
        )
    return cards


def _command(folder: Path, choice: Choice) -> str:
    return shlex.join(["recipe-search", "select", str(folder), "--choice", choice.name])
