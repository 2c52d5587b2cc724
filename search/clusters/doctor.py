"""Doctor: is this machine, or the cluster it talks to, fit to run a study? Starts nothing that stays."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import shutil
import sqlite3
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import psutil
from packaging.requirements import Requirement
from rich.table import Table
from rich.text import Text

from search.clusters.checks import Check
from search.clusters.cluster_check import SHARED_STORAGE, check_cluster
from search.commands.arguments import DONE, FAILED, WRONG_INPUT
from search.stores.passwords import shown

DISTRIBUTION: Final = "recipe-search"
# The versions that the project is tested with; constraints.txt has the whole closure.
TESTED: Final = {
    "ray": "2.60.0",
    "optuna": "5.0.0",
    "mlflow": "3.17.2",
    "torch": "2.13",
    "transformers": "5.23",
}
MIN_PYTHON: Final = (3, 11)
GIB: Final = 1024**3
MIN_MEMORY_BYTES: Final = 4 * GIB
MIN_DISK_BYTES: Final = 2 * GIB
# Above this share Ray refuses to create objects (its `local_fs_capacity_threshold`).
MAX_DISK_SHARE: Final = 0.95


def run_doctor(
    *,
    tracking_uri: str = "sqlite:///mlflow.db",
    storage: str | None = None,
    folder: Path | None = None,
    output: Path | None = None,
    timeout: float = 20.0,
) -> list[Check]:
    """Look at everything that a study needs.

    Args:
        tracking_uri: MLflow store whose access is checked; it is not created.
        storage: Database of Optuna studies that is asked, if any.
        folder: Where studies would run; None takes the working directory.
        output: Where the study writes, which a cluster's nodes must share; None takes the default, as advice.
        timeout: Seconds that asking a server or a Ray cluster may take, each.
    """
    folder = folder or Path.cwd()
    return [
        check_python(sys.version_info[:3]),
        *check_packages(),
        check_cores(),
        check_memory(psutil.virtual_memory().available),
        check_disk(folder),
        check_ray_temp(),
        check_torch(),
        check_ray_extras(),
        check_embedded_model(),
        check_embedded_tasks(),
        check_tracking(tracking_uri, folder, timeout),
        *([check_database("optuna storage", storage, timeout)] if storage else []),
        *check_joined_cluster(folder, output, timeout),
    ]


def exit_code(checks: Sequence[Check]) -> int:
    """Return 2 if a study's input is wrong, 1 if something else that it needs is missing, else 0."""
    broken = [check for check in checks if check.required and not check.ok]
    return WRONG_INPUT if any(check.wrong_input for check in broken) else FAILED if broken else DONE


def checks_to_json(checks: Sequence[Check]) -> str:
    """Return the checks for a script to read."""
    return json.dumps({"ok": exit_code(checks) == 0, "checks": [asdict(check) for check in checks]}, indent=2)


def render_checks(checks: Sequence[Check]) -> Table:
    """Return the checks for a person to read."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for check in checks:
        if check.ok:
            mark = Text("ok", style="green")
        elif check.required:
            mark = Text("FAILED", style="bold red")
        else:
            mark = Text("advice", style="yellow")
        found = Text(check.detail)
        if check.fix and not check.ok:
            found.append(f"\n{check.fix}", style="dim")
        table.add_row(mark, Text(check.name), found)
    return table


def check_python(version: tuple[int, ...]) -> Check:
    """Check the interpreter's version."""
    needed = ".".join(map(str, MIN_PYTHON))
    return Check(
        name="python",
        ok=version[:2] >= MIN_PYTHON,
        detail=".".join(map(str, version)),
        fix=f"make the environment again with Python {needed} or newer",
    )


def check_packages() -> Iterator[Check]:
    """Check the libraries whose versions matter: missing ones fail, other versions than tested are advice."""
    for name, tested in TESTED.items():
        fix = f"pip install -c constraints.txt '{name}'"
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(name=name, ok=False, detail="not installed", fix=fix)
            continue
        same = is_release(found, tested)
        detail = found if same else f"{found}; tested with {tested}"
        yield Check(name=name, ok=same, detail=detail, fix=fix, required=False)


