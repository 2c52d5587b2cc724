"""Formats: how rows of users' files become samples."""

from __future__ import annotations

from trainables.formats.reading import COLUMNS, detect_format, to_samples

__all__ = ["COLUMNS", "detect_format", "to_samples"]
