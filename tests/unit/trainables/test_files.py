"""Files that a reader sees whole or not at all: after a kill at any moment, and whoever writes them."""

from __future__ import annotations

import ast
import json
import multiprocessing
import os
import random
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trainables.files import (
    DamagedFile,
    copy_atomically,
    drop_temporaries,
    naming,
    read_object,
    sync_tree,
    syncing,
    write_atomically,
    written_atomically,
)

ROOT = Path(__file__).parents[3]
SIZE = 400_000
KILLS = 12


def _in_pieces(path: Path, content: bytes) -> None:
    with written_atomically(path) as stream:
        for start in range(0, len(content), 4096):
            stream.write(content[start : start + 4096])


def _copied(path: Path, content: bytes) -> None:
    source = path.with_name("source")
    source.write_bytes(content)
    copy_atomically(source, path)


def _plainly(path: Path, content: bytes) -> None:
    path.write_bytes(content[: SIZE // 2])
    with path.open("ab") as stream:
        stream.write(content[SIZE // 2 :])


def _for_ever(write: Callable[[Path, bytes], None], path: Path) -> None:
    while True:
        for letter in (b"a", b"b"):
            write(path, letter * SIZE)


def states_after_kills(write: Callable[[Path, bytes], None], folder: Path, seed: int) -> Counter[str]:
    """Kill a process that writes one file over and over, at drawn moments; count what then lies there."""
    draw, found = random.Random(seed), Counter[str]()
    context = multiprocessing.get_context("fork")
    for _ in range(KILLS):
        path = folder / "file"
        child = context.Process(target=_for_ever, args=(write, path))
        child.start()
        time.sleep(draw.uniform(0.005, 0.06))
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        if path.exists():
            content = path.read_bytes()
            whole = len(content) == SIZE and len(set(content)) == 1
            found["whole" if whole else "half"] += 1
        else:
            found["none"] += 1
    return found


@pytest.mark.parametrize("write", [write_atomically, _in_pieces, _copied])
def test_a_kill_leaves_no_half_file(write: Callable[[Path, bytes], None], tmp_path: Path) -> None:
    found = states_after_kills(write, tmp_path, seed=7)
    assert found["half"] == 0
    assert found["whole"] > 0
    # What a reader's patterns meet beside it are none of its own.
    left = [each.name for each in tmp_path.iterdir() if each.name not in ("file", "source")]
    assert all(name.startswith(".file.") and name.endswith(".tmp") for name in left)


def test_a_plain_write_would_be_found_out(tmp_path: Path) -> None:
    assert states_after_kills(_plainly, tmp_path, seed=7)["half"] > 0


def _failing(path: Path) -> None:
    with written_atomically(path) as stream:
        stream.write(b"half")
        raise ZeroDivisionError


def test_an_error_while_writing_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "er" / "file"
    write_atomically(file, b"before")
    with pytest.raises(ZeroDivisionError):
        _failing(file)
    assert file.read_bytes() == b"before"
    assert list(file.parent.iterdir()) == [file]


def test_writers_of_one_file_at_a_time_do_not_meet(tmp_path: Path) -> None:
    """Neither fails, and what lies there is the one's or the other's; so do processes of one number."""
    barrier = threading.Barrier(2)

    def write(content: bytes) -> None:
        with written_atomically(tmp_path / "file") as stream:
            barrier.wait(timeout=10)
            stream.write(content)
            barrier.wait(timeout=10)

    with ThreadPoolExecutor(2) as threads:
        for written in [threads.submit(write, letter * SIZE) for letter in (b"a", b"b")]:
            written.result(timeout=20)
    assert (tmp_path / "file").read_bytes() in (b"a" * SIZE, b"b" * SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_another_machine_s_process_of_the_same_number_writes_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = set()
    for host in ("node-1", "node-2"):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        with written_atomically(tmp_path / "file"):
            names.update(path.name for path in tmp_path.glob(".file*"))
    assert len(names) == 2


def test_what_killed_writers_left_is_dropped_and_nothing_else(tmp_path: Path) -> None:
    states_after_kills(_in_pieces, tmp_path / "trials" / "0001", seed=7)
    left = [path.name for path in (tmp_path / "trials" / "0001").iterdir()]
    assert sorted(left) != ["file"], "no kill hit a write"
    stays = {"ray/.session.tmp", "trials/.hidden", "trials/file.tmp", "trials/0001/file"}
    for name in stays - {"trials/0001/file"}:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    drop_temporaries(tmp_path, but=tmp_path / "ray")
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == stays


def test_content_and_names_are_brought_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the content, then the name, then the folder; and each folder that was made, from the top."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted(opened: int) -> None:
        done.append(os.path.relpath(os.readlink(f"/proc/self/fd/{opened}"), tmp_path))
        fsync(opened)

    def renamed(self: Path, target: Path) -> Path:
        done.append(f"-> {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", renamed)
    write_atomically(tmp_path / "a" / "b" / "file", b"content")
    made, deeper, temporary, *after = done
    assert (made, deeper, after) == (".", "a", ["-> file", "a/b"])
    assert re.fullmatch(rf"a/b/\.file\.[\w.-]+\.{os.getpid()}\.\d+\.tmp", temporary)
    done.clear()
    sync_tree(tmp_path)
    assert done == ["a", "a/b", "a/b/file", "."]


def test_a_large_file_comes_to_the_disk_in_parts_with_a_sign_before_and_after_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten times 400 bytes, 1000 at a time: after the third, sixth and ninth there are 1200 more."""
    done: list[object] = []
    monkeypatch.setattr(os, "fsync", lambda opened: done.append(os.fstat(opened).st_size))
    with (tmp_path / "file").open("wb") as stream:
        beat = syncing(stream, lambda: done.append("beat"), every=1000)
        for _ in range(10):
            stream.write(bytes(400))
            beat()
    three = ["beat", "beat", "beat"]
    assert done == [*three, 1200, "beat", *three, 2400, "beat", *three, 3600, "beat", "beat"]


class TestReadObject:
    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"{", "not JSON"),
            (b"[]", "expected an object with named values, got list"),
            (b'{"a": NaN}', "NaN is no number"),
            (b'{"a": "\\ud800"}', "not UTF-8"),
            (b"\xff", "not UTF-8 text: invalid start byte at byte 0"),
            (b'{"a":' + b"[" * 100_000, "damaged"),
        ],
    )
    def test_names_the_file_and_what_is_wrong(self, tmp_path: Path, content: bytes, says: str) -> None:
        (tmp_path / "x.json").write_bytes(content)
        with pytest.raises(DamagedFile) as caught:
            read_object(tmp_path / "x.json")
        assert str(caught.value).startswith(f"{tmp_path / 'x.json'}: this file of the study is damaged: ")
        assert says in str(caught.value)

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "x.json")
        with pytest.raises(OSError, match="no regular file"):
            read_object(tmp_path / "x.json")

    def test_a_key_that_is_missing_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DamagedFile, match="it lacks 'b'"), naming(tmp_path / "x.json"):
            json.loads("{}")["b"]


# Calls that write a file, by their last name.
WRITING = {
    *("write_text", "write_bytes", "touch", "to_parquet", "to_csv", "copyfile", "copy2", "copytree"),
    *("save_pretrained", "save_file", "savez", "write_html", "to_json_file", "symlink_to"),
}
DUMPING = {"json.dump", "yaml.dump", "pickle.dump", "torch.save", "np.save", "shutil.copy", "os.open"}
# Who writes otherwise, and why that may be.
EXCEPTIONS = {
    "trainables/files.py open": "the temporary file itself",
    "trainables/files.py os.open": "opens a folder, to bring its names to the disk",
    "search/data/thumbnails.py savez": "into memory, which is then written atomically",
    "search/exports/to_transformers.py save_pretrained": "into a folder beside, which takes its place whole",
    "search/exports/to_transformers.py copytree": "into the same folder",
    "search/clusters/cluster_check.py touch": "an empty file that tells whether nodes share a folder",
    "search/sampler.py touch": "an empty file that Tune asks for; the sampler's state lies with Optuna",
    "search/records/study_lock.py os.open": "a lock, whose content nobody relies on",
    "search/stores/optuna_store.py open": "cuts what a crash left of the last line of Optuna's own file",
}


def _writes(call: ast.Call) -> str | None:
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    if last in WRITING:
        return last
    if name in DUMPING:
        return name
    if last == "open" and name != "Image.open":
        given = (*call.args, *(keyword.value for keyword in call.keywords))
        modes = [
            each.value for each in given if isinstance(each, ast.Constant) and isinstance(each.value, str)
        ]
        if any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes):
            return "open"
    return None


def test_nobody_writes_otherwise() -> None:
    found = set()
    for package in ("search", "spaces", "trainables"):
        for file in (ROOT / package).rglob("*.py"):
            # The embedded model's training is no part of a study.
            if "tiny" in file.parts:
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and (how := _writes(node)) is not None:
                    found.add(f"{file.relative_to(ROOT)} {how}")
    assert found == set(EXCEPTIONS)


def test_the_page_tells_how_many() -> None:
    page = (ROOT / "docs" / "reliability" / "security.md").read_text("utf-8")
    assert f"killed at {KILLS * 3} drawn moments" in " ".join(page.split())
    assert f"{len(EXCEPTIONS)} calls may write otherwise" in " ".join(page.split())
