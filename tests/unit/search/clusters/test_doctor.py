"""The doctor's checks, each against a machine that is fit and one that is not."""

from __future__ import annotations

import dataclasses
import http.server
import importlib.metadata
import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import save_file

from search.clusters import doctor
from search.clusters.checks import Check
from search.clusters.cluster_check import SHARED_STORAGE
from search.clusters.doctor import GIB

GOOD = Check(name="good", ok=True, detail="as it should be", fix="nothing")
ADVICE = Check(name="slow", ok=False, detail="one core", fix="take two", required=False)
BROKEN = Check(name="broken", ok=False, detail="not there", fix="install it")


class TestOutcome:
    def test_only_what_is_required_fails(self) -> None:
        assert doctor.exit_code([GOOD, ADVICE]) == 0
        assert doctor.exit_code([GOOD, BROKEN]) == 1

    def test_wrong_input_is_told_apart_from_an_unfit_machine(self) -> None:
        wrong = Check(name="study", ok=False, detail="no data", wrong_input=True)
        assert doctor.exit_code([BROKEN, wrong]) == 2
        assert doctor.exit_code([GOOD, dataclasses.replace(wrong, required=False)]) == 0

    def test_json_holds_every_field(self) -> None:
        told = json.loads(doctor.checks_to_json([GOOD, BROKEN]))
        assert told["ok"] is False
        assert told["checks"][1] == {
            "name": "broken",
            "ok": False,
            "detail": "not there",
            "fix": "install it",
            "required": True,
            "wrong_input": False,
        }

    def test_a_person_reads_the_fix_of_what_is_not_ok_alone(self) -> None:
        console = Console(width=100)
        with console.capture() as shown:
            console.print(doctor.render_checks([GOOD, ADVICE, BROKEN]))
        lines = [line.split() for line in shown.get().splitlines()]
        assert [line[0] for line in lines] == ["ok", "advice", "take", "FAILED", "install"]

    def test_square_brackets_are_shown_as_they_are(self) -> None:
        console = Console(width=100)
        with console.capture() as shown:
            console.print(doctor.render_checks([Check(name="ray[default]", ok=True, detail="[x]")]))
        assert shown.get().split() == ["ok", "ray[default]", "[x]"]


@pytest.mark.parametrize(
    ("version", "ok"), [((3, 10, 14), False), ((3, 11, 0), True), ((3, 13, 2), True), ((4, 0, 0), True)]
)
def test_python(version: tuple[int, ...], ok: bool) -> None:
    assert doctor.check_python(version).ok is ok


@pytest.mark.parametrize(
    ("found", "tested", "same"),
    [
        ("2.13.0+cpu", "2.13", True),
        ("2.130.0", "2.13", False),
        ("2.60.0", "2.60.0", True),
        ("2.60.1", "2.60.0", False),
        ("5", "5.23", False),
    ],
)
def test_is_release(found: str, tested: str, same: bool) -> None:
    assert doctor.is_release(found, tested) is same


def test_packages_missing_fails_and_another_version_is_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "mlflow":
            raise importlib.metadata.PackageNotFoundError(name)
        return "9.9.9" if name == "optuna" else doctor.TESTED[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    checks = {check.name: check for check in doctor.check_packages()}
    assert set(checks) == set(doctor.TESTED)
    assert not checks["mlflow"].ok
    assert checks["mlflow"].required
    assert not checks["optuna"].ok
    assert not checks["optuna"].required
    assert checks["optuna"].detail == "9.9.9; tested with 5.0.0"
    assert checks["ray"].ok


def test_memory() -> None:
    assert doctor.check_memory(8 * GIB) == Check(
        name="memory",
        ok=True,
        detail="8.0 GiB available",
        fix="Ray and one worker want 4 GiB: end other programs",
        required=False,
    )
    assert not doctor.check_memory(GIB).ok


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=GIB))
    assert not doctor.check_disk(tmp_path).ok


