"""StudyTracker on a real MLflow server, which takes no writes, and which dies and comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from mlflow_server import mlflow_server
from tracked_study import RECIPE, Store, ended, study_config
from written_twice import written_twice

from search.results import TrialState
from search.tracking import StudyTracker, prepare_store

_RUNGS = 40


class _ReadOnly(BaseHTTPRequestHandler):
    """Passes on what only reads, as a proxy does that asks for a login to write."""

    server_address: str

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        if self.path.endswith("/search"):
            self._pass_on()
        else:
            self._answer(403, b'{"error_code": "PERMISSION_DENIED", "message": "Read only."}')

    def log_message(self, *_: object) -> None:
        pass

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        wanted = Request(
            f"{self.server.upstream}{self.path}",  # type: ignore[attr-defined]
            data=body or None,
            headers={"Content-Type": "application/json"},
            method=self.command,
        )
        try:
            with urlopen(wanted, timeout=60) as answer:
                self._answer(answer.status, answer.read())
        except HTTPError as refused:
            self._answer(refused.code, refused.read())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def read_only(upstream: str) -> Iterator[str]:
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _ReadOnly)
    proxy.upstream = upstream  # type: ignore[attr-defined]
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{proxy.server_port}"
    proxy.shutdown()
    proxy.server_close()


def test_a_study_whose_server_is_killed_and_comes_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    server, study = tmp_path / "server", tmp_path / "study"
    server.mkdir()
    study.mkdir()
    (study / "report.html").write_text("<p>report")
    with ExitStack() as first:
        uri, log = first.enter_context(mlflow_server(server))
        prepare_store(uri, "on a server")
        with read_only(uri) as proxy, pytest.raises(ValueError, match=r"tracking\.uri.*PERMISSION_DENIED"):
            prepare_store(proxy, "on a server")
        (tmp_path / "twice").mkdir()
        written_twice(Store(uri, "written twice"), tmp_path / "twice")
        store = Store(uri, "on a server")
        tracker = StudyTracker(uri, store.experiment, study / "mlflow-spool.db", told.append)
        parent = tracker.start_study(study_config(), tags={}, fingerprints={}, study_id="a1b2")
        tracker.start_trial("t_1", 0, RECIPE)
        assert tracker.flush(60.0)
        before = log.read_text().count("runs/log-batch")
        for step in range(1, 11):
            tracker.log_rung("t_1", step, {"score": float(step), "held_out/colour": 90.0})
        assert tracker.flush(60.0)
        assert log.read_text().count("runs/log-batch") - before == 10  # one request a rung

    # The server is dead; the study goes on.
    tracker.log_manifest("t_1", {"count": 3})
    slowest = 0.0
    for step in range(11, _RUNGS + 1):
        began = time.monotonic()
        tracker.log_rung("t_1", step, {"score": float(step), "held_out/colour": 90.0})
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.02)
    tracker.start_trial("t_2", 1, RECIPE)
    assert slowest < 1.0  # a request to a server that is away takes longer, MLflow's own attempts minutes
    assert not tracker.flush(0.5)

    with mlflow_server(server, port=int(uri.rpartition(":")[2])):
        assert tracker.flush(60.0)
        tracker.end_trial(ended("t_1", 0, TrialState.PRUNED))
        tracker.log_artifacts([study / "report.html"])
        tracker.finish(True)
        tracker.close()
        assert tracker.warnings == []
        assert {run.info.run_name for run in store.runs()} == {
            "lesson",
            "000 gate_up lr=3.1e-04",
            "001 gate_up lr=3.1e-04",
        }
        run = store.trial("t_1")
        assert (run.info.status, run.data.tags["mlflow.parentRunId"]) == ("KILLED", parent)
        history = store.client.get_metric_history(run.info.run_id, "score")
        assert [(point.step, point.value) for point in history] == [
            (step, float(step)) for step in range(1, _RUNGS + 1)
        ]
        assert sorted(history, key=lambda point: point.timestamp) == history
        assert run.data.params["manifest.count"] == "3"
        assert store.trial("t_2").info.status == "KILLED"  # it was open when the study ended
        assert store.client.get_run(parent).info.status == "FINISHED"
        names = {artifact.path for artifact in store.client.list_artifacts(parent)}
        assert names == {"study.yaml", "report.html"}
    away, back = told
    assert away.startswith(f"MLflow store {uri}: takes nothing since ")
    assert "(no MLflow server answers there); the study goes on" in away
    assert away.endswith(f"what it records waits in {study / 'mlflow-spool.db'}")
    assert back.endswith("records that waited are written now")
    out, err = capfd.readouterr()
    assert "View run" not in out + err
    assert "Retrying" not in out + err
