"""The report of a made study as HTML, and the texts on its page."""

from __future__ import annotations

from html.parser import HTMLParser

from search.records.study_record import StudyRecord
from search.report import render_report
from search.selection import select


def render(study: StudyRecord) -> str:
    return render_report(study, select(study.trials, study.objective))


class Page(HTMLParser):
    """The texts of a page by the tag around them, scripts and styles left out of `text`."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.attributes = "", [], []
        self._skipping = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._skipping = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._skipping = False

    def handle_data(self, data: str) -> None:
        if not self._skipping:
            self.text += f"{data} "


def text_of(study: StudyRecord) -> str:
    return " ".join(Page(render(study)).text.split())
