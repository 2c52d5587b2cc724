"""Named choices of the front: what to take for more gain, or for less forgetting."""

from __future__ import annotations

from search import findings, wording
from search.candidates import candidates
from search.point_findings import candidate_name
from search.selection import Selection
from search.study_record import StudyRecord


def choice_cards(record: StudyRecord, selection: Selection) -> list[dict[str, object]]:
    """Return one card a choice."""
    by_key = {each.key: each for each in candidates(record.trials, record.points)}
    chosen = findings.selected(selection)
    cards: list[dict[str, object]] = []
    for choice in selection.choices:
        candidate = by_key[choice.candidate]
        known, score = findings.estimates_of(selection, candidate), candidate.rung.score
        cards.append(
            {
                "name": choice.name,
                "title": choice.title,
                "sentence": choice.sentence,
                "recipe": candidate_name(candidate),
                "selected": chosen is not None and chosen.key == choice.candidate,
                "gain": findings.with_interval(score.target_gain, known.target_gain if known else None),
                "forgetting": findings.with_interval(
                    score.held_out_forgetting, known.held_out_forgetting if known else None
                ),
                "cost": wording.count(candidate.rung.metrics.get("cost/trainable_parameters", float("nan"))),
            }
        )
    return cards