def is_release(found: str, tested: str) -> bool:
    """Return whether a version such as `2.13.0+cpu` is a release of the tested one, such as `2.13`."""
    public = found.partition("+")[0].split(".")
    wanted = tested.split(".")
    return public[: len(wanted)] == wanted


def check_cores() -> Check:
    """Check how many CPU cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fix = "with one core, driver and training share it: expect a slow study"
    return Check(name="cores", ok=cores >= 2, detail=f"{cores}", fix=fix, required=False)


def check_memory(available_bytes: int) -> Check:
    """Check the memory that is free now."""
    return Check(
        name="memory",
        ok=available_bytes >= MIN_MEMORY_BYTES,
        detail=f"{available_bytes / GIB:.1f} GiB available",
        fix=f"Ray and one worker want {MIN_MEMORY_BYTES // GIB} GiB: end other programs",
        required=False,
    )


def check_disk(folder: Path) -> Check:
    """Check the space for studies: deltas, the MLflow store and reports."""
    free = shutil.disk_usage(folder).free
    return Check(
        name="disk",
        ok=free >= MIN_DISK_BYTES and os.access(folder, os.W_OK),
        detail=f"{free / GIB:.1f} GiB free, {'writable' if os.access(folder, os.W_OK) else 'not writable'}",
        fix=f"run in a writable folder with at least {MIN_DISK_BYTES // GIB} GiB free",
    )


def check_ray_temp() -> Check:
    """Check the file system of Ray's session folder, which Ray wants not to be nearly full."""
    temp = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    usage = shutil.disk_usage(temp)
    share = 1 - usage.free / usage.total
    return Check(
        name="ray temp",
        ok=share < MAX_DISK_SHARE,
        detail=f"{share:.0%} of the file system in use",
        fix=f"Ray stores no objects above {MAX_DISK_SHARE:.0%}: free some space, or set RAY_TMPDIR",
    )


def check_torch() -> Check:
    """Check that torch loads, and tell the devices it sees with their memory."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check(
            name="devices", ok=False, detail=f"torch does not load: {error}", fix="install torch again"
        )
    if not torch.cuda.is_available():
        return Check(name="devices", ok=True, detail="cpu; enough for the embedded model")
    gpus = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        gpu = torch.cuda.get_device_name(index)
        gpus.append(f"cuda:{index} {gpu}, {free / GIB:.0f} of {total / GIB:.0f} GiB free")
    return Check(name="devices", ok=True, detail="\n".join(gpus))


def check_ray_extras() -> Check:
    """Check that `ray[default]` is there: without its state API every stopped trial leaks resources."""
    fix = "pip install -c constraints.txt 'ray[default,tune,train]'"
    try:
        importlib.import_module("ray.dashboard.optional_deps")
        importlib.import_module("ray.util.state")
    except ImportError as error:
        return Check(name="ray[default]", ok=False, detail=f"not complete: {error}", fix=fix)
    return Check(name="ray[default]", ok=True, detail="present", fix=fix)


def check_embedded_model(folder: Path | None = None) -> Check:
    """Check the embedded model's files; None takes the folder that ships."""
    from safetensors import SafetensorError, safe_open

    from trainables.tiny import MODEL_DIR

    folder = folder or MODEL_DIR
    name, fix = "tiny-llava", "only studies of the embedded model need it: install the project again"
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tensors = 0
        for file in sorted(folder.glob("*.safetensors")):
            with safe_open(file, framework="numpy") as weights:
                tensors += len(weights.keys())
    except (OSError, ValueError, SafetensorError) as error:
        return Check(name=name, ok=False, detail=f"not readable: {error}", fix=fix, required=False)
    tokenizer = (folder / "tokenizer.json").is_file()
    detail = f"{config.get('model_type')}, {tensors} tensors, {'a' if tokenizer else 'no'} tokenizer"
    return Check(name=name, ok=tensors > 0 and tokenizer, detail=detail, fix=fix, required=False)


