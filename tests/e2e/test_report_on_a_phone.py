"""The report at a phone's width and by the keyboard, in a real browser that runs for all of these tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from devtools import DevTools, devtools
from made_study import GOOD, MODEST, Answered, config, estimates, finalist, record, trial, with_answers

from search.decision.choices import Choice
from search.report import render_report
from search.results import PointResult, TrialState
from search.selection import select
from spaces.points import Interpolation, Point
from trainables.data.samples import Sample

if TYPE_CHECKING:
    from conftest import Browser

# Of the page's parts only tables, plots and code may be wider than a phone: those scroll by themselves.
OVERFLOWING = """[...document.querySelectorAll('main *, header *, footer *')]
  .filter(part => !part.closest('.scroll, pre, .unseen') && part.getBoundingClientRect().right > 390)
  .map(part => part.outerHTML.slice(0, 100))"""
SHOWN = "[...document.querySelectorAll('.hoverlayer .hovertext')].map(text => text.textContent).join('')"


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Iterator[DevTools]:
    with devtools(browser.executable, browser.new_profile()) as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report with all its sections: 32 trials, points, finalists, choices, examples, start times."""
    study = config(max_forgetting=6)
    subsets = ("gate_up", "sa_proj+gate_up", "vision_projector")
    trials = [
        trial(
            number,
            [{"count": 15.0 + number}, {"count": 20.0 + number, "colour": 90.0 - number / 8}],
            study=study,
            subset=subsets[number % 3],
            layers=("all", "last:1/2")[number % 2],
            learning_rate=10 ** (-5 + number / 8),
            started=1000.0 + 10 * number,
        )
        for number in range(32)
    ]
    trials += [
        trial(32, [GOOD], study=study, state=TrialState.PRUNED, started=1400.0),
        trial(33, study=study, state=TrialState.FAILED, error="out of memory: " + "x" * 200, started=1410.0),
    ]
    best = trials[31]
    point = PointResult(number=0, point=Point(31, 40, Interpolation(0.9)), trial=best, rung=trials[20].last)
    made = record(trials, study=study, seconds=500.0)
    sample = Sample(id="a", prompt="What is it? " * 30, answer="red")
    made = with_answers(made, Answered("count", [sample], [("blue", 0.0)], [("red", 100.0)]))
    last = finalist("trial 31", GOOD, MODEST, study=study)
    made = replace(made, points=(point,), finalists=(last,), confirm_base=made.base)
    selection = replace(
        select(made.trials, made.objective, made.points),
        winner=best,
        point=None,
        estimates={f"trial {each.number}": estimates(each.last.values, study=study) for each in trials[:33]},
        tied=("trial 31", "trial 30"),
        finalist=last,
        choices=(Choice(name="bold", candidate="trial 31", title="The most gain", sentence="Gains most."),),
    )
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(render_report(made, selection), encoding="utf-8")
    return file.as_uri()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_is_cut_off_on_a_phone(tab: DevTools, page: str, dark: bool) -> None:
    tab.open(page, width=390, height=844, dark=dark)
    drawn = tab.wait_for("document.querySelectorAll('.plot .main-svg').length")
    assert drawn >= 9
    assert tab.ask("document.documentElement.scrollWidth") == 390
    assert tab.ask(OVERFLOWING) == []
    # Of the plots only the heat map may be wider than its place.
    wide = "plot.scrollWidth > plot.closest('.scroll').clientWidth && plot.dataset.plot !== 'held_out'"
    assert tab.ask(f"[...document.querySelectorAll('.plot')].filter(plot => {wide}).length") == 0
    ink = "getComputedStyle(document.body).color"
    assert tab.ask(ink) == ("rgb(232, 234, 237)" if dark else "rgb(28, 32, 38)")
    assert (tab.errors, tab.requests) == ([], [])


def test_the_control_sees_what_is_cut_off(tab: DevTools, tmp_path: Path) -> None:
    wide = tmp_path / "wide.html"
    meta = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    wide.write_text(f"<!doctype html>{meta}<main><p style='width: 500px'>wide</p></main>", encoding="utf-8")
    tab.open(wide.as_uri(), width=390, height=844)
    assert tab.ask("document.documentElement.scrollWidth") > 390
    assert len(tab.ask(OVERFLOWING)) == 1


def test_panels_stand_side_by_side_on_a_desk_alone(tab: DevTools, page: str) -> None:
    titles = "[...document.querySelectorAll('#plot-learning_rates .annotation-text')]"
    for width, columns in ((1280, 2), (390, 1)):
        tab.open(page, width=width)
        tab.wait_for(f"{titles}.length")
        middles = (
            f"{titles}.map(t => t.getBoundingClientRect()).map(b => Math.round((b.left + b.right) / 200))"
        )
        assert len(set(tab.ask(middles))) == columns


def test_the_arrow_keys_show_what_a_pointer_does(tab: DevTools, page: str) -> None:
    tab.open(page)
    tab.wait_for("document.querySelectorAll('#plot-trade_off .main-svg').length")
    said = "document.querySelector('#plot-{0}').closest('figure').querySelector('[aria-live]').textContent"
    expected = {
        "trade_off": "trial 32 gate_up 1.0e-3",  # the first trace with marks: the pruned trial
        "held_out": "colour: 90.0 to",
        "timeline": "ran for 30s",
        "importance": "of what decides",
        "learning_rates": "trial ",
    }
    for plot, text in expected.items():
        tab.ask(f"document.querySelector('#plot-{plot}').focus()")
        tab.press("ArrowRight")
        assert text in tab.wait_for(said.format(plot)), plot
        assert tab.ask(SHOWN)
        tab.press("Escape")
    assert tab.errors == []


def test_the_recipe_is_told_on_hover(tab: DevTools, page: str) -> None:
    tab.open(page)
    tab.wait_for("document.querySelectorAll('#plot-trade_off .main-svg').length")
    tab.ask("document.querySelector('#plot-trade_off').scrollIntoView()")
    # The star of the selected recipe is drawn once, outside the legend.
    place = tab.ask(
        """(() => {const plot = document.querySelector('#plot-trade_off');
        const trace = plot.data.findIndex(trace => trace.name === 'selected');
        const {_offset: left, _length: _} = plot._fullLayout.xaxis, top = plot._fullLayout.yaxis._offset;
        const box = plot.getBoundingClientRect();
        return [box.left + left + plot._fullLayout.xaxis.d2p(plot.data[trace].x[0]),
                box.top + top + plot._fullLayout.yaxis.d2p(plot.data[trace].y[0])];})()"""
    )
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
    shown = tab.wait_for(SHOWN)
    assert "trial 31 sa_proj+gate_up last:1/2" in shown
    # Gain (51 - 10) / 2 = 20.5 and forgetting 31 / 8 / 2 = 1.9375: a score of 18.5625.
    assert "score +18.6 [16.6, 20.6]" in shown
    assert "batch 8, cosine" in shown
