"""A real PostgreSQL server on loopback, for the tests that need one."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import sqlalchemy

USER = "ann"
# Characters that an address must spell as %40 and the like.
PASSWORD = "s3cret@/: word"
_SETTINGS = ("fsync=off", "max_connections=100", "shared_buffers=64MB", "listen_addresses=127.0.0.1")


@dataclass(frozen=True)
class PostgresServer:
    """A running server.

    Attributes:
        port: Its loopback port.
    """

    port: int

    def address(self, database: str, password: str | None = PASSWORD) -> str:
        login = USER if password is None else f"{USER}:{quote(password, safe='')}"
        return f"postgresql://{login}@127.0.0.1:{self.port}/{database}"

    def create(self, database: str, template: str = "template0") -> str:
        """Make a database, as a copy of another where one is named, and return its address."""
        self.execute(f"CREATE DATABASE {database} TEMPLATE {template}")
        return self.address(database)

    def execute(self, statement: str, database: str = "postgres") -> None:
        engine = sqlalchemy.create_engine(self.address(database), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()


def postgres_binaries() -> Path | None:
    """Return the folder of `initdb` and `postgres`; Debian keeps it off the PATH."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in versions), key=lambda path: int(path.parent.name), default=None)


@contextmanager
def postgres_server(binaries: Path, settings: Sequence[str] = _SETTINGS) -> Iterator[PostgresServer]:
    """Run a server with a new cluster, whose one user has a password; nothing of it is left."""
    # Not pytest's folder: the server's own user must be able to enter it, and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    as_user: list[str] = []
    if os.getuid() == 0:  # a server refuses to run as root
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = ["runuser", "-u", user.pw_name, "--"]
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    data = folder / "data"
    initdb = [*as_user, str(binaries / "initdb"), "-D", str(data), "-U", USER, f"--pwfile={secret}"]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    command = [*as_user, str(binaries / "postgres"), "-D", str(data), "-k", str(folder), "-p", str(port)]
    command += [word for setting in settings for word in ("-c", setting)]
    try:
        subprocess.run(
            [*initdb, "-A", "scram-sha-256", "--encoding=UTF8", "--no-sync"],
            cwd=folder,
            check=True,
            capture_output=True,
            timeout=120,
        )
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            server = PostgresServer(port)
            _wait_until_it_answers(server, process, folder / "log")
            yield server
        finally:
            os.killpg(process.pid, signal.SIGINT)  # `fast`: does not wait for clients
            process.wait(60)
    finally:
        shutil.rmtree(folder)


def _wait_until_it_answers(
    server: PostgresServer, process: subprocess.Popen[bytes], log: Path, seconds: float = 60
) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            server.execute("SELECT 1")
            return
        except sqlalchemy.exc.OperationalError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