class TestEmbeddedModel:
    def test_absent(self, tmp_path: Path) -> None:
        check = doctor.check_embedded_model(tmp_path)
        assert not check.ok
        assert not check.required
        assert "config.json" in check.detail

    def test_cut_short(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text('{"model_type": "llava"}')
        (tmp_path / "tokenizer.json").write_text("{}")
        (tmp_path / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
        assert not doctor.check_embedded_model(tmp_path).ok

    def test_whole(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text('{"model_type": "llava"}')
        (tmp_path / "tokenizer.json").write_text("{}")
        save_file({"a": np.zeros(2), "b": np.zeros(3)}, tmp_path / "model.safetensors")
        check = doctor.check_embedded_model(tmp_path)
        assert check.ok
        assert check.detail == "llava, 2 tensors, a tokenizer"


class TestTracking:
    def test_a_store_that_is_not_there_is_not_created(self, tmp_path: Path) -> None:
        check = doctor.check_tracking("sqlite:///mlflow.db", tmp_path, 1)
        assert check.ok
        assert list(tmp_path.iterdir()) == []

    def test_no_folder_for_it(self, tmp_path: Path) -> None:
        assert not doctor.check_tracking("sqlite:///no/mlflow.db", tmp_path, 1).ok

    def test_an_absolute_path(self, tmp_path: Path) -> None:
        check = doctor.check_tracking(f"sqlite:///{tmp_path}/mlflow.db", Path("/nowhere"), 1)
        assert check.ok
        assert str(tmp_path) in check.detail

    def test_a_store_stays_as_it_was(self, tmp_path: Path) -> None:
        path = tmp_path / "mlflow.db"
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE runs (id)")
        connection.commit()
        connection.close()
        before = path.read_bytes()
        assert doctor.check_tracking("sqlite:///mlflow.db", tmp_path, 1).ok
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]

    def test_a_file_that_is_no_database(self, tmp_path: Path) -> None:
        (tmp_path / "mlflow.db").write_bytes(b"no database at all, and long enough to have a header" * 9)
        assert not doctor.check_tracking("sqlite:///mlflow.db", tmp_path, 1).ok

    def test_a_store_that_another_program_holds(self, tmp_path: Path) -> None:
        holder = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        check = doctor.check_tracking("sqlite:///mlflow.db", tmp_path, 0.1)
        holder.execute("ROLLBACK")
        holder.close()
        assert not check.ok
        assert "locked" in check.detail

    @pytest.mark.parametrize("uri", ["mlruns", "file:///tmp/mlruns", ""])
    def test_file_stores_are_refused_as_mlflow_does(self, uri: str, tmp_path: Path) -> None:
        assert not doctor.check_tracking(uri, tmp_path, 1).ok

    @pytest.fixture
    def server(self) -> Iterator[str]:
        class Health(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == "/health" else 404)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        httpd = http.server.HTTPServer(("127.0.0.1", 0), Health)
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()
        httpd.server_close()

    def test_a_server_that_answers(self, server: str, tmp_path: Path) -> None:
        assert doctor.check_tracking(f"{server}/", tmp_path, 5).ok

    def test_a_server_that_does_not(self, server: str, tmp_path: Path) -> None:
        check = doctor.check_tracking(f"{server}/elsewhere", tmp_path, 5)
        assert not check.ok
        assert "404" in check.detail


def test_a_whole_look_at_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    checks = doctor.run_doctor(folder=tmp_path)
    names = [check.name for check in checks]
    assert len(names) == len(set(names))
    assert {"python", "ray", "torch", "devices", "ray[default]", "mlflow store", "ray cluster"} <= set(names)
    assert all(check.detail for check in checks)
    assert all(check.fix for check in checks if not check.ok)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "output", "required"),
    [
        ("head:6379", Path("/data/out"), True),
        ("head:6379", None, False),
        ("ray://head:10001", Path("/data/out"), False),
    ],
)
def test_the_folder_that_a_study_names_must_be_shared(
    monkeypatch: pytest.MonkeyPatch, address: str, output: Path | None, required: bool
) -> None:
    asked: list[Path] = []

    def two_nodes(_: str, timeout: float, folder: Path) -> list[Check]:
        asked.append(folder)
        return [Check(name=SHARED_STORAGE, ok=False, detail="not the same on 10.0.0.3")]

    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.delenv("RECIPE_SEARCH_SHARED", raising=False)
    monkeypatch.setattr(doctor, "check_cluster", two_nodes)
    (check,) = doctor.check_joined_cluster(Path("/here"), output, 5)
    assert asked == [output or Path("/here/runs")]
    assert check.required is required
