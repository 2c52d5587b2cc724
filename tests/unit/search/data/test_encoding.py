"""A study's samples are encoded once, before anything of an earlier run is touched."""

from __future__ import annotations

import io
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from tiny_models import save_llava

from search.config import StudyConfig
from search.data import encoding
from search.data.encoding import encode_once, for_workers
from search.planning.preparation import Prepared, prepare
from search.settings.study_file import InputError
from spaces.points import Identity, Point
from spaces.recipe import Recipe
from trainables.collate import Encoder
from trainables.data.encoded_set import EncodedSet, SetIndex
from trainables.workers.jobs import REPLAY, ConfirmJob, EvaluateJob, PointJob, TrainJob

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llava(tmp_path_factory.mktemp("model") / "llava")


def prepared(model: Path, output: Path, **sections: Any) -> Prepared:
    return prepare(
        StudyConfig.model_validate(
            {
                "name": "s",
                "model": {"path": str(model)},
                "targets": ["counting"],
                "held_out": ["compare_numbers"],
                "space": {"subsets": ["full"], "learning_rate": [1e-4, 1e-3], "replay_ratio": [0.5]},
                "training": {"steps": 4, "batch_size": 4, "samples": 6, "replay": ["digits"]},
                "evaluation": {"samples": 3, "batch_size": 2, "drift_samples": 1},
                "finalists": None,
                "search": {"trials": 2},
                "output": str(output),
                **sections,
            }
        )
    )


def test_every_split_lies_encoded_on_storage(model: Path, tmp_path: Path) -> None:
    study = prepared(model, tmp_path)
    setup = encode_once(study, QUIET).setup
    assert {name: len(EncodedSet.open(Path(folder))) for name, folder in setup.encoded.items()} == {
        "counting/train": 6,
        "counting/search": 3,
        "compare_numbers/search": 3,
        REPLAY: 6,
    }
    assert all(Path(folder).parent == tmp_path / ".cache" / "encoded" for folder in setup.encoded.values())
    encoder = Encoder.load(str(model))
    for one, sample in zip(
        EncodedSet.open(Path(setup.encoded["counting/train"])), study.setup.tasks[0].train, strict=True
    ):
        other = encoder.encode(sample)
        assert torch.equal(one.tokens["input_ids"], other.tokens["input_ids"])
        assert torch.equal(one.extras["pixel_values"], other.extras["pixel_values"])


def test_the_next_study_encodes_only_what_is_new_or_damaged(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(study: Prepared) -> list[int]:
        encoded: list[int] = []
        with monkeypatch.context() as patch:
            real = encoding.encode_part
            patch.setattr(
                encoding, "encode_part", lambda m, s, *a, **k: encoded.append(len(s)) or real(m, s, *a, **k)
            )
            encode_once(study, QUIET)
        return encoded

    study = prepared(model, tmp_path)
    assert count(study) == [6, 3, 3, 6]
    assert count(study) == []
    more = prepared(model, tmp_path, evaluation={"samples": 4, "batch_size": 2})
    assert count(more) == [4, 4], "the training samples are the same"
    assert count(replace(study, model_fingerprint="another")) == [6, 3, 3, 6]
    narrow = replace(study, setup=replace(study.setup, dtype="bfloat16"))
    assert count(narrow) == [6, 3, 3, 6]
    taught = tuple(replace(sample, teaches_history=True) for sample in study.setup.replay)
    assert count(replace(study, setup=replace(study.setup, replay=taught))) == [6]
    for part in (tmp_path / ".cache").rglob("*.arrow"):
        part.write_bytes(b"")
    assert count(study) == [6, 3, 3, 6]


def test_workers_get_no_samples_that_lie_encoded_on_storage(model: Path, tmp_path: Path) -> None:
    study = prepared(model, tmp_path)
    assert for_workers(study.setup) == study.setup
    setup = encode_once(study, QUIET).setup
    lean = for_workers(setup)
    assert [(len(task.train), len(task.search)) for task in lean.tasks] == [(0, 3), (0, 3)]
    assert lean.replay == ()
    assert lean.encoded == setup.encoded


def test_nothing_that_workers_load_leads_to_a_confirm_split(model: Path, tmp_path: Path) -> None:
    """Neither what they load once nor any job of the search has a sample of it, or knows where one lies.

    Of a sample all that is written are its question, answer and picture; and its split's folder has a name.
    """
    study = encode_once(prepared(model, tmp_path, finalists={}), QUIET)
    assert study.confirm is not None
    held_back = [task.search for task in study.confirm.tasks]
    assert [len(samples) for samples in held_back] == [3, 3]
    assert list(study.confirm.encoded) == ["counting", "compare_numbers"]
    traces = [sample.id.encode() for samples in held_back for sample in samples]
    traces += [np.asarray(image).tobytes() for samples in held_back for s in samples for image in s.images]
    traces += [Path(folder).name.encode() for folder in study.confirm.encoded.values()]
    allowed = pickle.dumps(ConfirmJob(data=study.confirm))
    assert all(trace in allowed for trace in traces)
    recipe = Recipe(subset="full", learning_rate=1e-3, steps=4, batch_size=4)
    searched = (
        for_workers(study.setup),
        study.setup,
        TrainJob(trial_id="t", recipe=recipe, seed=0, rungs=(4,), folder=str(tmp_path / "t")),
        EvaluateJob(),
        PointJob(point=Point(0, 4, Identity()), members=()),
    )
    for seen in map(pickle.dumps, searched):
        assert not [trace for trace in traces if trace in seen]


def test_what_is_too_large_to_keep_is_streamed(model: Path, tmp_path: Path) -> None:
    study = prepared(model, tmp_path)
    sample = Encoder.load(str(model)).encode(study.setup.tasks[0].train[0])
    size = sum(tensor.nbytes for tensor in (*sample.tokens.values(), *sample.extras.values()))
    # There is room for four or five samples, and the splits have six and three.
    study = prepared(model, tmp_path, data={"cache_gib": 4.5 * size / 2**30})
    setup = encode_once(study, QUIET).setup
    streamed = {name: SetIndex.read(Path(folder)).streamed for name, folder in setup.encoded.items()}
    assert streamed == {
        "counting/train": True,
        REPLAY: True,
        "counting/search": False,
        "compare_numbers/search": False,
    }
    lean = for_workers(setup)
    assert len(lean.tasks[0].train) == len(lean.replay) == 6


def test_a_sample_that_can_not_be_encoded_stops_the_study(model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "cat ?", "answer": "yes", "image": f"{n}.png"} for n in range(20)]
    for row in rows:
        Image.new("RGB", (16, 16)).save(tmp_path / str(row["image"]))
    content = io.BytesIO()
    Image.effect_noise((16, 16), 50).convert("RGB").save(content, "PNG")
    # The header is there, as far as anyone looked before.
    (tmp_path / "13.png").write_bytes(content.getvalue()[:300])
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    study = prepared(
        model,
        tmp_path / "out",
        tasks={"mine": {"search": str(tmp_path / "mine.jsonl")}},
        held_out=["mine"],
        evaluation={"batch_size": 2},
    )
    with pytest.raises(InputError, match=r"^mine/search: .*mine\.jsonl:14: image .*13\.png can't be read"):
        encode_once(study, QUIET)
    with pytest.raises(InputError, match=r"mine\.jsonl:14"):
        encode_once(study, QUIET)


def test_storage_that_can_not_be_written_is_one_line(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"^output: .*file/s can't be made: .*file is no folder$"):
        encode_once(prepared(model, tmp_path / "file"), QUIET)
