"""Row: one record of a data file, as it is written there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One record.

    Attributes:
        where: File and line, or file and row, for messages.
        values: Column -> value. Images that lie in a file of many are a `StoredImage`.
        folder: Folder that relative paths in the values refer to; None where there is none.
    """

    where: str
    values: Mapping[str, Any]
    folder: Path | None
