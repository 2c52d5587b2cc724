"""Passwords in addresses such as `postgresql://me:secret@host/db`: never shown, never stored."""

from __future__ import annotations

import re


def shown(address: str) -> str:
    """Return an address with `***` for its password, for messages."""
    return _with_password(address, ":***", "***")


def without_password(address: str) -> str:
    """Return an address without its password, for what is stored.

    The driver then takes it from where it belongs, such as `PGPASSWORD` or `~/.pgpass`.
    """
    return _with_password(address, "", "")


def _with_password(address: str, in_login: str, in_query: str) -> str:
    # A password may hold any character, though some should have been written as %40 and the like.
    hidden = re.sub(r"(://[^:/@\s]*):\S*@", rf"\1{in_login}@", address)
    return re.sub(r"([?&](?:ssl)?password=)[^&]*", rf"\1{in_query}", hidden)
