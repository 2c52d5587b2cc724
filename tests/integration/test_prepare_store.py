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
from mlflow.tracking import MlflowClient
from mlflow_server import free_port, sqlite_address
from small_disk import small_disk

from search.tracking import prepare_store


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("a store #1%41") / "mlflow.db"
    prepare_store(sqlite_address(file))
    return file


class Refusing:
    def refused(self, uri: str, experiment: str | None = None) -> str:
        started = time.monotonic()
        with pytest.raises(ValueError, match=r"tracking\.uri") as caught:
            prepare_store(uri, experiment)
        assert time.monotonic() - started < 10
        message = str(caught.value)
        assert "\n" not in message
        return message


class TestPrepareStore(Refusing):
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


class TestReadOnly(Refusing):
    """Whoever runs the tests may be root, whom a file's mode does not bind: disks that really refuse."""

    def test_a_database_on_a_read_only_disk(self, database: Path, tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk", "2m") as disk:
            copy = disk.folder / "mlflow.db"
            copy.write_bytes(database.read_bytes())
            disk.set("ro")
            assert "readonly database" in self.refused(sqlite_address(copy), "default")
            assert copy.read_bytes() == database.read_bytes()

    def test_a_folder_for_no_new_file(self, tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk", "2m") as disk:
            disk.set("ro")
            uri = sqlite_address(disk.folder / "mlflow.db")
            assert "unable to open database file" in self.refused(uri)
            assert "Read-only file system" in self.refused(sqlite_address(disk.folder / "new" / "mlflow.db"))

    @pytest.mark.parametrize(
        ("full", "why"), [(False, "Read-only file system"), (True, "No space left on device")]
    )
    def test_artifacts_that_cannot_be_written(
        self, database: Path, tmp_path: Path, full: bool, why: str
    ) -> None:
        uri, name = sqlite_address(database), f"artifacts full={full}"
        with small_disk(tmp_path / "a disk #1%41", "16k") as disk:
            MlflowClient(uri).create_experiment(name, artifact_location=(disk.folder / "runs").as_uri())
            prepare_store(uri, name)
            assert list(disk.folder.rglob("*")) == [disk.folder / "runs"]
            if full:
                (disk.folder / "film").write_bytes(bytes(16 * 1024))
            else:
                disk.set("ro")
            assert self.refused(uri, name).endswith(
                f": its artifacts can't be written to {disk.folder / 'runs'}: {why}"
            )

    @pytest.mark.slow
    def test_the_command_ends_with_2_and_leaves_nothing(self, root: Path, tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk", "2m") as disk:
            disk.set("ro")
            uri = sqlite_address(disk.folder / "mlflow.db")
            command = [sys.executable, "-m", "search.cli", "run", str(root / "examples" / "quickstart.yaml")]
            done = subprocess.run(
                [*command, f"tracking.uri={uri}", f"output={tmp_path / 'runs'}"],
                cwd=tmp_path,
                env=os.environ | {"PYTHONPATH": str(root)},
                capture_output=True,
                text=True,
                timeout=200,
            )
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert done.stderr.startswith(f"error: tracking.uri: cannot use the MLflow store {uri}: ")
        assert not (tmp_path / "runs").exists()
