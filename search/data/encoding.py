"""Encoding a study's samples once, before its workers start, to storage that all of them read."""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import ray
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from search.clusters.devices import GIB
from search.data.left_out import leave_out
from search.planning.preparation import Prepared
from search.settings.study_file import InputError
from search.wording import counted
from trainables import collate
from trainables.collate import EncodedSample, Encoder
from trainables.data import chat, encoded_set, encoded_writer
from trainables.data.bad_samples import SampleError
from trainables.data.encoded_set import EncodedSetError, Part, SetIndex
from trainables.data.encoded_writer import encode_part
from trainables.data.samples import Sample
from trainables.sources import images
from trainables.workers.jobs import REPLAY, WorkerSetup

_PROBED: Final = 8  # samples of a split that tell how long it takes and how large it gets
_SOON: Final = 20.0  # seconds of one core up to which Ray's tasks don't pay for starting their processes
_PART_SECONDS: Final = 20.0  # of one core, that a task takes for its part
_PART_BYTES: Final = 2**30
_NAMES: Final = ("torch", "transformers", "tokenizers", "pillow")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """A split that is not on storage yet.

    Attributes:
        samples: Its samples.
        folder: Where they go.
        seconds: Time of one core, estimated.
        size: Bytes, estimated.
        streamed: Whether images are left out, since it gets too large.
    """

    samples: Sequence[Sample]
    folder: Path
    seconds: float
    size: float
    streamed: bool

    def parts(self, at_a_time: int) -> Iterator[range]:
        """Yield the samples of each part."""
        number = max(at_a_time, math.ceil(self.seconds / _PART_SECONDS), math.ceil(self.size / _PART_BYTES))
        step = math.ceil(len(self.samples) / min(number, len(self.samples)))
        for start in range(0, len(self.samples), step):
            yield range(start, min(start + step, len(self.samples)))


def encode_once(prepared: Prepared, console: Console) -> Prepared:
    """Return the study with its samples on storage, encoded; those of an earlier study are used again.

    Ray must be connected where there is much to do; a little is done here.

    Args:
        prepared: The study.
        console: Where the progress is shown.

    Raises:
        InputError: A sample can't be encoded, or the storage can't be written.
    """
    cache = (prepared.config.folder.parent / ".cache" / "encoded").absolute()
    splits = _splits(prepared)
    folders = {name: cache / _key(prepared, name, samples) for name, samples in splits.items()}
    try:
        work = {
            folder: _planned(prepared, splits[name], folder)
            for name, folder in folders.items()
            if not _is_whole(folder)
        }
        if work:
            _encode(prepared, list(work.values()), console)
        indices = {name: SetIndex.read(folder) for name, folder in folders.items()}
    except OSError as error:
        raise InputError(f"output: {cache} can't be written: {error.strerror or error}") from None
    prepared = leave_out(prepared, {name: index.bad for name, index in indices.items()})
    confirm = prepared.confirm
    if confirm is not None:
        encoded = {task.name: str(folders[f"{task.name}/confirm"]) for task in confirm.tasks}
        confirm = replace(confirm, encoded=encoded)
    # What workers load for the search leads to no confirm split.
    searched = {name: str(folder) for name, folder in folders.items() if not name.endswith("/confirm")}
    return replace(prepared, setup=replace(prepared.setup, encoded=searched), confirm=confirm)


def for_workers(setup: WorkerSetup) -> WorkerSetup:
    """Return a setup without the training samples that workers read from storage alone."""

    def needed(name: str) -> bool:
        folder = setup.encoded.get(name)
        return folder is None or SetIndex.read(Path(folder)).streamed

    tasks = [task if needed(f"{task.name}/train") else replace(task, train=()) for task in setup.tasks]
    return replace(setup, tasks=tuple(tasks), replay=setup.replay if needed(REPLAY) else ())


def _splits(prepared: Prepared) -> dict[str, tuple[Sample, ...]]:
    setup, confirm = prepared.setup, prepared.confirm
    splits = {f"{task.name}/train": task.train for task in setup.tasks}
    splits |= {f"{task.name}/search": task.search for task in setup.tasks}
    splits |= {f"{task.name}/confirm": task.search for task in (confirm.tasks if confirm else ())}
    return {name: samples for name, samples in {**splits, REPLAY: setup.replay}.items() if samples}


