"""What a result was made with: package versions and, in a checkout, the commit."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

_PACKAGES = ("recipe-search", "ray", "torch", "transformers", "optuna", "mlflow")


def versions() -> dict[str, str]:
    """Return package -> version, with `python`, and `git_commit` where the code lies in a checkout."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    commit = _git_commit()
    return {**found, "git_commit": commit} if commit else found


def _git_commit() -> str | None:
    """Return the checked-out commit, marked where the code differs from it."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return f"{commit}-dirty" if _git(folder, "status", "--porcelain", "-uno") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()
