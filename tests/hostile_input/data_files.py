"""Data files that are wrong: text, tables and images, as a study's only training split."""

from __future__ import annotations

import base64
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from hostile_input.cases import ESCAPE, Case, write_study

_ROW: Final = {"prompt": "one?", "answer": "1"}
_KEY: Final = "tasks.birds.train"


def _line(**changes: Any) -> str:
    return json.dumps({**_ROW, **changes}) + "\n"


def _png(width: int = 4, height: int = 4) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(made, format="PNG")
    return made.getvalue()


def _png_header(width: int, height: int) -> bytes:
    """Return a PNG that is said to have a size, and has no picture."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    data = zlib.compress(b"\0" * 100)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(head))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", len(data))
        + b"IDAT"
        + data
        + struct.pack(">I", zlib.crc32(b"IDAT" + data))
        + b"\0\0\0\0IEND\xaeB`\x82"
    )


def _jpeg() -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 30, 30)).save(made, format="JPEG")
    return made.getvalue()


def _parquet(**columns: list[Any]) -> bytes:
    made = io.BytesIO()
    pq.write_table(pa.table(columns), made)
    return made.getvalue()


def _arrow() -> bytes:
    made = io.BytesIO()
    table = pa.table({"prompt": ["one?"], "answer": ["1"]})
    with pa.ipc.new_file(made, table.schema) as writer:
        writer.write_table(table)
    return made.getvalue()


def _zip() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("train.jsonl", _line())
    return made.getvalue()


# Name -> the file's name and content, and what the line says.
_FILES: Final[dict[str, tuple[str, str | bytes, tuple[str, ...]]]] = {
    "empty": ("a.jsonl", "", (_KEY, "a.jsonl holds no sample")),
    "blank-lines": ("a.jsonl", "\n \n\n", (_KEY, "holds no sample")),
    "not-json": ("a.jsonl", "prompt: one\n", ("a.jsonl:1: not JSON",)),
    "cut": ("a.jsonl", _line() + _line()[:12], ("a.jsonl:2: not JSON",)),
    "single-quotes": ("a.jsonl", str(_ROW) + "\n", ("a.jsonl:1: not JSON",)),
    "list": ("a.jsonl", "[1, 2]\n", ("a.jsonl:1: expected an object", "list")),
    "number": ("a.jsonl", "3\n", ("a.jsonl:1: expected an object", "int")),
    "null": ("a.jsonl", "null\n", ("a.jsonl:1: expected an object",)),
    "empty-object": ("a.jsonl", "{}\n", ("a.jsonl:1",)),
    "other-columns": ("a.jsonl", '{"promt": "x", "anser": "y"}\n', ("did you mean 'prompt'",)),
    "answer-missing": ("a.jsonl", '{"prompt": "x"}\n', ("a.jsonl:1", "answer")),
    "answer-null": ("a.jsonl", _line(answer=None), ("a.jsonl:1", "answer")),
    "answer-empty": ("a.jsonl", _line(answer=""), ("a.jsonl:1", "answer", "empty")),
    "answer-list-of-lists": ("a.jsonl", _line(answer=[[1]]), ("a.jsonl:1", "must be a text")),
    "answer-object": ("a.jsonl", _line(answer={"a": 1}), ("a.jsonl:1", "must be a text")),
    "answer-bool": ("a.jsonl", _line(answer=True), ("a.jsonl:1", "must be a text")),
    "answer-nan": ("a.jsonl", '{"prompt": "x", "answer": NaN}\n', ("a.jsonl:1", "nan")),
    "answer-inf": ("a.jsonl", '{"prompt": "x", "answer": 1e999}\n', ("a.jsonl:1", "inf")),
    "number-of-5000-digits": ("a.jsonl", '{"prompt": "x", "answer": ' + "9" * 5000 + "}\n", ("a.jsonl:1",)),
    "prompt-number-list": ("a.jsonl", _line(prompt=[1]), ("a.jsonl:1", "prompt")),
    "lone-surrogate": ("a.jsonl", '{"prompt": "\\ud800", "answer": "1"}\n', ("a.jsonl:1: not UTF-8 text",)),
    "surrogate-key": ("a.jsonl", '{"prompt": "x", "answer": "1", "\\udc80": 1}\n', ("not UTF-8 text",)),
    "escape-in-id": ("a.jsonl", _line(id=ESCAPE) * 2, ("a.jsonl:2", "also that of")),
    "escape-in-key": ("a.jsonl", json.dumps({f"pr{ESCAPE}": 1}) + "\n", ("a.jsonl:1",)),
    "newline-in-key": ("a.jsonl", json.dumps({"pr\nerror: x": 1}) + "\n", ("a.jsonl:1",)),
    "deep": ("a.jsonl", '{"prompt": ' + "[" * 50000 + "]" * 50000 + "}\n", ("nested too deeply",)),
    "deep-101": ("a.jsonl", '{"prompt": ' + "[" * 120 + "]" * 120 + "}\n", ("nested too deeply",)),
    "utf-16": ("a.jsonl", _line().encode("utf-16"), ("a.jsonl:1: not UTF-8",)),
    "latin-1": ("a.jsonl", '{"prompt": "café", "answer": "1"}\n'.encode("latin-1"), ("not UTF-8",)),
    "nul-bytes": ("a.jsonl", b"\0" * 64, ("a.jsonl:1: not JSON",)),
    "random-bytes": ("a.jsonl", bytes(range(256)) * 8, ("a.jsonl:1",)),
    "pickle": ("a.jsonl", b"\x80\x04cos\nsystem\n(S'touch hacked'\ntR.", ("a.jsonl:1: not UTF-8",)),
    "gzip-by-name": ("a.jsonl.gz", _line(), ("a.jsonl.gz",)),
    "zip": ("a.zip", _zip(), ("a.zip", "unknown type of file")),
    "tar": ("a.tar", b"\0" * 512, ("a.tar",)),
    "pickle-by-name": ("a.pkl", b"\x80\x04cos\nsystem\n(S'touch hacked'\ntR.", ("a.pkl",)),
    "python-by-name": ("a.py", "open('hacked', 'w')\n", ("a.py",)),
    "npy-by-name": ("a.npy", b"\x93NUMPY\x01\0", ("a.npy",)),
    "no-ending": ("a", _line(), ("/a",)),
    "json-cut": ("a.json", '[{"prompt": "x", "answer": "1"}, {"pro', ("a.json:1: not JSON",)),
    "json-of-text": ("a.json", '"hello"', ("a.json",)),
    "json-of-two-lists": ("a.json", '{"a": [{"x": 1}], "b": [{"x": 1}]}', ("a.json",)),
    "json-deep": ("a.json", "[" * 100000, ("a.json",)),
    "json-empty": ("a.json", "", ("a.json",)),
    "json-empty-list": ("a.json", "[]", (_KEY, "a.json")),
    "json-of-numbers": ("a.json", "[1, 2, 3]", ("a.json:1",)),
    "json-bytes": ("a.json", b'[{"prompt": "\xff", "answer": "1"}]', ("a.json:1", "not UTF-8")),
    "csv-empty": ("a.csv", "", (_KEY, "a.csv")),
    "csv-head-alone": ("a.csv", "prompt,answer\n", (_KEY, "a.csv")),
    "csv-column-twice": ("a.csv", "prompt,prompt\nx,1\n", ("a.csv:1", "names of their own")),
    "csv-column-unnamed": ("a.csv", "prompt,\nx,1\n", ("a.csv:1", "names of their own")),
    "csv-short-row": ("a.csv", "prompt,answer\nx\n", ("a.csv:2", "1 cells in a table of 2 columns")),
    "csv-long-row": ("a.csv", "prompt,answer\nx,1,2\n", ("a.csv:2", "3 cells in a table of 2")),
    "csv-open-quote": ("a.csv", 'prompt,answer\n"x,1\ny,2\n', ("a.csv:2", "not CSV")),
    "csv-odd-quote": ("a.csv", 'prompt,answer\n"x"y,1\n', ("a.csv:2", "not CSV")),
    "csv-nul": ("a.csv", "prompt,answer\nx\0,\0\n", ("a.csv",)),
    "csv-bytes": ("a.csv", b"prompt,answer\nx,\xff\n", ("a.csv:2", "not UTF-8")),
    "csv-utf-16": ("a.csv", "prompt,answer\nx,1\n".encode("utf-16"), ("a.csv",)),
    "csv-escape": ("a.csv", f"pro{ESCAPE}mpt,answer\nx,1\n", ("a.csv",)),
    "csv-formula-columns": ("a.csv", "=cmd|'/c calc'!A1,answer\nx,1\n", ("a.csv:2",)),
    "tsv-as-csv": ("a.csv", "prompt\tanswer\nx\t1\n", ("a.csv",)),
    "parquet-empty": ("a.parquet", b"", ("a.parquet: not a Parquet file",)),
    "parquet-text": ("a.parquet", _line(), ("a.parquet: not a Parquet file",)),
    "parquet-magic-alone": ("a.parquet", b"PAR1PAR1", ("a.parquet: not a Parquet file",)),
    "parquet-huge-footer": ("a.parquet", b"PAR1" + b"\xff\xff\xff\x7fPAR1", ("a.parquet: not a Parquet",)),
    "parquet-cut": ("a.parquet", _parquet(prompt=["x"], answer=["1"])[:-20], ("a.parquet: not a Parquet",)),
    "parquet-headless": ("a.parquet", _parquet(prompt=["x"], answer=["1"])[9:], ("a.parquet",)),
    "parquet-no-columns": ("a.parquet", _parquet(other=["x"]), ("a.parquet row 1",)),
    "parquet-of-nulls": ("a.parquet", _parquet(prompt=[None], answer=[None]), ("a.parquet row 1",)),
    "parquet-no-rows": ("a.parquet", _parquet(prompt=[], answer=[]), (_KEY, "a.parquet")),
    "parquet-nested": ("a.parquet", _parquet(prompt=[[["x"]]], answer=["1"]), ("a.parquet row 1", "prompt")),
    "arrow-empty": ("a.arrow", b"", ("a.arrow",)),
    "arrow-text": ("a.arrow", _line(), ("a.arrow: not an Arrow file",)),
    "arrow-cut": ("a.arrow", _arrow()[:-40], ("a.arrow",)),
    "arrow-magic-alone": ("a.arrow", b"ARROW1\0\0", ("a.arrow",)),
}

# Name -> the image's content, or its name where that is wrong, and what the line says.
_IMAGES: Final[dict[str, tuple[bytes, tuple[str, ...]]]] = {
    "zero-bytes": (b"", ("picture.png", "can't be read")),
    "text": (b"no image", ("picture.png", "not an image that Pillow knows")),
    "cut": (_png(64, 64)[:60], ("picture.png", "can't be read")),
    "magic-alone": (b"\x89PNG\r\n\x1a\n", ("picture.png",)),
    "jpeg-magic-alone": (b"\xff\xd8\xff\xe0", ("picture.png",)),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>x</script></svg>", ("not an image",)),
    "html": (b"<html><script>x</script></html>", ("not an image",)),
    "pdf": (b"%PDF-1.4\n", ("picture.png",)),
    "postscript": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) run\n",
        ("picture.png",),
    ),
    "bomb": (_png_header(60_000, 60_000), ("too large", "89,478,485")),
    "bomb-over-2-gigapixels": (_png_header(2**31 - 1, 2**31 - 1), ("picture.png", "too large")),
    "wide": (_png_header(2**30, 1), ("too large",)),
    "no-width": (_png_header(0, 9), ("picture.png",)),
    "pickle": (b"\x80\x04cos\nsystem\n(S'touch hacked'\ntR.", ("not an image",)),
    "zip": (_zip(), ("not an image",)),
}

_IMAGE_NAMES: Final[dict[str, tuple[Any, tuple[str, ...]]]] = {
    "missing": ("pictur.png", ("a.jsonl:1", "no such image")),
    "parent": ("../outside.png", ("a.jsonl:1", "lies outside")),
    "parent-by-way": ("sub/../../outside.png", ("a.jsonl:1", "lies outside")),
    "absolute": ("/etc/passwd", ("a.jsonl:1", "lies outside")),
    "device": ("/dev/zero", ("a.jsonl:1", "lies outside")),
    "link-out": ("link.png", ("a.jsonl:1", "lies outside")),
    "link-to-itself": ("loop.png", ("a.jsonl:1",)),
    "link-to-a-folder-out": ("way/outside.png", ("a.jsonl:1", "lies outside")),
    "fifo": ("fifo.png", ("a.jsonl:1", "no such image")),
    "folder": ("sub", ("a.jsonl:1", "no such image")),
    "file-url": ("file:///etc/passwd", ("a.jsonl:1", "not fetched")),
    "http-url": ("http://127.0.0.1:9/x.png", ("a.jsonl:1", "not fetched")),
    "upper-http-url": ("HTTP://127.0.0.1:9/x.png", ("a.jsonl:1", "not fetched")),
    "s3-url": ("s3://bucket/x.png", ("a.jsonl:1", "not fetched")),
    "hf-url": ("hf://datasets/a/b/x.png", ("a.jsonl:1", "not fetched")),
    "zip-url": ("zip://x.png::http://127.0.0.1:9/a.zip", ("a.jsonl:1", "not fetched")),
    "unc": ("\\\\server\\share\\x.png", ("a.jsonl:1",)),
    "home": ("~/x.png", ("a.jsonl:1", "no such image")),
    "nul": ("a\0.png", ("a.jsonl:1", "null byte")),
    "long": ("a" * 6000 + ".png", ("a.jsonl:1",)),
    "escape": (ESCAPE, ("a.jsonl:1",)),
    "number": (3, ("a.jsonl:1", "must be a path")),
    "bool": (True, ("a.jsonl:1", "must be a path")),
    "object": ({"url": "x"}, ("a.jsonl:1", "must be a path")),
    "nested-path": ({"path": "../outside.png"}, ("a.jsonl:1", "lies outside")),
    "data-url-of-text": ("data:text/html;base64,PHNjcmlwdD4=", ("a.jsonl:1",)),
    "data-url-broken": ("data:image/png;base64,@@@@", ("a.jsonl:1", "not base64")),
    "data-url-plain": ("data:image/png,xyz", ("a.jsonl:1", "must hold base64")),
    "data-url-bomb": (
        "data:image/png;base64," + base64.b64encode(_png_header(60_000, 60_000)).decode(),
        ("a.jsonl:1", "too large"),
    ),
}

# Name -> what stands at the data file's place, and what the line says.
_PLACES: Final[dict[str, tuple[Callable[[Path], object], tuple[str, ...]]]] = {
    "missing": (lambda path: path.with_name("b.jsonl").write_text(""), ("no such file", "did you mean")),
    "fifo": (lambda path: os.mkfifo(path), ("a.jsonl", "no regular file")),
    "device": (lambda path: path.symlink_to("/dev/zero"), ("a.jsonl", "no regular file")),
    "unreadable": (lambda path: path.symlink_to("/proc/self/mem"), ("a.jsonl", "can't be read")),
    "link-to-itself": (lambda path: path.symlink_to(path), ("a.jsonl",)),
    "empty-folder": (lambda path: path.mkdir(), ("a.jsonl",)),
    "folder-of-fifo": (lambda path: (path.mkdir(), os.mkfifo(path / "x.jsonl")), ("a.jsonl",)),
    "folder-of-script": (
        lambda path: (path.mkdir(), (path / f"{path.name}.py").write_text("open('hacked', 'w')\n")),
        ("a.jsonl",),
    ),
}

# Other values of the key, and what the line says.
_VALUES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "url": ("http://127.0.0.1:9/a.jsonl", (_KEY,)),
    "file-url": ("file:///etc/passwd", (_KEY,)),
    "pattern": ("*.jsonl", (_KEY, "no patterns")),
    "passwd": ("/etc/passwd", (_KEY, "passwd")),
    "empty": ("", (_KEY,)),
    "nul": ("a\0b.jsonl", (_KEY,)),
    "long": ("a" * 5000 + ".jsonl", (_KEY,)),
    "escape": (f"{ESCAPE}.jsonl", (_KEY,)),
}


def _training(folder: Path, file: str, **keys: Any) -> Sequence[str | Path]:
    task = {"train": file, "search": "search.jsonl", **keys}
    return ("run", write_study(folder, tasks={"birds": task}))


def _file(name: str, content: str | bytes) -> Callable[[Path], Sequence[str | Path]]:
    def make(folder: Path) -> Sequence[str | Path]:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return _training(folder, name)

    return make


def _image(content: bytes) -> Callable[[Path], Sequence[str | Path]]:
    def make(folder: Path) -> Sequence[str | Path]:
        (folder / "picture.png").write_bytes(content)
        (folder / "a.jsonl").write_text(_line(image="picture.png"))
        return _training(folder, "a.jsonl")

    return make


def _image_name(name: Any) -> Callable[[Path], Sequence[str | Path]]:
    def make(folder: Path) -> Sequence[str | Path]:
        data = folder / "data"
        (data / "sub").mkdir(parents=True)
        (folder / "outside.png").write_bytes(_png())
        (data / "link.png").symlink_to(folder / "outside.png")
        (data / "loop.png").symlink_to("loop.png")
        (data / "way").symlink_to(folder)
        os.mkfifo(data / "fifo.png")
        (data / "a.jsonl").write_text(_line(image=name))
        return _training(folder, "data/a.jsonl")

    return make


def _place(leave: Callable[[Path], object]) -> Callable[[Path], Sequence[str | Path]]:
    def make(folder: Path) -> Sequence[str | Path]:
        leave(folder / "a.jsonl")
        return _training(folder, "a.jsonl")

    return make


def _value(value: str) -> Callable[[Path], Sequence[str | Path]]:
    return lambda folder: _training(folder, value)


CASES: Final = [
    *(Case(name=f"file-{n}", make=_file(f, c), says=says) for n, (f, c, says) in _FILES.items()),
    *(Case(name=f"image-{n}", make=_image(c), says=says) for n, (c, says) in _IMAGES.items()),
    *(Case(name=f"image-name-{n}", make=_image_name(v), says=says) for n, (v, says) in _IMAGE_NAMES.items()),
    *(Case(name=f"place-{n}", make=_place(leave), says=says) for n, (leave, says) in _PLACES.items()),
    *(Case(name=f"value-{n}", make=_value(v), says=says) for n, (v, says) in _VALUES.items()),
]
