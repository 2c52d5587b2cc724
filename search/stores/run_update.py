"""RunUpdate: what is written to one MLflow run, as plain data that a file can keep."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final

from search.stores.nested_runs import NestedRun

STUDY: Final = ""
"""The key of the study's own run."""


@dataclass(frozen=True, kw_only=True)
class RunUpdate:
    """What is written to one run; written twice, it changes nothing the second time.

    Attributes:
        what: What is written, for a warning.
        run: The run's key within the study; `STUDY` is the study's own.
        made: How the run is made where there is none; None where it must be there.
        metrics: Metric name -> value.
        params: Parameters.
        tags: Tags.
        step: The metrics' step.
        timestamp: When it was measured, in milliseconds since 1970; also when a run ended.
        texts: Name of an artifact -> its content.
        artifact: A file or folder that becomes an artifact under its own name; where the path is relative,
            it starts at the spool's folder, as that of `registers` does.
        status: The run's status after this; None leaves it.
        ends_open: Whether all nested runs that are still open end as killed, before anything else.
        registers: A study's folder, whose selected model is registered.
    """

    what: str
    run: str = STUDY
    made: NestedRun | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    step: int = 0
    timestamp: int = field(default_factory=lambda: int(time.time() * 1000))
    texts: Mapping[str, str] = field(default_factory=dict)
    artifact: str | None = None
    status: str | None = None
    ends_open: bool = False
    registers: str | None = None

    def to_json(self) -> str:
        """Return it as a line of JSON; a metric that is not finite is spelled as Python does."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RunUpdate:
        """Return what `to_json` wrote."""
        content = json.loads(text)
        made = content.pop("made")
        if made is not None:
            made = NestedRun(**made | {"key": tuple(made["key"])})
        return cls(made=made, **content)
