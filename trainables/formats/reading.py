"""From a row to samples: telling its format, reading it, and naming what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from spaces.nearest import did_you_mean
from trainables.data.bad_samples import ColumnError, SampleError
from trainables.data.samples import Sample, Split
from trainables.data.task_spec import Format, TaskSpec
from trainables.formats.choices import lettered_columns, read_choice
from trainables.formats.completions import read_completion
from trainables.formats.dialogue import Dialogue, samples_of
from trainables.formats.fields import Fields, NoColumnError
from trainables.formats.questions import read_question
from trainables.formats.row_images import image_source
from trainables.formats.turns import read_conversation
from trainables.sources.row import Row

_ALWAYS: Final = {"images": ("images", "image", "image_path"), "id": ("id",)}

COLUMNS: Final[Mapping[Format, Mapping[str, tuple[str, ...]]]] = {
    "messages": {"messages": ("messages",), "system": ("system",), **_ALWAYS},
    "conversations": {"conversations": ("conversations", "conversation"), "system": ("system",), **_ALWAYS},
    "multiple_choice": {
        "question": ("question", "prompt"),
        "choices": ("choices", "options"),
        "answer": ("answer", "label", "answerKey"),
        "answer_index": ("answer_index",),
        "answer_letter": ("answer_letter",),
        "answer_text": ("answer_text",),
        **_ALWAYS,
    },
    "question_answer": {"question": ("question",), "answers": ("answers",), "answer": ("answer",), **_ALWAYS},
    "prompt_completion": {
        "prompt": ("prompt", "instruction", "input"),
        "input": ("input",),
        "completion": ("completion", "answer", "response", "output"),
        **_ALWAYS,
    },
}
"""Format -> field -> columns that hold it where the user names none; formats are tried in this order."""

_NEEDED: Final[Mapping[Format, tuple[tuple[str, ...], ...]]] = {
    "messages": (("messages",),),
    "conversations": (("conversations",),),
    "multiple_choice": (
        ("question",),
        ("choices",),
        ("answer", "answer_index", "answer_letter", "answer_text"),
    ),
    "question_answer": (("question",), ("answers", "answer")),
    "prompt_completion": (("prompt",), ("completion",)),
}
"""Format -> what a row must have: of each group, one."""


def detect_format(row: Row, spec: TaskSpec) -> Format:
    """Return the format of a row: the task's, or the first whose columns are there.

    Args:
        row: Of a file, the first that can be told.
        spec: The task.

    Raises:
        SampleError: No format has these columns.
    """
    if spec.format != "auto":
        return spec.format
    for name in COLUMNS:
        if not _missing(row, spec, name):
            return name
    for name in COLUMNS:
        empty = _empty_columns(row, spec, name)
        if empty and all(empty):
            raise SampleError(row.where, f"{empty[0]!r} is empty")
    raise SampleError(
        row.where,
        f"its columns, {', '.join(row.values) or 'none'}, are those of no format: "
        + "; ".join(f"{name} has {_expected(name)}" for name in COLUMNS)
        + f". {_near(row) or 'Say'} under columns which column holds what",
    )


def to_samples(row: Row, spec: TaskSpec, split: Split, file_format: Format | None = None) -> list[Sample]:
    """Return a row's samples: one, or for training several where images come after an answer.

    Without an id of the row's own theirs is empty.

    Args:
        row: The row.
        spec: The task.
        split: What the samples are for.
        file_format: The format of the file that the row is from; None takes the row's own.

    Raises:
        SampleError: The row can't be read; the message says where it is. A `ColumnError` where it has not
            the column that the task names.
        ValueError: The task's columns name a field that the format has not.
    """
    try:
        name = detect_format(row, spec)
    except SampleError:
        # What this row lacks of the format of those before it says more.
        if file_format is None:
            raise
        name = file_format
    if file_format is not None and name != file_format:
        raise SampleError(row.where, f"its format is {name}, and that of the rows before it is {file_format}")
    for field in spec.columns:
        if field not in COLUMNS[name]:
            near = did_you_mean(field, COLUMNS[name])
            raise ValueError(f"tasks.{spec.name}.columns: the format {name} has no field {field!r}: {near}")
    if spec.answer is not None and name != "multiple_choice":
        raise ValueError(f"tasks.{spec.name}.answer: only multiple_choice has it, and the format is {name}")
    if spec.prompt is not None and name in ("messages", "conversations"):
        raise ValueError(f"tasks.{spec.name}.prompt: {name} say themselves what is asked")
    try:
        if (empty := _empty_columns(row, spec, name)) and empty[0]:
            raise ValueError(f"{empty[0]!r} is empty")
        if missing := _missing(row, spec, name):
            raise ValueError(
                f"no column {missing!r}, which the format {name} needs; "
                f"there are: {', '.join(row.values) or 'none'}"
            )
        fields = Fields(row.values, COLUMNS[name], spec.columns)
        dialogue = _read(fields, name, spec)
        folder = row.folder if spec.images is None else Path(spec.images)
        images = [image_source(image, folder, anywhere=spec.allow_outside) for image in dialogue.images]
        return samples_of(dialogue, images, id=_id(fields), where=row.where, split=split)
    except NoColumnError as error:
        raise ColumnError(row.where, str(error)) from None
    except ValueError as error:
        raise SampleError(row.where, str(error)) from None


def _read(fields: Fields, name: Format, spec: TaskSpec) -> Dialogue:
    if name == "multiple_choice":
        return read_choice(fields, spec.prompt, spec.answer)
    if name == "question_answer":
        return read_question(fields, spec.prompt)
    if name == "prompt_completion":
        return read_completion(fields, spec.prompt)
    return read_conversation(fields, name)


def _missing(row: Row, spec: TaskSpec, name: Format) -> str:
    """Return the first field that a row lacks for a format; empty where it lacks none."""
    lacks = _lacks(row, Fields(row.values, COLUMNS[name], spec.columns), name)
    return lacks[0][0] if lacks else ""


def _empty_columns(row: Row, spec: TaskSpec, name: Format) -> list[str | None]:
    """Return for each field that a row lacks the column that is there for it and empty, or None."""
    fields = Fields(row.values, COLUMNS[name], spec.columns)
    return [fields.empty(*group) for group in _lacks(row, fields, name)]


def _lacks(row: Row, fields: Fields, name: Format) -> list[tuple[str, ...]]:
    """Return the groups of fields that a format needs one of, and of which a row has none."""
    return [
        group
        for group in _NEEDED[name]
        if not any(fields.given(field) for field in group)
        and not (group == ("choices",) and lettered_columns(row.values))
    ]


def _near(row: Row) -> str:
    known = {column for fields in COLUMNS.values() for columns in fields.values() for column in columns}
    answers = {column: did_you_mean(column, known) for column in row.values if column not in known}
    near = (f"{column!r}: {answer}" for column, answer in answers.items() if answer.startswith("did"))
    found = next(near, None)
    return f"For {found} Otherwise say" if found else ""


def _expected(name: Format) -> str:
    groups = []
    for group in _NEEDED[name]:
        columns = [column for field in group for column in COLUMNS[name][field]]
        groups.append("|".join(columns))
    return " and ".join(groups)


def _id(fields: Fields) -> str:
    given = fields.get("id")
    if given is None:
        return ""
    if isinstance(given, (str, int, float)):
        return str(given)
    raise ValueError(f"{fields.name('id')} must be a text or a number, got {given!r}")
