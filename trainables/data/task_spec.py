"""TaskSpec: a task's definition as plain values, ready to be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from trainables.data.samples import Split
from trainables.metrics import DEFAULT_DECODING, EXACT_MATCH, Decoding, MetricSpec

Format = Literal[
    "auto", "messages", "conversations", "prompt_completion", "question_answer", "multiple_choice"
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where rows lie.

    Attributes:
        source: Path of a file or folder, or a data set's id on the hub.
        split: The data set's own name of the part that is meant; None for a file.
        configuration: Name of a hub data set's configuration.
        revision: Commit, branch or tag of a hub data set.
    """

    source: str
    split: str | None = None
    configuration: str | None = None
    revision: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSpec:
    """How a task's samples come about.

    Attributes:
        name: Name of the task.
        origins: Split -> where its rows lie. Splits of one origin are divided by content.
        shares: Split -> its share of such an origin, relative to the others.
        division_seed: Another seed divides otherwise.
        format: How a row is written.
        columns: A format's field -> the columns that hold it.
        only: Column -> the values of which a row must have one there; other rows are not taken.
        prompt: Template of the user's turn, with columns as `{question}`; None takes the format's.
        answer: How the answer to a choice is written; None is its letter.
        images: Folder that image paths are relative to; None takes the file's.
        metric: How an answer is scored.
        decoding: How answers are written, where the metric needs it.
        limit: Samples per split; None takes all.
        allow_outside: Whether images that rows name may lie outside of their folder.
        needs: What must be supplied before the rows can be read, for errors; None where nothing must.
    """

    name: str
    origins: Mapping[Split, Origin]
    shares: Mapping[Split, float] = field(default_factory=dict)
    division_seed: int = 0
    format: Format = "auto"
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    only: Mapping[str, tuple[str | int | bool, ...]] = field(default_factory=dict)
    prompt: str | None = None
    answer: Literal["text", "letter"] | None = None
    images: str | None = None
    metric: MetricSpec = EXACT_MATCH
    decoding: Decoding = DEFAULT_DECODING
    limit: int | None = None
    needs: str | None = None
    allow_outside: bool = False
