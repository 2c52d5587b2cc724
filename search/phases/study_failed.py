"""StudyFailed: how a study that was started ends without a result."""

from __future__ import annotations


class StudyFailed(RuntimeError):
    """The study could not be carried out; the message is one line."""


class WorkersLost(StudyFailed):
    """What workers run on was lost too often, by no fault of what they did; another driver can go on."""
