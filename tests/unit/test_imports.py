"""The rules that keep the packages apart: what may import what."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("search", "spaces", "trainables")
RAY_FILES = {
    "trainables/group.py",
    "trainables/notice.py",
    "trainables/orphans.py",
    "trainables/pool.py",
    "trainables/train_callbacks.py",
    "trainables/train_run.py",
    "trainables/trainable.py",
    "trainables/worker.py",
}


def files_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports_of(source: str, package: str) -> Iterator[str]:
    """Yield the absolute dotted name of every module that some source imports, anywhere in it.

    Args:
        source: Python source.
        package: Dotted name of the package that holds it, for relative imports.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = parents[: len(parents) - node.level + 1] if node.level else []
            yield ".".join([*base, node.module] if node.module else base)


def top_levels(path: Path) -> set[str]:
    package = ".".join(path.relative_to(ROOT).parent.parts)
    return {name.partition(".")[0] for name in imports_of(path.read_text(encoding="utf-8"), package)}


def offenders(package: str, forbidden: set[str]) -> dict[str, set[str]]:
    """Return the files of a package that import something forbidden to it, and what."""
    found = {path.relative_to(ROOT).as_posix(): top_levels(path) & forbidden for path in files_of(package)}
    return {path: names for path, names in found.items() if names}


def test_imports_are_found_wherever_they_stand() -> None:
    source = "import a.b as c\nfrom . import d\nfrom ..e import f\ndef g():\n    from h.i import j\n"
    # In package x.y: `from . import d` is x.y, `from ..e import f` is x.e.
    assert list(imports_of(source, "x.y")) == ["a.b", "x.y", "x.e", "h.i"]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_have_files(package: str) -> None:
    assert len(files_of(package)) > 1


def test_spaces_imports_no_framework_and_none_of_the_others() -> None:
    assert not offenders(
        "spaces", {"torch", "transformers", "ray", "optuna", "mlflow", "trainables", "search"}
    )


def test_trainables_never_import_search_or_mlflow() -> None:
    assert not offenders("trainables", {"search", "mlflow"})


def test_only_a_few_files_of_trainables_import_ray() -> None:
    assert set(offenders("trainables", {"ray"})) <= RAY_FILES


def test_spaces_load_without_torch_and_ray() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in files_of("spaces")
    ]
    code = (
        f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
        "print(sorted({'torch', 'ray', 'transformers', 'trainables', 'search'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_no_file_shadows_a_library() -> None:
    names = {"optuna.py", "ray.py", "mlflow.py", "torch.py", "transformers.py"}
    tracked = [path for package in (*PACKAGES, "tests", "benchmarks") for path in files_of(package)]
    assert not [path for path in tracked if path.name in names]
