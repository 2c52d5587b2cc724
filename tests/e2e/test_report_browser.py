"""The report in a real browser: drawn, inert towards hostile texts, and silent towards the network."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from made_study import Answered, config, record, trial, with_answers

from search.records.study_record import StudyRecord
from search.report import render_report
from search.results import TrialState
from search.selection import select
from trainables.data.samples import Sample

if TYPE_CHECKING:
    from conftest import Browser

ATTACK = "<script>alert(1)</script>"
DARK_INK, LIGHT_INK = "rgb(232, 234, 237)", "rgb(28, 32, 38)"


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a look at a page brought: its document, its words to the console, its requests to the network."""

    dom: str
    console: list[str]
    requests: set[str]


def look(browser: Browser, page: Path, *options: str) -> Look:
    profile = browser.new_profile()
    log = profile / "net.json"
    command = [
        browser.executable,
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"),
        *(
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ),
        *("--enable-logging=stderr", "--virtual-time-budget=10000", f"--log-net-log={log}"),
        *(f"--user-data-dir={profile / 'data'}", *options, "--dump-dom", page.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=browser.timeout, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    events = json.loads(log.read_text(encoding="utf-8"))["events"]
    # The browser itself also asks for things; those requests say "not an origin".
    asked = [event["params"] for event in events if "initiator" in event.get("params", {})]
    urls = {request["url"] for request in asked if request["initiator"] != "not an origin"}
    return Look(
        dom=done.stdout,
        console=[line for line in done.stderr.splitlines() if "CONSOLE" in line],
        requests={url for url in urls if url.startswith(("http:", "https:", "ws:", "wss:"))},
    )


def save(folder: Path, study: StudyRecord) -> Path:
    page = folder / "report.html"
    page.write_text(render_report(study, select(study.trials, study.objective)), encoding="utf-8")
    return page


def made() -> StudyRecord:
    study = config(max_forgetting=5)
    return record(
        [
            trial(0, [{"count": 30.0}, {"count": 40.0, "colour": 88.0}], study=study, preset="paper_gate_up"),
            trial(1, [{"count": 20.0}, {"count": 35.0}], study=study, subset="full", learning_rate=2e-4),
            trial(2, [{"count": 20.0}], study=study, subset="full", state=TrialState.PRUNED),
            trial(3, [{"clock": 90.0, "colour": 20.0}], study=study, subset="projector", learning_rate=2e-2),
            trial(4, study=study, state=TrialState.FAILED, error="out of memory"),
        ],
        study=study,
    )


def test_the_browser_would_notice_requests_and_errors(browser: Browser, tmp_path: Path) -> None:
    """The control: without it, the silence below could be that of a deaf test."""
    page = tmp_path / "loud.html"
    page.write_text("<img src='http://127.0.0.1:9/x.png'><script>nowhere()</script>", encoding="utf-8")
    seen = look(browser, page)
    assert "http://127.0.0.1:9/x.png" in seen.requests
    assert any("nowhere is not defined" in line for line in seen.console)


def test_every_plot_is_drawn_and_nothing_leaves_the_page(browser: Browser, tmp_path: Path) -> None:
    seen = look(browser, save(tmp_path, made()))
    places = re.findall(
        r'<div class="plot[^"]*" id="plot-\w+" data-plot="(\w+)"[^>]*>(.{200})', seen.dom, re.DOTALL
    )
    assert len(places) == 7
    for name, inside in places:
        assert "plot-container" in inside, name
    assert seen.dom.count('class="main-svg"') >= len(places)
    assert seen.dom.count('class="point"') > 20
    assert seen.console == []
    assert seen.requests == set()


def test_hostile_texts_stay_texts(browser: Browser, tmp_path: Path) -> None:
    base = {"count": 10.0, "clock": 20.0, ATTACK: 90.0}
    study = config(held_out=[ATTACK]).model_copy(update={"name": ATTACK})
    trials = [
        trial(0, [{"count": 40.0}, {"count": 40.0, ATTACK: 80.0}], study=study, base=base, preset=ATTACK),
        trial(1, study=study, base=base, state=TrialState.FAILED, error=ATTACK),
    ]
    seen = look(browser, save(tmp_path, record(trials, study=study, base=base)))
    text = "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert "<script>alert" not in seen.dom
    assert len(re.findall(r"<script[ >]", seen.dom)) == 3
    assert f'<p class="study">Study {text}</p>' in seen.dom
    assert re.search(r'<td class="text wrap">[^<]*' + re.escape(text), seen.dom)
    # A tick label of the heat map, drawn by plotly.
    assert re.search(r"<text[^>]*>" + re.escape(text) + "</text>", seen.dom)
    assert seen.console == []


BREAK_OUT = "</script></title><img src=x onerror=\"document.title='hacked'\"><!--<script>"


def test_what_would_break_out_of_a_script_or_an_attribute_stays_text(
    browser: Browser, tmp_path: Path
) -> None:
    base = {"count": 10.0, "clock": 20.0, BREAK_OUT: 90.0}
    study = config(held_out=[BREAK_OUT]).model_copy(update={"name": BREAK_OUT})
    trials = [
        trial(
            0, [{"count": 40.0}, {"count": 40.0, BREAK_OUT: 80.0}], study=study, base=base, preset=BREAK_OUT
        ),
        trial(1, study=study, base=base, state=TrialState.FAILED, error=BREAK_OUT),
    ]
    seen = look(browser, save(tmp_path, record(trials, study=study, base=base)))
    title = re.search(r"<title>(.*?)</title>", seen.dom, re.DOTALL)
    assert title is not None
    assert title[1] != "hacked"
    assert not re.search(r"<img[^>]* onerror=", seen.dom)
    assert len(re.findall(r"<script[ >]", seen.dom)) == 3
    assert seen.dom.count("&lt;img src=x onerror=") >= 3
    assert seen.console == []


PROBE = """
document.body.dataset.pictures = JSON.stringify([...document.images].map(
  image => [image.naturalWidth, image.width, getComputedStyle(image).imageRendering]));
"""


def test_examples_show_their_images_and_hostile_answers_as_text(browser: Browser, tmp_path: Path) -> None:
    """A script of our own, let in by its hash, asks the browser what became of the images."""
    failed = record([trial(0, state=TrialState.FAILED, error="out of memory")])
    small, large = (np.zeros((size, size, 3), dtype=np.uint8) for size in (32, 500))
    hostile = Sample(id="a", prompt=ATTACK, answer=ATTACK, images=(small, large))
    long = Sample(id="b", where=ATTACK, prompt=ATTACK * 10, answer="red")
    study = with_answers(
        failed,
        Answered("count", [hostile], [(ATTACK, 0.0)], [("2", 100.0)]),
        Answered("colour", [long], [("red", 100.0)], [(ATTACK, 0.0)]),
    )
    page = save(tmp_path, study)
    html = page.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
    html = html.replace("script-src 'none'", f"script-src 'sha256-{digest}'")
    page.write_text(html.replace("</body>", f"<script>{PROBE}</script></body>"), encoding="utf-8")
    seen = look(browser, page)
    pictures = re.search(r'data-pictures="([^"]*)"', seen.dom)
    assert pictures
    # A tiny one is enlarged four times, its pixels staying squares; of a large one there is a copy.
    tiny, copy = json.loads(unescape(pictures[1]))
    assert tiny == [32, 128, "pixelated"]
    assert copy[0] == 288
    assert 0 < copy[1] <= 288
    assert "<script>alert" not in seen.dom
    assert len(re.findall(r"<script[ >]", seen.dom)) == 1
    text = "&lt;script&gt;alert(1)&lt;/script&gt;"
    # Of the first sample prompt, reference and the base's answer; of the second ten in its prompt, six of
    # them once more in its beginning, the tuned answer and the file.
    assert seen.dom.count(text) == 3 + (10 + 6) + 2
    assert "alt=\"Image 1 of 2 of sample 'a', 32 by 32 pixels\"" in seen.dom
    assert seen.console == []
    assert seen.requests == set()


@pytest.mark.parametrize(("scheme", "ink"), [(0, DARK_INK), (1, LIGHT_INK)], ids=["dark", "light"])
def test_plots_follow_the_colour_scheme(browser: Browser, tmp_path: Path, scheme: int, ink: str) -> None:
    seen = look(browser, save(tmp_path, made()), f"--blink-settings=preferredColorScheme={scheme}")
    inks = set(re.findall(r'class="legendtext"[^>]*fill: (rgb\([^)]*\))', seen.dom))
    assert inks == {ink}


def test_a_study_without_a_result_is_a_page_too(browser: Browser, tmp_path: Path) -> None:
    failed = trial(0, state=TrialState.FAILED, error="out of memory")
    seen = look(browser, save(tmp_path, record([failed])))
    assert "Keep the base model" in seen.dom
    assert "plotly" not in seen.dom
    assert len(seen.dom) < 100_000
    assert seen.console == []
