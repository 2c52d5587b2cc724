"""What the project says of itself to pip: names, packages, dependencies and their pins."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from search.clusters.doctor import DISTRIBUTION, TESTED, is_release

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("search", "spaces", "trainables")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def requirements(project: dict[str, Any]) -> list[Requirement]:
    extras = project["project"]["optional-dependencies"].values()
    return [Requirement(line) for group in (project["project"]["dependencies"], *extras) for line in group]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_top_level_names_are_this_distribution_alone(package: str) -> None:
    # A checkout's egg-info may list the distribution a second time, hence a set.
    assert set(importlib.metadata.packages_distributions()[package]) == {DISTRIBUTION}


def test_every_package_folder_is_listed_for_the_build(project: dict[str, Any]) -> None:
    folders = {
        ".".join(path.relative_to(ROOT).parent.parts)
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert set(project["tool"]["setuptools"]["packages"]) == folders


def test_every_other_file_is_shipped_as_package_data(project: dict[str, Any]) -> None:
    patterns = [
        f"{package.replace('.', '/')}/{pattern}"
        for package, found in project["tool"]["setuptools"]["package-data"].items()
        for pattern in found
    ]
    others = [
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert [path for path in others if not any(fnmatch(path, pattern) for pattern in patterns)] == []


def test_every_requirement_is_pinned_to_a_version_that_it_allows(
    project: dict[str, Any], pins: dict[str, str]
) -> None:
    for requirement in requirements(project):
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_the_doctor_knows_the_versions_of_the_constraints(pins: dict[str, str]) -> None:
    assert {name for name, tested in TESTED.items() if not is_release(pins[name], tested)} == set()


def imported_modules(path: Path) -> set[str]:
    """Return the top-level names that a file imports, but for the standard library and our own."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - set(PACKAGES)


def test_every_library_that_is_imported_is_required(project: dict[str, Any]) -> None:
    required = {canonicalize_name(requirement.name) for requirement in requirements(project)}
    owners = importlib.metadata.packages_distributions()
    undeclared = {
        f"{path.relative_to(ROOT)} imports {name}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for name in imported_modules(path)
        if not required & {canonicalize_name(owner) for owner in owners.get(name, [])}
    }
    assert undeclared == set()
