"""Bad rows where they may be left out: each is counted and named, and the good ones stay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hostile_input.cases import write_study

from search import cli
from search.settings.study_file import load_study

# Line of a JSON Lines file -> what is said of it.
BAD_LINES = {
    b"{": "not JSON",
    b"[1]": "expected an object",
    b'{"prompt": "x"}': "no column",
    b'{"prompt": "x", "answer": NaN}': "nan",
    b'{"prompt": "x", "answer": 1e999}': "inf",
    b'{"prompt": "x", "answer": {"a": 1}}': "must be a text",
    b'{"prompt": "\\ud800", "answer": "1"}': "not UTF-8",
    b'{"prompt": "\xff", "answer": "1"}': "not UTF-8",
    b"\0\0\0": "not JSON",
    b'{"prompt": ' + b"[" * 50_000: "nested too deeply",
    b'{"prompt": "p", "answer": "1", "image": "../x.png"}': "lies outside",
    b'{"prompt": "p", "answer": "1", "image": "/dev/zero"}': "lies outside",
    b'{"prompt": "p", "answer": "1", "image": "http://127.0.0.1:9/x.png"}': "not fetched",
    b'{"prompt": "p", "answer": "1", "image": "empty.png"}': "can't be read",
    b'{"prompt": "p", "answer": "1", "image": "none.png"}': "no such image",
    b'{"prompt": "p\x1b[31m", "answer": "1"}': "not JSON",
}


def test_each_is_counted_and_the_good_ones_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.png").write_bytes(b"")
    good = [json.dumps({"prompt": f"{i}?", "answer": "1"}).encode() for i in range(4)]
    (tmp_path / "mixed.jsonl").write_bytes(b"\n".join([*good[:2], *BAD_LINES, *good[2:]]))
    study = write_study(tmp_path, tasks={"birds": {"train": "mixed.jsonl", "search": "search.jsonl"}})
    skipping = ("data.on_bad_sample=skip", "data.max_bad_share=1")
    task = load_study(study, skipping).resolved_tasks()["birds"]
    bad = []  # type: ignore[var-annotated]
    assert [sample.prompt for sample in task.load("train", bad=bad)] == ["0?", "1?", "2?", "3?"]
    assert len(bad) == len(BAD_LINES)
    for line, (error, says) in enumerate(zip(bad, BAD_LINES.values(), strict=True), start=3):
        assert error.label.endswith(f"mixed.jsonl:{line}")
        assert says in error.reason

    assert cli.main(["plan", str(study), *skipping, "--json"]) == 0
    (told,) = [text for text in json.loads(capsys.readouterr().out)["data"] if "mixed.jsonl" in text]
    assert f"{len(BAD_LINES)} of " in told or f"{len(BAD_LINES)} samples" in told
    assert not (tmp_path / "runs" / "lesson").exists()
    assert not (tmp_path / "mlflow.db").exists()
