"""Examples: the samples that the selected recipe won or lost, for a reader to look at.

A sample is won where the selected recipe's answer scores higher than the base's, lost where it scores lower.
Of a target the won ones are shown, of a held-out task the lost ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from search import wording
from search.findings.pictures import Picture, pictures
from search.records.study_record import StudyRecord
from trainables.data.samples import IMAGE_MARK, Sample
from trainables.scoring.evaluation import Evaluation

if TYPE_CHECKING:
    from trainables.workers.jobs import TaskData

PER_TASK: Final = 6
IN_ALL: Final = 36
FOLDED: Final = 160  # characters of a text that the page opens with
LONGEST: Final = 3000  # characters of a text that the page holds; the tables of predictions have all


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One sample with two answers to it.

    Attributes:
        sample: The sample.
        base: What the base answered; None where that is not known.
        tuned: What the selected recipe answered.
        base_score: Points of the base's answer.
        tuned_score: Points of the selected recipe's.
    """

    sample: Sample
    base: str | None
    tuned: str | None
    base_score: float
    tuned_score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskExamples:
    """What a task's samples came to, and some of them.

    Attributes:
        task: Name of the task.
        target: Whether it is a target, whose won samples are shown; otherwise the lost ones are.
        n: Number of its samples.
        won: How many of them score higher than the base's.
        lost: How many score lower.
        examples: The shown ones, the largest differences first.
    """

    task: str
    target: bool
    n: int
    won: int
    lost: int
    examples: tuple[Example, ...]


def pick_examples(record: StudyRecord) -> tuple[TaskExamples, ...]:
    """Return each task's examples, targets first; none where the base is kept or an answer is not known.

    Of equal differences what comes first in the split is taken. Where the tasks' examples are too many, each
    task has its first one before any has its second.
    """
    models = record.predictions.models
    if "base" not in models or "selected" not in models:
        return ()
    found = [
        _of_task(task, models["base"][task.name], models["selected"][task.name]) for task in record.tasks
    ]
    kept = _spread([len(task.examples) for task in found], IN_ALL)
    return tuple(
        replace(task, examples=task.examples[:count]) for task, count in zip(found, kept, strict=True)
    )


def example_rows(record: StudyRecord) -> list[dict[str, object]]:
    """Return the tasks with their examples as the report shows them."""
    rows: list[dict[str, object]] = []
    opened: set[bool] = set()
    for task in pick_examples(record):
        # The first examples of a kind are open, the others a click away: the page stays short.
        is_open = bool(task.examples) and task.target not in opened
        if is_open:
            opened.add(task.target)
        rows.append(
            {
                "task": task.task,
                "role": "target" if task.target else "held-out",
                "counts": _counts(task),
                "shown": _shown(task),
                "open": is_open,
                "sign": "up" if task.target else "down",
                "examples": [_row(example) for example in task.examples],
            }
        )
    return rows


def _of_task(task: TaskData, base: Evaluation, tuned: Evaluation) -> TaskExamples:
    target = task.role == "target"
    changes = [after - before for before, after in zip(base.scores, tuned.scores, strict=True)]
    wanted = [row for row, change in enumerate(changes) if (change > 0 if target else change < 0)]
    wanted.sort(key=lambda row: -abs(changes[row]))
    return TaskExamples(
        task=task.name,
        target=target,
        n=len(changes),
        won=sum(change > 0 for change in changes),
        lost=sum(change < 0 for change in changes),
        examples=tuple(_example(task.search[row], base, tuned, row) for row in wanted[:PER_TASK]),
    )


def _example(sample: Sample, base: Evaluation, tuned: Evaluation, row: int) -> Example:
    return Example(
        sample=sample,
        base=base.predictions[row] if base.predictions else None,
        tuned=tuned.predictions[row] if tuned.predictions else None,
        base_score=base.scores[row],
        tuned_score=tuned.scores[row],
    )


def _spread(wanted: Sequence[int], total: int) -> list[int]:
    """Return how many each gets of what it wants, all together at most `total`, one after another in turn."""
    given = [0] * len(wanted)
    for turn in range(max(wanted, default=0)):
        for place, count in enumerate(wanted):
            if count > turn and sum(given) < total:
                given[place] += 1
    return given


def _counts(task: TaskExamples) -> str:
    same = task.n - task.won - task.lost
    return f"of {wording.counted(task.n, 'sample')}, {task.won} won, {task.lost} lost, {same} the same"


def _shown(task: TaskExamples) -> str:
    count = len(task.examples)
    total, kind = (task.won, "won") if task.target else (task.lost, "lost")
    if count == total:
        return f"{count} {kind}" if count else ""
    return f"{count} of the {total} {kind}"


def _row(example: Example) -> dict[str, object]:
    sample = example.sample
    shown: tuple[Picture, ...] = ()
    missing = ""
    try:
        shown = pictures(sample)
    except ValueError as error:
        missing = str(error)
    more = len(sample.images) - len(shown)
    return {
        "label": sample.label,
        "pictures": shown,
        "missing": missing,
        "more": f"and {wording.counted(more, 'more image')}" if shown and more else "",
        "texts": [
            *((turn.role, _text(turn.text)) for turn in sample.history),
            ("prompt", _text(sample.prompt)),
            ("reference", _text(" | ".join(sample.accepted))),
        ],
        "answers": [
            ("base", _text(example.base), _score(example.base_score)),
            ("tuned", _text(example.tuned), _score(example.tuned_score)),
        ],
    }


def _score(score: float) -> str:
    return f"{wording.points(score, signed=False).removesuffix('.0')} points"


def _text(text: str | None) -> dict[str, str]:
    """Return a text as it is shown: its whole, its beginning where it is folded, and what it is not."""
    if text is None:
        return {"whole": "", "start": "", "instead": "not recorded"}
    text = text.strip()
    while text.startswith(IMAGE_MARK):
        text = text.removeprefix(IMAGE_MARK).lstrip()
    text = text.replace(IMAGE_MARK, "[image]")
    if not text:
        return {"whole": "", "start": "", "instead": "no text"}
    whole = text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text) - LONGEST} characters more)"
    start = f"{text[:FOLDED].rsplit(maxsplit=1)[0]} …" if len(text) > FOLDED else ""
    return {"whole": whole, "start": start, "instead": ""}
