"""Passwords in addresses such as `postgresql://me:secret@host/db`: never shown, never stored."""

from __future__ import annotations

import re
from typing import Final

# A password may hold any character, though some should have been written as %40 and the like. In a web
# address none is looked for behind a slash or a port, as an @ is common there.
_WEB_LOGIN: Final = re.compile(r"(https?://[^:/@\s]*):(?:[^/?#\s]*|(?!\d+[/?#])\S*)@")
_OTHER_LOGIN: Final = re.compile(r"((?<!http)(?<!https)://[^:/@\s]*):\S*@")
# Also inside `odbc_connect`, whose own parameters are written with `;` and `=` or as %3B and %3D; what
# follows a password there goes with it, as it may hold both.
_PARAMETER: Final = re.compile(
    r"((?:[?&;+=\s{]|%3B|%20)(?:\w*password|passwd|pwd)(?:=|%3D))[^&]*", re.IGNORECASE
)


def shown(address: str) -> str:
    """Return an address with `***` for its password, for messages."""
    return _with_password(address, ":***", "***")


def without_password(address: str) -> str:
    """Return an address without its password, for what is stored.

    The driver then takes it from where it belongs, such as `PGPASSWORD` or `~/.pgpass`.
    """
    return _with_password(address, "", "")


def _with_password(address: str, in_login: str, in_query: str) -> str:
    for login in (_WEB_LOGIN, _OTHER_LOGIN):
        address = login.sub(rf"\1{in_login}@", address)
    return _PARAMETER.sub(rf"\1{in_query}", address)
