"""Study files that are wrong: what YAML allows and a study does not, and what is no YAML at all."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from hostile_input.cases import ESCAPE, STUDY, Case, write_study

_GOOD: Final = yaml.safe_dump(dict(STUDY), sort_keys=False)


def _bomb(kind: str) -> str:
    """Return nine lists or mappings, each of nine of the one before: 9 ** 9 values."""
    rows = [f"a0: &a0 {'[x]' if kind == 'list' else '{k: x}'}"]
    for n in range(1, 10):
        inner = ", ".join(f"*a{n - 1}" if kind == "list" else f"k{i}: *a{n - 1}" for i in range(9))
        rows.append(f"a{n}: &a{n} " + (f"[{inner}]" if kind == "list" else "{" + inner + "}"))
    return "\n".join(rows) + "\n"


def _merges() -> str:
    """Return merge keys that double at each level."""
    rows = ["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 40)]
    return "\n".join(rows) + "\n"


# Name -> the file's whole content, and what the line says.
_CONTENT: Final[dict[str, tuple[str | bytes, tuple[str, ...]]]] = {
    "empty": ("", ("a study file is a mapping of keys", "got")),
    "blank": (" \n\n", ("mapping of keys",)),
    "comments-alone": ("# nothing\n", ("mapping of keys",)),
    "null": ("null\n", ("mapping of keys",)),
    "list": ("- name\n- model\n", ("mapping of keys", "list")),
    "text": ("hello\n", ("mapping of keys", "str")),
    "number": ("42\n", ("mapping of keys", "int")),
    "two-documents": (_GOOD + "---\n" + _GOOD, ("not valid YAML",)),
    "tab": ("name:\n\tx: 1\n", ("not valid YAML",)),
    "unclosed-bracket": ("name: [a\n", ("not valid YAML",)),
    "unclosed-quote": ('name: "a\n', ("not valid YAML",)),
    "unknown-anchor": ("name: *nowhere\n", ("not valid YAML", "nowhere")),
    "unknown-tag": ("name: !thing x\n", ("not valid YAML",)),
    "python-object": ("name: !!python/object/apply:os.system ['touch hacked']\n", ("not valid YAML",)),
    "python-name": ("name: !!python/name:os.system\n", ("not valid YAML",)),
    "python-tuple": ("name: !!python/tuple [1]\n", ("not valid YAML",)),
    "binary-tag": ("name: !!binary aGVsbG8=\n" + _GOOD.split("\n", 1)[1], ("name",)),
    "broken-binary-tag": ("name: !!binary '*'\n", ("name", "valid string")),
    "set-tag": ("targets: !!set {a, b}\n" + _GOOD.replace("targets:", "x:"), ("targets", "x")),
    "wrong-timestamp": ("name: 2026-13-45\n", ("not valid YAML", "month")),
    "timestamp": (_GOOD.replace("lesson", "2026-01-01"), ("name", "valid string")),
    "duplicate-key": (_GOOD + "name: other\n", ("line", "'name'", "already")),
    "duplicate-inner-key": (_GOOD.replace("steps: 4", "steps: 4\n  steps: 5"), ("'steps'", "already")),
    "list-as-key": ("? [a, b]\n: 1\n" + _GOOD, ("not valid YAML",)),
    "mapping-as-key": ("{a: 1}: 2\n", ("not valid YAML",)),
    "number-as-key": ("1: x\n" + _GOOD, ("1",)),
    "null-as-key": ("null: x\n" + _GOOD, ("None",)),
    "true-as-key": ("true: x\n" + _GOOD, ("keys should be strings",)),
    "self-reference": ("name: &a [*a]\n" + _GOOD.split("\n", 1)[1], ("nested too deeply",)),
    "self-reference-mapping": ("about: &a {b: *a}\n" + _GOOD, ("nested too deeply",)),
    "bomb-of-lists": (_bomb("list"), ("stand for more than 100,000 values",)),
    "bomb-of-mappings": (_bomb("mapping"), ("stand for more than 100,000 values",)),
    "bomb-of-merges": (_merges(), ("stand for more than",)),
    "deep-lists": ("name: " + "[" * 2000 + "]" * 2000 + "\n", ("nested too deeply",)),
    "deep-mappings": ("{a: " * 3000 + "1" + "}" * 3000, ("nested too deeply",)),
    "deep-100": ("name: " + "[" * 150 + "]" * 150 + "\n", ("nested too deeply",)),
    "utf-16": (_GOOD.encode("utf-16"), ("not valid YAML",)),
    "utf-16-le": (_GOOD.encode("utf-16-le"), ("not valid YAML",)),
    "utf-32": (_GOOD.encode("utf-32"), ("not valid YAML",)),
    "latin-1": ("name: café\n".encode("latin-1"), ("not valid YAML",)),
    "nul": ("name: a\0b\n", ("not valid YAML",)),
    "escape-raw": (f"name: {ESCAPE}\n", ("not valid YAML",)),
    "random-bytes": (bytes(range(256)) * 8, ("not valid YAML",)),
    "zip": (b"PK\x03\x04" + b"\0" * 60, ("not valid YAML",)),
    "pickle": (b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x02os\x94.", ("not valid YAML",)),
    "lone-surrogate": ('name: "\\ud800"\n' + _GOOD.split("\n", 1)[1], ("study.yaml", "not")),
    "huge-integer": ("x: " + "9" * 5000 + "\n" + _GOOD, ("not valid YAML", "digits")),
    "html": ("<html><body>404</body></html>\n", ("mapping of keys",)),
    "json-cut": ('{"name": "x", "model": {', ("not valid YAML",)),
}

# Name -> what replaces sections of the study, and what the line says.
_SECTIONS: Final[dict[str, tuple[dict[str, Any], tuple[str, ...]]]] = {
    "name-traversal": ({"name": "../../etc"}, ("name:", "letters")),
    "name-absolute": ({"name": "/tmp/x"}, ("name:", "letters")),
    "name-dots": ({"name": ".."}, ("name:", "letters")),
    "name-newline": ({"name": "a\nb"}, ("name:", "letters")),
    "name-escape": ({"name": ESCAPE}, ("name:", "letters")),
    "name-empty": ({"name": ""}, ("name:", "letters")),
    "name-number": ({"name": 7}, ("name:", "string")),
    "name-null": ({"name": None}, ("name:", "string")),
    "name-list": ({"name": ["a"]}, ("name:", "string")),
    "name-long": ({"name": "a" * 5000}, ("name:", "characters")),
    "unknown-key": ({"trainig": {}}, ("unknown key 'trainig'", "did you mean 'training'")),
    "unknown-key-escape": ({f"x{ESCAPE}": 1}, ("unknown key",)),
    "unknown-key-newline": ({"x\ny: z": 1}, ("unknown key",)),
    "unknown-inner-key": ({"search": {"trails": 3}}, ("'search.trails'", "did you mean 'trials'")),
    "model-missing": ({"model": None}, ("model", "section")),
    "model-text": ({"model": "tiny-llava"}, ("model", "section")),
    "model-empty": ({"model": {}}, ("missing key 'model.path'",)),
    "model-path-number": ({"model": {"path": 3}}, ("model.path", "string")),
    "model-path-empty": ({"model": {"path": ""}}, ("model",)),
    "model-path-nul": ({"model": {"path": "a\0b"}}, ("model",)),
    "model-path-escape": ({"model": {"path": f"no/{ESCAPE}"}}, ("model",)),
    "model-path-url": ({"model": {"path": "http://127.0.0.1:9/model"}}, ("model",)),
    "model-path-traversal": ({"model": {"path": "../../../nowhere"}}, ("model", "nowhere")),
    "model-dtype": ({"model": {"path": "tiny-llava", "dtype": "float23"}}, ("model.dtype", "'float32'")),
    "model-roles-text": ({"model": {"path": "tiny-llava", "roles": "x"}}, ("model.roles", "section")),
    "targets-empty": ({"targets": []}, ("targets", "empty")),
    "targets-text": ({"targets": "birds"}, ("targets", "list")),
    "targets-number": ({"targets": [3]}, ("targets", "string")),
    "targets-twice": ({"targets": ["birds", "birds"]}, ("targets", "twice")),
    "target-unknown": ({"targets": ["brids"]}, ("targets", "did you mean 'birds'")),
    "target-traversal": ({"targets": ["../../etc/passwd"]}, ("targets", "unknown task")),
    "target-escape": ({"targets": [ESCAPE]}, ("targets", "unknown task")),
    "target-also-held-out": ({"held_out": ["birds"]}, ("held_out", "'birds'")),
    "task-name-traversal": ({"tasks": {"../x": {"search": "search.jsonl"}}}, ("tasks", "letters")),
    "task-name-escape": ({"tasks": {ESCAPE: {"search": "search.jsonl"}}}, ("tasks", "letters")),
    "task-null": ({"tasks": {"birds": None}}, ("tasks.birds", "section")),
    "tasks-list": ({"tasks": ["birds"]}, ("tasks", "section")),
    "task-unknown-card": ({"tasks": {"birds": {"card": "docvqa"}}}, ("card", "did you mean 'doc_vqa'")),
    "task-card-traversal": ({"tasks": {"birds": {"card": "../settings/x"}}}, ("card", "unknown card")),
    "metric-unknown": (
        {"tasks": {"birds": {"train": "train.jsonl", "search": "search.jsonl", "metric": "exact_mach"}}},
        ("metric", "did you mean 'exact_match'"),
    ),
    "subset-unknown": (
        {"space": {"subsets": ["gate_upp"], "learning_rate": [1e-5, 1e-2]}},
        ("space.subsets", "did you mean 'gate_up'"),
    ),
    "rate-nan": ({"space": {"subsets": ["gate_up"], "learning_rate": [float("nan"), 1]}}, ("learning_rate",)),
    "rate-inf": ({"space": {"subsets": ["gate_up"], "learning_rate": [1, float("inf")]}}, ("learning_rate",)),
    "rate-falling": ({"space": {"subsets": ["gate_up"], "learning_rate": [1, 1e-3]}}, ("lower bound",)),
    "rate-one": ({"space": {"subsets": ["gate_up"], "learning_rate": [1e-3]}}, ("pair [low, high]",)),
    "rate-negative": ({"space": {"subsets": ["gate_up"], "learning_rate": [-1, 1]}}, ("greater than 0",)),
    "rate-text": ({"space": {"subsets": ["gate_up"], "learning_rate": ["a", "b"]}}, ("valid number",)),
    "rate-huge": ({"space": {"subsets": ["gate_up"], "learning_rate": ["1e999", "1e999"]}}, ("finite",)),
    "rate-of-400-digits": (
        {"space": {"subsets": ["gate_up"], "learning_rate": [1, 10**400]}},
        ("learning_rate", "finite"),
    ),
    "steps-zero": ({"training": {"steps": 0, "batch_size": 2}}, ("training.steps", "greater")),
    "steps-negative": ({"training": {"steps": -1, "batch_size": 2}}, ("training.steps",)),
    "steps-float": ({"training": {"steps": 4.5, "batch_size": 2}}, ("training.steps", "integer")),
    "steps-text": ({"training": {"steps": "four", "batch_size": 2}}, ("training.steps", "integer")),
    "steps-bool": ({"training": {"steps": True, "batch_size": 2}}, ("training.steps", "integer")),
    "steps-huge": ({"training": {"steps": 10**30, "batch_size": 2}}, ("training.steps",)),
    "batch-huge": ({"training": {"steps": 4, "batch_size": 10**30}}, ("batch_size",)),
    "trials-zero": ({"search": {"trials": 0}}, ("search.trials",)),
    "trials-huge": ({"search": {"trials": 10**30}}, ("search.trials",)),
    "seed-huge": ({"search": {"trials": 2, "seed": 10**30}}, ("search.seed",)),
    "seed-negative": ({"search": {"trials": 2, "seed": -1}}, ("search.seed",)),
    "sampler-unknown": ({"search": {"trials": 2, "sampler": "tep"}}, ("search.sampler", "'tpe'")),
    "storage-not-an-address": ({"search": {"trials": 2, "storage": "my-database"}}, ("search.storage",)),
    "storage-unknown-scheme": ({"search": {"trials": 2, "storage": "oracel://x/y"}}, ("search.storage",)),
    "storage-file-scheme": ({"search": {"trials": 2, "storage": "file:///etc/passwd"}}, ("search.storage",)),
    "tracking-not-an-address": ({"tracking": {"uri": "my-store"}}, ("tracking",)),
    "tracking-unknown-scheme": ({"tracking": {"uri": "ftp://x"}}, ("tracking",)),
    "tracking-port": ({"tracking": {"uri": "http://127.0.0.1:notaport"}}, ("tracking",)),
    "tracking-nul": ({"tracking": {"uri": "sqlite:///a\0b.db"}}, ("tracking",)),
    "tracking-in-a-file": ({"tracking": {"uri": "sqlite:////dev/null/x.db"}}, ("tracking",)),
    "model-name-traversal": ({"tracking": {"registered_model": "../x"}}, ("registered_model", "letters")),
    "forgetting-nan": ({"objective": {"max_forgetting": float("nan")}}, ("objective.max_forgetting",)),
    "weight-negative": ({"objective": {"forgetting_weight": -1}}, ("objective.forgetting_weight",)),
    "max-bad-share": ({"data": {"max_bad_share": 7}}, ("data.max_bad_share",)),
    "on-leak": ({"data": {"on_leak": "ignore"}}, ("data.on_leak", "'drop'")),
    "data-tasks-gone": ({"data": {"tasks": "nowhere"}}, ("data.tasks", "no such folder")),
    "mirror-gone": ({"data": {"mirror": "nowhere"}}, ("data.mirror", "no such folder")),
    "output-a-device": ({"output": "/dev/null"}, ("output",)),
    "output-nul": ({"output": "a\0b"}, ("output: must be a path",)),
    "output-escape": ({"output": ESCAPE}, ("output: must be a path",)),
    "output-part-long": ({"output": "a" * 300}, ("output: must be a path",)),
    "output-long": ({"output": "a/" * 3000}, ("output: must be a path of at most",)),
    "output-in-a-file": ({"output": "/proc/self/status/runs"}, ("output",)),
    "cpus-nan": ({"resources": {"cpus_per_worker": float("nan")}}, ("resources.cpus_per_worker",)),
    "workers-huge": ({"resources": {"workers_per_trial": 10**9}}, ("resources.workers_per_trial",)),
    "gpus-fraction": ({"resources": {"gpus_per_worker": 1.5}}, ("resources.gpus_per_worker", "whole")),
    "lm-eval-traversal": ({"held_out": ["lm_eval.../../etc"]}, ("held_out", "lm-eval")),
}

# Name -> what stands at the study file's place, and what the line says.
_PLACES: Final[dict[str, tuple[Callable[[Path], object], tuple[str, ...]]]] = {
    "folder": (lambda path: path.mkdir(), ("expected a study file", "folder")),
    "missing": (lambda path: path.with_name("studdy.yaml").write_text(""), ("did you mean 'studdy.yaml'",)),
    # A regular file that can't be read, by root neither.
    "unreadable": (lambda path: path.symlink_to("/proc/self/mem"), ("can't be read",)),
    "fifo": (lambda path: os.mkfifo(path), ("no regular file",)),
    "socket": (lambda path: _socket(path), ("no regular file",)),
    "device": (lambda path: path.symlink_to("/dev/zero"), ("no regular file",)),
    "dangling-link": (lambda path: path.symlink_to("nowhere"), ("no such study file",)),
    "link-to-itself": (lambda path: path.symlink_to(path), ("no such study file",)),
}

_OVERRIDES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "no-equals": ("search.trials", ("'search.trials'", "key=value")),
    "no-key": ("=3", ("key=value",)),
    "unknown": ("search.trails=3", ("'search.trails'", "did you mean 'trials'")),
    "wrong-value": ("search.trials=two", ("search.trials", "integer")),
    "into-a-value": ("name.x=3", ("'name' is a value",)),
    "into-a-list": ("targets.0=birds", ("'targets' is a value",)),
    "not-yaml": ("name=[", ("not valid YAML",)),
    "python-object": ("name=!!python/object/apply:os.system ['touch hacked']", ("not valid YAML",)),
    "escape": (f"name={ESCAPE}", ("override",)),
    "newline": ("name=a\nb: c", ("override",)),
    "empty-parts": ("search..trials=3", ("search",)),
    "deep": (".".join(["a"] * 5000) + "=1", ("unknown key 'a'",)),
    "bomb": ("name=[" * 3000, ("override",)),
    "surrogate": ('name="\\ud800"', ("override",)),
    "huge-integer": ("search.trials=" + "9" * 5000, ("override",)),
}


def _socket(path: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)
    try:
        socket.socket(socket.AF_UNIX).bind(f"/proc/self/fd/{here}/{path.name}")
    finally:
        os.close(here)


def _contents(content: str | bytes) -> Callable[[Path], Sequence[str | Path]]:
    def make(folder: Path) -> Sequence[str | Path]:
        file = write_study(folder)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return ("run", file)

    return make


def _sections(changes: dict[str, Any]) -> Callable[[Path], Sequence[str | Path]]:
    return lambda folder: ("run", write_study(folder, **changes))


def _places(leave: Callable[[Path], object]) -> Callable[[Path], Sequence[str | Path]]:
    def make(folder: Path) -> Sequence[str | Path]:
        file = folder / "study.yaml"
        leave(file)
        return ("run", file)

    return make


def _overrides(override: str) -> Callable[[Path], Sequence[str | Path]]:
    return lambda folder: ("run", write_study(folder), override)


CASES: Final = [
    *(Case(name=f"content-{n}", make=_contents(c), says=says) for n, (c, says) in _CONTENT.items()),
    *(Case(name=f"section-{n}", make=_sections(c), says=says) for n, (c, says) in _SECTIONS.items()),
    *(Case(name=f"place-{n}", make=_places(leave), says=says) for n, (leave, says) in _PLACES.items()),
    *(Case(name=f"override-{n}", make=_overrides(c), says=says) for n, (c, says) in _OVERRIDES.items()),
]
