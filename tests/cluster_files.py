"""What the tests of the cluster files share: the files, found by what they are, and Ray's own reading."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "cluster"


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short functions, kept as their text."""


_Loader.add_multi_constructor("!", lambda loader, _, node: loader.construct_scalar(node))


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.load_all(path.read_text(encoding="utf-8"), Loader=_Loader))


def kind_of(path: Path) -> str:
    first = documents(path)[0]
    keys = {"provider": "launcher", "apiVersion": "kubernetes", "AWSTemplateFormatVersion": "cloudformation"}
    return next(kind for key, kind in keys.items() if key in first)


def files_of(kind: str) -> list[Path]:
    found = [
        path for path in (ROOT / "cluster.yaml", *sorted(FOLDER.rglob("*.yaml"))) if kind_of(path) == kind
    ]
    assert found, f"no {kind} file under {FOLDER}"
    return found


def prepare_and_validate(config: dict[str, Any]) -> dict[str, Any]:
    """Return a cluster file as `ray up` understands it, or raise as `ray up` would."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def ray_version() -> str:
    """Return the version that constraints.txt pins."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    (pin,) = [line for line in lines if line.startswith("ray==")]
    return pin.removeprefix("ray==")
