"""A hub of one data set on this machine, as far as clients of the real one ask for it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub_server(data_set: str, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder as a data set; yields the address and the files that are fetched, as they are."""
    fetched: list[str] = []
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    folders = {str(parent) for name in files for parent in Path(name).parents if str(parent) != "."}
    entries: list[dict[str, Any]] = [
        {"type": "file", "path": name, "size": path.stat().st_size, "oid": _hash(name)}
        for name, path in files.items()
    ]
    entries += [{"type": "directory", "path": name, "oid": _hash(name)} for name in sorted(folders)]
    info = {"id": data_set, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
    info |= {"private": False, "gated": False, "disabled": False, "downloads": 0, "likes": 0, "tags": []}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            api, _, path = self.path.partition("?")[0].partition(f"/{data_set}")
            kind, _, rest = path.strip("/").partition("/")
            name = rest.partition("/")[2]
            if api == "/api/datasets" and kind in ("", "revision"):
                self._send(json.dumps(info).encode())
            elif api == "/api/datasets" and kind == "tree":
                inside = [each for each in entries if str(Path(each["path"]).parent) == (name or ".")]
                self._send(json.dumps(inside).encode())
            elif api == "/datasets" and kind == "resolve" and name in files:
                if self.command == "GET":
                    fetched.append(name)
                self._send(files[name].read_bytes(), ETag=f'"{_hash(name)}"')
            else:
                self._send(b"{}", status=404, **{"X-Error-Code": "EntryNotFound"})

        do_HEAD = do_GET

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if "/paths-info/" in self.path:
                self._send(json.dumps([each for each in entries if each["path"] in body["paths"]]).encode())
            else:
                self._send(b"{}", status=404)

        def _send(self, content: bytes, status: int = 200, **headers: str) -> None:
            self.send_response(status)
            for key, value in {
                "X-Repo-Commit": COMMIT,
                "Content-Length": str(len(content)),
                **headers,
            }.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Keep the tests' output free of it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", fetched
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _hash(name: str) -> str:
    return hashlib.sha1(name.encode()).hexdigest()
