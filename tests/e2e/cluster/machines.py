"""A laptop and some nodes on this machine: namespaces with own addresses, processes, /tmp and home.

To Ray they are different hosts, and `ray stop` on one of them reaches nothing outside it. They see the files
of this machine except /tmp, /run and the user's home, and one folder that takes the place of network storage.
All of it ends with one process.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).with_name("machines.sh")
ROOT = Path(__file__).resolve().parents[3]
# Of the user that the machines have: the superuser, as whom namespaces are made.
HOME = pwd.getpwuid(0).pw_dir
NEEDED = ("unshare", "nsenter", "ip", "ssh", "ssh-keygen", "/usr/sbin/sshd", "rsync")
SSHD_CONFIG = """\
HostKey {state}/host_key
AuthorizedKeysFile {state}/user_key.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
PermitRootLogin prohibit-password
PidFile none
SetEnv {environment}
"""
# What the outside must not decide here: a cluster to join, or the packages of a checkout.
_FOREIGN = ("RAY_", "PYTHON", "PYTEST", "MLFLOW_", "CI")


@dataclass(frozen=True, kw_only=True)
class Machines:
    """The machines, running.

    Attributes:
        addresses: Node -> its address.
        shared: The folder that all nodes see.
        key: Private key of the user that the nodes let in.
        first: Process of the laptop that ends everything when it ends, as this machine counts.
    """

    addresses: Mapping[str, str]
    shared: Path
    key: Path
    first: int

    def on_laptop(self, *command: str, timeout: float) -> subprocess.CompletedProcess[str]:
        """Run a command on the laptop, in the folder of the checkout; stdout and stderr come together."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        environment = {
            **kept,
            "HOME": HOME,
            "TERM": "dumb",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
        }
        return subprocess.run(
            ["nsenter", f"--target={self.first}", "--all", f"--wd={ROOT}", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )

    def on_node(self, node: str, script: str, timeout: float = 60) -> str:
        """Run a script in a login shell of a node, over ssh; return what it printed."""
        remote = f"bash --login -c {shlex.quote(f'source ~/.bashrc; {script}')}"
        done = self.on_laptop(
            *("ssh", "-i", str(self.key), "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"),
            *("-o", "UserKnownHostsFile=/dev/null", f"root@{self.addresses[node]}", remote),
            timeout=timeout,
        )
        assert done.returncode == 0, f"{node}: {script}\n{done.stdout}"
        return done.stdout

    def processes(self, node: str) -> list[str]:
        """Return the command lines of a node's processes, without those of ssh."""
        lines = self.on_node(node, "ps -eo args=").splitlines()
        own = ("sshd:", "/usr/sbin/sshd", "bash --login -c", "ps ")
        return [line for line in lines if not line.startswith(own)]


def refusal() -> str:
    """Return why the machines can't be made here; empty if they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux"
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        return f"not installed: {', '.join(missing)}"
    probe = ["unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--mount-proc"]
    bridge = [*probe, "ip", "link", "add", "probe", "type", "bridge"]
    done = subprocess.run(bridge, capture_output=True, text=True, check=False, timeout=60)
    return f"no namespaces: {done.stderr.strip()}" if done.returncode else ""


@contextmanager
def machines(folder: Path, nodes: Sequence[str], environment: Mapping[str, str]) -> Iterator[Machines]:
    """Start a laptop and nodes; skip the test where that is impossible, but under CI=true fail it.

    Args:
        folder: An empty folder for their state and the shared storage.
        nodes: Host names.
        environment: What each login on a node gets.
    """
    if reason := refusal():
        if os.environ.get("CI") == "true":
            pytest.fail(f"two nodes: {reason}")
        pytest.skip(f"two nodes: {reason}")
    state, shared = folder / "state", folder / "shared"
    state.mkdir()
    shared.mkdir()
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", state / name], check=True)
    settings = " ".join(f'"{name}={value}"' for name, value in environment.items())
    (state / "sshd_config").write_text(SSHD_CONFIG.format(state=state, environment=settings))
    hidden = ("/tmp/", f"{HOME}/", "/run/", "/mnt/")
    used = {str(ROOT), sys.prefix, sys.base_prefix, str(state), str(shared)}
    kept = sorted(path for path in used if path.startswith(hidden))
    namespaces = ["--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
    log = state / "machines.log"
    with log.open("w") as stream:
        outer = subprocess.Popen(
            ["unshare", *namespaces, "bash", str(SCRIPT), str(state), *nodes],
            env={**os.environ, "HOME": HOME, "KEEP": " ".join(kept)},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        for name in nodes:
            _wait_for(state / f"{name}.log", "listening", outer, log)
        (first,) = psutil.Process(outer.pid).children()
        addresses = {node: f"10.99.0.{number}" for number, node in enumerate(nodes, start=2)}
        yield Machines(addresses=addresses, shared=shared, key=state / "user_key", first=first.pid)
    finally:
        outer.kill()
        outer.wait(20)


def _wait_for(file: Path, text: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while not (file.exists() and text in file.read_text()):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