def check_embedded_tasks() -> Check:
    """Check what the embedded tasks are rendered from: the extra `tiny`."""
    missing = []
    for requirement in map(Requirement, importlib.metadata.requires(DISTRIBUTION) or []):
        if requirement.marker is None or not requirement.marker.evaluate({"extra": "tiny"}):
            continue
        try:
            importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(requirement.name)
    return Check(
        name="tiny tasks",
        ok=not missing,
        detail=f"not installed: {', '.join(missing)}" if missing else "can be rendered",
        fix="only studies on the embedded tasks need them: pip install -c constraints.txt -e '.[tiny]'",
        required=False,
    )


def check_tracking(uri: str, folder: Path, timeout: float) -> Check:
    """Check that the MLflow store can be written to, without creating one.

    Args:
        uri: MLflow tracking URI.
        folder: What a relative path in it refers to.
        timeout: Seconds that a server, or another writer's lock, may take.
    """
    name = "mlflow store"
    scheme, _, rest = uri.partition(":")
    if scheme == "sqlite":
        return _check_sqlite(name, folder / rest.removeprefix("///"), timeout)
    if scheme in ("http", "https"):
        try:
            with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=timeout) as answer:
                return Check(name=name, ok=answer.status == 200, detail=f"{shown(uri)} answers")
        except (OSError, urllib.error.URLError, ValueError) as error:
            fix = "start the server, or give another one: tracking.uri=..."
            return Check(name=name, ok=False, detail=f"{shown(uri)} does not answer: {error}", fix=fix)
    if scheme.partition("+")[0] in ("postgresql", "mysql", "mssql"):
        return check_database(name, uri, timeout)
    if "://" in uri and scheme != "file":
        return Check(name=name, ok=True, detail=f"a {scheme} store; not asked here")
    fix = "use tracking.uri=sqlite:///mlflow.db, or a server's http address"
    return Check(name=name, ok=False, detail=f"MLflow writes no studies to {uri!r}", fix=fix)


def check_database(name: str, address: str, timeout: float) -> Check:
    """Check that a database server takes us, without making tables.

    Args:
        name: What the database is for.
        address: An SQLAlchemy address.
        timeout: Seconds that the server may take.
    """
    from search.stores.database import reason, tables

    try:
        found = len(tables(address, timeout))
    # Drivers share no base class of errors.
    except Exception as error:
        fix = "start the server, create the database, or set PGPASSWORD; docs/study-file.md has more"
        return Check(name=name, ok=False, detail=f"{shown(address)}: {reason(error, address)}", fix=fix)
    return Check(name=name, ok=True, detail=f"{shown(address)} answers; {found} tables")


def _check_sqlite(name: str, path: Path, timeout: float) -> Check:
    if not path.exists():
        parent = path.parent
        ok = parent.is_dir() and os.access(parent, os.W_OK)
        detail = f"{path} will be created" if ok else f"{path} can not be created"
        return Check(name=name, ok=ok, detail=detail, fix=f"make {parent} a writable folder")
    fix = "another program may hold it; otherwise move it away, a new one will be created"
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=timeout)
        try:
            # Takes the write lock and reads the schema, then gives both back unchanged.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.execute("ROLLBACK")
        finally:
            connection.close()
    except sqlite3.Error as error:
        return Check(name=name, ok=False, detail=f"{path}: {error}", fix=fix)
    if not os.access(path, os.W_OK):
        return Check(name=name, ok=False, detail=f"{path} is read-only", fix=fix)
    return Check(name=name, ok=True, detail=f"{path} is writable")


def check_joined_cluster(folder: Path, output: Path | None, timeout: float) -> list[Check]:
    """Check the cluster of `RAY_ADDRESS`, with the folder that a study writes to.

    Args:
        folder: Where studies would run, unless the cluster's nodes name a folder that they share.
        output: The study's `output`, which must be shared; None takes the default.
        timeout: Seconds that the cluster may take.
    """
    shared = os.environ.get("RECIPE_SEARCH_SHARED")
    address = os.environ.get("RAY_ADDRESS")
    checks = check_cluster(address, timeout, Path(shared or folder) / (output or "runs"))
    # From outside, a study is sent to the head, and writes where its nodes say.
    outside = address is not None and address.startswith("ray://")
    if shared or (output is not None and not outside):
        return checks
    return [replace(check, required=check.name != SHARED_STORAGE) for check in checks]