def _key(prepared: Prepared, name: str, samples: Sequence[Sample]) -> str:
    """Return the content hash of everything that a split's encoded samples depend on."""
    replayed = prepared.config.training.replay or ()
    names = [f"{task}/train" for task in replayed] if name == REPLAY else [name]
    parts = [prepared.model_fingerprint, prepared.setup.dtype]
    parts += [prepared.data_fingerprints[each] for each in names]
    parts.append("".join("01"[sample.teaches_history] for sample in samples))
    parts += [f"{name} {metadata.version(name)}" for name in _NAMES]
    digest = hashlib.sha256("\n".join(parts).encode())
    for module in (chat, collate, encoded_set, encoded_writer, images):
        assert module.__file__ is not None
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()


def _is_whole(folder: Path) -> bool:
    try:
        SetIndex.read(folder)
    except EncodedSetError:
        return False
    return True


def _planned(prepared: Prepared, samples: Sequence[Sample], folder: Path) -> _Work:
    """Estimate from a few samples what encoding a split takes; one that can't be encoded tells nothing."""
    encoder = Encoder.load(prepared.setup.model, trust=prepared.setup.trust_remote_code)
    probed, size, began = 0, 0, time.perf_counter()
    for sample in samples[:: math.ceil(len(samples) / _PROBED)]:
        try:
            size += _size(encoder.encode(sample), getattr(torch, prepared.setup.dtype))
            probed += 1
        except SampleError:
            continue
    scale = len(samples) / max(1, probed)
    folder.mkdir(parents=True, exist_ok=True)
    room = min(prepared.config.data.cache_gib * GIB, shutil.disk_usage(folder).free)
    return _Work(
        samples=samples,
        folder=folder,
        seconds=(time.perf_counter() - began) * scale,
        size=size * scale,
        streamed=size * scale > room,
    )


def _size(sample: EncodedSample, dtype: torch.dtype) -> int:
    narrow = dtype.itemsize / torch.float32.itemsize
    images = sum(
        int(tensor.nbytes * (narrow if tensor.is_floating_point() else 1))
        for tensor in sample.extras.values()
    )
    return images + sum(tensor.nbytes for tensor in sample.tokens.values())


def _encode(prepared: Prepared, work: Sequence[_Work], console: Console) -> None:
    total = sum(len(each.samples) for each in work)
    if not console.is_terminal:
        console.print(f"encoding {counted(total, 'sample')}")
    bar = Progress(
        TextColumn("encoding samples"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=total)
        here = sum(each.seconds for each in work) <= _SOON
        (_encode_here if here else _encode_by_tasks)(prepared.setup, work, lambda n: bar.advance(task, n))


def _encode_here(setup: WorkerSetup, work: Sequence[_Work], advance: Callable[[int], None]) -> None:
    for each in work:
        part, bad = encode_part(
            setup.model,
            each.samples,
            each.folder / "part-00000.arrow",
            getattr(torch, setup.dtype),
            streamed=each.streamed,
            follow=lambda: advance(1),
            trust=setup.trust_remote_code,
        )
        SetIndex((part,), tuple(bad), each.streamed).write(each.folder)


def _encode_by_tasks(setup: WorkerSetup, work: Sequence[_Work], advance: Callable[[int], None]) -> None:
    """Encode the parts of all splits on all nodes, few more at a time than there are cores."""
    cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
    encode = ray.remote(num_cpus=1, scheduling_strategy="SPREAD")(encode_part)
    coming = iter(
        [
            (index, number, rows)
            for index, each in enumerate(work)
            for number, rows in enumerate(each.parts(cores))
        ]
    )
    running: dict[Any, tuple[int, int, range]] = {}
    done: dict[tuple[int, int], tuple[Part, list[tuple[int, str]]]] = {}

    def start() -> None:
        if (item := next(coming, None)) is not None:
            index, number, rows = item
            each = work[index]
            samples = each.samples[rows.start : rows.stop]
            path = each.folder / f"part-{number:05d}.arrow"
            future = encode.remote(
                setup.model,
                samples,
                path,
                getattr(torch, setup.dtype),
                streamed=each.streamed,
                trust=setup.trust_remote_code,
            )
            running[future] = item

    for _ in range(2 * cores):
        start()
    while running:
        (future,), _ = ray.wait(list(running), num_returns=1)
        index, number, rows = running.pop(future)
        part, bad = ray.get(future)
        done[index, number] = part, [(rows.start + position, reason) for position, reason in bad]
        advance(len(rows))
        start()
    for index, each in enumerate(work):
        parts = [done[key] for key in sorted(done) if key[0] == index]
        bad = [one for _, found in parts for one in found]
        SetIndex(tuple(part for part, _ in parts), tuple(bad), each.streamed).write(each.folder)
