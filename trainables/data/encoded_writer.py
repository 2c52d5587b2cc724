"""Writing encoded samples to storage; see `encoded_set` for how they lie there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import torch
from torch import Tensor

from trainables.collate import EncodedSample, Encoder
from trainables.data.bad_samples import SampleError
from trainables.data.encoded_set import ALIGNMENT, Part
from trainables.data.samples import Sample
from trainables.files import written_atomically

_SCHEMA: Final = pa.schema([("header", pa.binary()), ("content", pa.large_binary())])
_BATCH: Final = 32 * 2**20  # bytes of content that are written at a time


def encode_part(
    model: str,
    samples: Iterable[Sample],
    path: Path,
    dtype: torch.dtype,
    *,
    streamed: bool = False,
    follow: Callable[[], None] = lambda: None,
    trust: bool = False,
) -> tuple[Part, list[tuple[int, str]]]:
    """Encode samples and write them.

    Args:
        model: Hub id, folder or embedded name of the model that they are encoded for.
        samples: The samples.
        path: The file to write.
        dtype: Type of the model's weights.
        streamed: Whether the float inputs of images are left out.
        follow: Called after each sample.
        trust: Whether code that the model brings may run.

    Returns:
        The part, and the samples that could not be encoded: their position among `samples`, and why.

    Raises:
        ModelError: The model's processor can't be loaded.
    """
    encoder, bad = _encoder(model, trust), []

    def encoded() -> Iterable[EncodedSample]:
        for position, sample in enumerate(samples):
            try:
                yield encoder.encode(sample)
            except SampleError as error:
                bad.append((position, error.reason))
            follow()

    return write_part(path, encoded(), dtype, streamed=streamed), bad


@cache
def _encoder(model: str, trust: bool) -> Encoder:
    return Encoder.load(model, trust=trust)


def write_part(
    path: Path, samples: Iterable[EncodedSample], dtype: torch.dtype, *, streamed: bool = False
) -> Part:
    """Write encoded samples as one file of a set, which is there whole or not at all.

    Args:
        path: The file.
        samples: The samples.
        dtype: Type of the model's weights. For bfloat16 the float inputs of images are stored as such: it is
            what models turn them into before anything else.
        streamed: Whether these are left out; their types and shapes are kept.
    """
    rows = 0
    seen: dict[bytes, int] = {}  # digest of an image's tensors -> row that holds them
    headers: list[bytes] = []
    contents: list[bytes] = []
    with written_atomically(path) as stream:
        with pa.ipc.new_file(stream, _SCHEMA) as writer:
            for sample in samples:
                extras = {name: _narrowed(tensor, dtype) for name, tensor in sample.extras.items()}
                images = [_stored(tensor, streamed) for tensor in extras.values()]
                digest = hashlib.sha256(b"".join(images)).digest()
                same = seen.setdefault(digest, rows) if images else rows
                header = {
                    "prompt_length": sample.prompt_length,
                    "earlier": sample.earlier,
                    "tokens": _described(sample.tokens),
                    "choices": _described(dict(enumerate(sample.choices))),
                    "extras": _described(extras, streamed=streamed),
                    "same_extras": None if same == rows else same,
                }
                own = [_stored(tensor) for tensor in (*sample.tokens.values(), *sample.choices)]
                headers.append(json.dumps(header).encode())
                contents.append(b"".join([*own, *(images if same == rows else ())]))
                rows += 1
                if sum(map(len, contents)) >= _BATCH:
                    _write(writer, headers, contents)
            _write(writer, headers, contents)
        size = stream.tell()
    return Part(path.name, rows, size)


def _write(writer: Any, headers: list[bytes], contents: list[bytes]) -> None:
    columns = [pa.array(headers, pa.binary()), pa.array(contents, pa.large_binary())]
    writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))
    headers.clear()
    contents.clear()


def _narrowed(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.bfloat16() if dtype == torch.bfloat16 and tensor.dtype == torch.float32 else tensor


def _described(
    tensors: Mapping[Any, Tensor], *, streamed: bool = False
) -> list[tuple[str, str, list[int], bool]]:
    return [
        (str(name), _name(tensor.dtype), list(tensor.shape), not (streamed and tensor.is_floating_point()))
        for name, tensor in tensors.items()
    ]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _stored(tensor: Tensor, streamed: bool = False) -> bytes:
    """Return a tensor's bytes, filled up to where the next one may start."""
    if streamed and tensor.is_floating_point():
        return b""
    content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return content + bytes(-len(content) % ALIGNMENT)
