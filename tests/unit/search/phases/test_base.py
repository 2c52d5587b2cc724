from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import setup, task

from search.phases.base import base_key, cached_base
from trainables.metrics import Decoding, MetricSpec
from trainables.scoring.evaluation import Evaluation

BASE = {"kept": Evaluation(task="kept", scores=(0.0, 100.0)), "new": Evaluation(task="new", scores=(0.0,))}
SETUP = setup(Path("model"))


class Measure:
    """Counts how often the base is measured."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Mapping[str, Evaluation]:
        self.calls += 1
        return BASE


def test_measures_once_and_then_reads(tmp_path: Path) -> None:
    measure = Measure()
    assert cached_base(tmp_path / "cache", "key", measure) == (BASE, False)
    assert cached_base(tmp_path / "cache", "key", measure) == (BASE, True)
    assert measure.calls == 1
    assert cached_base(tmp_path / "cache", "other", measure) == (BASE, False)
    assert measure.calls == 2


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"kept": {}}', b'{"kept": 1}', b"\xff", b'{"kept": null}']
)
def test_a_damaged_file_is_measured_again_and_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key.json").write_bytes(content)
    assert cached_base(tmp_path, "key", Measure()) == (BASE, False)
    assert cached_base(tmp_path, "key", Measure()) == (BASE, True)


def test_predictions_are_kept(tmp_path: Path) -> None:
    told = {"new": replace(BASE["new"], predictions=('a "quoted" answer\n',))}
    assert cached_base(tmp_path, "key", lambda: told) == (told, False)
    assert cached_base(tmp_path, "key", Measure()) == (told, True)


def test_a_failed_measurement_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Mapping[str, Evaluation]:
        raise RuntimeError("no group")

    with pytest.raises(RuntimeError, match="no group"):
        cached_base(tmp_path, "key", broken)
    assert list(tmp_path.iterdir()) == []


HERE = ("1 worker", "torch 2")


def test_the_key_follows_what_the_evaluation_depends_on() -> None:
    key = base_key(SETUP, "fingerprint", HERE)
    assert base_key(setup(Path("model")), "fingerprint", HERE) == key
    target, kept = SETUP.tasks
    others = {
        "model": base_key(SETUP, "another", HERE),
        "dtype": base_key(replace(SETUP, dtype="bfloat16"), "fingerprint", HERE),
        "samples": base_key(
            replace(SETUP, tasks=(target, task("kept", "held_out", n=4))), "fingerprint", HERE
        ),
        "answers": base_key(
            replace(SETUP, tasks=(target, task("kept", "held_out", n=5, answers=("no",)))),
            "fingerprint",
            HERE,
        ),
        "other metric": base_key(
            replace(SETUP, tasks=(target, replace(kept, metric=MetricSpec("numeric")))), "fingerprint", HERE
        ),
        "metric": base_key(
            replace(SETUP, tasks=(target, replace(kept, metric=MetricSpec("normalized_exact_match")))),
            "fingerprint",
            HERE,
        ),
        "option": base_key(
            replace(
                SETUP, tasks=(target, replace(kept, metric=MetricSpec("numeric", (("tolerance", 1.0),))))
            ),
            "fingerprint",
            HERE,
        ),
        "decoding": base_key(
            replace(SETUP, tasks=(target, replace(kept, decoding=Decoding(stop=("x",))))), "fingerprint", HERE
        ),
        "predictions": base_key(SETUP, "fingerprint", HERE, predictions=True),
        "tasks": base_key(replace(SETUP, tasks=(target,)), "fingerprint", HERE),
        "batch": base_key(replace(SETUP, eval_batch_size=SETUP.eval_batch_size + 1), "fingerprint", HERE),
        "environment": base_key(SETUP, "fingerprint", ("1 worker", "torch 3")),
        "name": base_key(replace(SETUP, tasks=(target, replace(kept, name="renamed"))), "fingerprint", HERE),
    }
    assert key not in others.values()
    assert len(set(others.values())) == len(others)


def test_the_key_does_not_follow_what_only_training_depends_on() -> None:
    key = base_key(SETUP, "fingerprint", HERE)
    target, kept = SETUP.tasks
    assert (
        base_key(replace(SETUP, tasks=(replace(target, train=target.train[:1]), kept)), "fingerprint", HERE)
        == key
    )
    assert base_key(replace(SETUP, threads=8, model="elsewhere/same-content"), "fingerprint", HERE) == key
