"""Check: what one look at a machine or a cluster found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """What one look at the machine found.

    Attributes:
        name: What was looked at.
        ok: Whether it is as it should be.
        detail: What was found.
        fix: What to do about it; empty where nothing is to be done.
        required: Whether a study can not run without it. The others are advice.
        wrong_input: Whether not the machine is at fault but what the user gave.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""
    required: bool = True
    wrong_input: bool = False
