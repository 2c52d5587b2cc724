"""Samples from storage, from the encoder on demand, and in chains: jobs must not see the difference."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import encoder, measured, samples, save_llava, setup, task, train_job

from trainables.data.encoded_set import EncodedSet, SetIndex
from trainables.data.encoded_writer import encode_part
from trainables.data.sample_sets import Chain, Picked, StreamedSet, batches_of, load_samples, outlines_of
from trainables.data.samples import Sample
from trainables.workers.jobs import REPLAY, WorkerSetup
from trainables.workers.workbench import Workbench


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llava(tmp_path_factory.mktemp("base") / "llava")


def on_storage(base: Path, folder: Path, given: tuple[Sample, ...], *, streamed: bool) -> str:
    part, bad = encode_part(str(base), given, folder / "part.arrow", torch.float32, streamed=streamed)
    assert not bad
    SetIndex((part,), streamed=streamed).write(folder)
    return str(folder)


def encoded_setup(base: Path, folder: Path, *, streamed: bool) -> tuple[WorkerSetup, WorkerSetup]:
    """Return a setup whose workers encode, and the same with its samples on storage."""
    mixed = (*samples("mixed", 9, seed=1), *samples("words", 3, seed=4, images=False))
    tasks = (task("easy", "target", answers=("yes",), train=mixed), task("kept", "held_out", n=5))
    direct = replace(setup(base, tasks), replay=samples("replayed", 4))
    splits = {"easy/train": mixed, "easy/search": tasks[0].search, "kept/search": tasks[1].search}
    folders = {
        name: on_storage(base, folder / str(number), given, streamed=streamed)
        for number, (name, given) in enumerate({**splits, REPLAY: direct.replay}.items())
    }
    return direct, replace(direct, encoded=folders)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_job_on_samples_from_storage_measures_what_it_does_on_those_it_encodes(
    base: Path, tmp_path: Path, streamed: bool
) -> None:
    direct, stored = encoded_setup(base, tmp_path / "sets", streamed=streamed)
    if not streamed:  # what lies whole on storage need not be sent to workers
        stored = replace(stored, replay=(), tasks=(replace(stored.tasks[0], train=()), *stored.tasks[1:]))
    job = replace(train_job(tmp_path / "trial", replay_ratio=0.25), micro_batch_size=2)
    reports = [
        list(Workbench(each).run(replace(job, folder=str(tmp_path / name))))
        for name, each in (("direct", direct), ("stored", stored))
    ]
    assert measured(reports[0]) == measured(reports[1])
    flops = [[report.metrics["cost/train_flops"] for report in each] for each in reports]
    assert flops[0] == flops[1] != [0, 0]


def test_each_process_reads_its_own_samples(base: Path, tmp_path: Path) -> None:
    given = samples("share", 5)
    found = load_samples(on_storage(base, tmp_path, given, streamed=False), (), encoder())
    assert isinstance(found, EncodedSet)
    assert [sample.length for sample in found[1::2]] == [
        encoder().encode(sample).length for sample in given[1::2]
    ]


def test_without_a_folder_samples_are_encoded_at_once(base: Path) -> None:
    assert isinstance(load_samples(None, samples("now", 2), encoder()), list)


def test_a_chain_counts_through_its_sets() -> None:
    one, other = ([encoder().encode(s) for s in samples(name, n)] for name, n in (("a", 2), ("b", 3)))
    chain = Chain((one, [], other))
    assert len(chain) == 5
    assert [id(sample) for sample in chain] == [id(sample) for sample in (*one, *other)]
    assert chain[-1] is other[-1]
    assert chain[1:4:2] == [one[1], other[1]]
    with pytest.raises(IndexError):
        chain[5]


def test_a_thread_encodes_what_comes_next_and_no_more(base: Path, tmp_path: Path) -> None:
    given = samples("coming", 10)
    outlines = EncodedSet.open(Path(on_storage(base, tmp_path, given, streamed=True)))
    seen: list[tuple[str, bool]] = []

    class Watched:
        def encode(self, sample: Sample) -> object:
            seen.append((sample.id, threading.current_thread() is threading.main_thread()))
            return encoder().encode(sample)

    streamed = StreamedSet(given, Watched(), outlines)  # type: ignore[arg-type]
    assert (
        outlines_of(Picked(Chain((streamed[2:], streamed[:2])), [8]))[0].length
        == encoder().encode(given[0]).length
    )
    assert not seen, "an outline needs no encoding"
    rows = [[4, 1], [0], [], [9, 9], [7], [8]]
    batches = batches_of(Picked(Chain((streamed,)), range(10)), rows)
    first = next(batches)
    assert torch.equal(first[1].tokens["input_ids"], encoder().encode(given[1]).tokens["input_ids"])
    assert [len(batch) for batch in batches] == [1, 0, 2, 1, 1]
    # In the order of the rows, none by the thread that uses them.
    assert seen == [(given[row].id, False) for batch in rows for row in batch]


def test_an_abandoned_run_encodes_no_further(base: Path, tmp_path: Path) -> None:
    given = samples("left", 10)
    outlines = EncodedSet.open(Path(on_storage(base, tmp_path, given, streamed=True)))
    taken: list[int] = []

    def rows() -> object:
        for row in range(10):
            taken.append(row)
            yield [row]

    batches = batches_of(StreamedSet(given, encoder(), outlines), rows())  # type: ignore[arg-type]
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert taken == [0, 1, 2]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("encode-ahead")]
