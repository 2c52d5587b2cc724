"""StudyFailed: how a study that was started ends without a result."""

from __future__ import annotations


class StudyFailed(RuntimeError):
    """The study could not be carried out; the message is one line."""
