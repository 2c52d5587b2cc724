from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.stores.passwords import shown, without_password


@pytest.mark.parametrize(
    ("address", "as_shown", "stored"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db", "postgresql://me@host/db"),
        ("postgresql+psycopg://me:a@b/c:d@host:1/db", "postgresql+psycopg://me:***@host:1/db", None),
        ("http://me:secret@host:5000", "http://me:***@host:5000", "http://me@host:5000"),
        (
            "postgresql:///db?user=me&password=secret&host=h",
            "postgresql:///db?user=me&password=***&host=h",
            "postgresql:///db?user=me&password=&host=h",
        ),
        ("http://me:secret@h:5000/a@b", "http://me:***@h:5000/a@b", "http://me@h:5000/a@b"),
        ("http://me:a/b@h:5000", "http://me:***@h:5000", "http://me@h:5000"),
        (
            "mysql+pymysql://h/db?user=me&passwd=secret",
            "mysql+pymysql://h/db?user=me&passwd=***",
            "mysql+pymysql://h/db?user=me&passwd=",
        ),
        (
            "mssql+pyodbc:///?odbc_connect=Server=h;UID=me;PWD={a;secret};Encrypt=yes&echo=true",
            "mssql+pyodbc:///?odbc_connect=Server=h;UID=me;PWD=***&echo=true",
            "mssql+pyodbc:///?odbc_connect=Server=h;UID=me;PWD=&echo=true",
        ),
        (
            "mssql+pyodbc:///?odbc_connect=Server%3Dh%3Bpwd%3Dsecret",
            "mssql+pyodbc:///?odbc_connect=Server%3Dh%3Bpwd%3D***",
            "mssql+pyodbc:///?odbc_connect=Server%3Dh%3Bpwd%3D",
        ),
    ],
)
def test_a_password_goes_and_the_rest_stays(address: str, as_shown: str, stored: str | None) -> None:
    assert shown(address) == as_shown
    assert without_password(address) == (stored or as_shown.replace(":***", ""))


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:///mlflow.db",
        "sqlite:////srv/a:b@c/mlflow.db",
        "http://host:5000",
        "http://host:5000/a@b",
        "postgresql://me@host/db",
        "x",
    ],
)
def test_without_a_password_nothing_changes(address: str) -> None:
    assert shown(address) == without_password(address) == address


@given(st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1), st.booleans())
def test_no_password_is_left_however_it_is_written(password: str, in_query: bool) -> None:
    # A mark that appears nowhere else, within whatever else a password may hold.
    written = quote(f"{password}§{password}", safe="")
    rest = f"host/db?password={written}" if in_query else f"me:{written}@host/db"
    for result in (shown, without_password):
        assert quote("§") not in result(f"postgresql://{rest}")
