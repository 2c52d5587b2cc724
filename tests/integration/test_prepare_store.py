"""Preparing an MLflow store: once, before any writer, and refused in a line where it can't be used."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow_server import free_port, sqlite_address

from search.tracking import prepare_store


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("a store #1%41") / "mlflow.db"
    prepare_store(sqlite_address(file))
    return file


class TestPrepareStore:
    def refused(self, uri: str) -> str:
        started = time.monotonic()
        with pytest.raises(ValueError, match=r"tracking\.uri") as caught:
            prepare_store(uri)
        assert time.monotonic() - started < 10
        message = str(caught.value)
        assert "\n" not in message
        return message

    def test_twice_is_once(self, database: Path) -> None:
        before = database.read_bytes()
        prepare_store(sqlite_address(database))
        assert database.read_bytes() == before

    def test_default_store(self, tmp_path: Path) -> None:
        # A process of its own: a relative address belongs to the working directory.
        code = "from search.tracking import prepare_store as p; p('sqlite:///mlflow.db'); print('made')"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=True,
        )
        assert (done.stdout, done.stderr) == ("made\n", "")
        assert [file.name for file in tmp_path.iterdir()] == ["mlflow.db"]

    def test_logging_levels_are_put_back(self, database: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "mlflow.store.db.utils")
        prepare_store(sqlite_address(database))
        assert logging.getLogger("mlflow.store.db.utils").level == logging.DEBUG

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        uri = f"sqlite:///{tmp_path}/file/mlflow.db"
        assert uri in self.refused(uri)
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def test_a_database_that_cannot_be_written(self, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(database.parent)
        # Opened read-only, since a file's mode does not bind every user.
        assert "readonly" in self.refused(f"sqlite:///file:{database.name}?mode=ro&uri=true")

    def test_a_file_that_is_no_database(self, tmp_path: Path) -> None:
        file = tmp_path / "notes.txt"
        file.write_text("not a database " * 100)
        assert "file is not a database" in self.refused(f"sqlite:///{file}")
        assert file.read_text() == "not a database " * 100

    def test_a_database_of_another_version(self, database: Path, tmp_path: Path) -> None:
        copy = tmp_path / "old.db"
        copy.write_bytes(database.read_bytes())
        connection = sqlite3.connect(copy)
        with connection:
            connection.execute("update alembic_version set version_num = '451aebb31d03'")
        connection.close()
        assert "mlflow db upgrade" in self.refused(f"sqlite:///{copy}")

    def test_no_server(self) -> None:
        uri = f"http://127.0.0.1:{free_port()}"
        assert self.refused(uri) == (
            f"tracking.uri: cannot use the MLflow store {uri}: no MLflow server answers there"
        )

    @pytest.mark.parametrize("uri", ["nonsense://somewhere", "./mlruns", "sqlite:////"])
    def test_what_is_no_store(self, uri: str) -> None:
        assert uri in self.refused(uri)

    def test_passwords_are_not_shown(self) -> None:
        message = self.refused(f"http://me:secret@127.0.0.1:{free_port()}")
        assert "secret" not in message
        assert "me:***@127.0.0.1" in message
