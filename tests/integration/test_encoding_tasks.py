"""Encoding by Ray's tasks, on all cores: the sets are those that one process writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tiny_models import samples

from search.config import StudyConfig
from search.data import encoding
from search.data.encoding import encode_once
from search.planning.preparation import prepare
from search.settings.study_file import InputError
from trainables.data.encoded_set import EncodedSet, SetIndex
from trainables.data.samples import Sample, fingerprint

pytestmark = [pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(180)]


def test_tasks_write_what_one_process_does(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = {
        "name": "s",
        "model": {"path": str(base)},
        "targets": ["counting"],
        "held_out": ["compare_numbers"],
        "space": {"subsets": ["full"], "learning_rate": [1e-4, 1e-3]},
        "training": {"steps": 4, "batch_size": 4, "samples": 50},
        "evaluation": {"samples": 3, "batch_size": 2, "drift_samples": 1},
        "search": {"trials": 2},
    }
    here, tasks = (
        prepare(StudyConfig.model_validate({**study, "output": str(tmp_path / name)}))
        for name in ("here", "tasks")
    )
    ours = encode_once(here, Console(quiet=True)).setup.encoded
    monkeypatch.setattr(encoding, "_SOON", 0.0)
    theirs = encode_once(tasks, Console(quiet=True)).setup.encoded
    assert list(ours) == list(theirs)
    parts = SetIndex.read(Path(theirs["counting/train"])).parts
    assert [part.rows for part in parts] == [25, 25], "one for each core"
    for name in ours:
        one, other = (EncodedSet.open(Path(folders[name])) for folders in (ours, theirs))
        assert len(one) == len(other)
        for mine, yours in zip(one, other, strict=True):
            assert torch.equal(mine.tokens["input_ids"], yours.tokens["input_ids"])
            assert list(mine.extras) == list(yours.extras)
            assert all(map(torch.equal, mine.extras.values(), yours.extras.values()))

    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    cut = Sample(id="cut", prompt="cat ?", answer="yes", images=(tmp_path / "cut.png",), where="a.jsonl:9")
    train = (*samples("more", 40), cut)
    target = replace(tasks.setup.tasks[0], train=train)
    broken = replace(
        tasks,
        setup=replace(tasks.setup, tasks=(target, *tasks.setup.tasks[1:])),
        data_fingerprints={**tasks.data_fingerprints, "counting/train": fingerprint(train)},
    )
    with pytest.raises(InputError, match=r"^counting/train: a\.jsonl:9: image .*cut\.png can't be read"):
        encode_once(broken, Console(quiet=True))
