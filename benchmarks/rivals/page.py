"""The table of docs/performance.md: `python -m benchmarks.rivals.page` writes the last figures into it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from benchmarks.machine import RESULTS
from benchmarks.rivals.shown import markdown

PAGE: Final = Path(__file__).parents[2] / "docs" / "performance.md"
RESULT: Final = RESULTS / "rivals.json"
_BEGIN, _END = "<!-- rivals: made by python -m benchmarks.rivals.page -->", "<!-- end of rivals -->"


def page_with_table(page: str) -> str:
    """Return the page with the table of the figures that are stored."""
    table = markdown(json.loads(RESULT.read_text(encoding="utf-8")))
    pattern = re.escape(_BEGIN) + ".*?" + re.escape(_END)
    made, count = re.subn(pattern, lambda _: f"{_BEGIN}\n{table}\n{_END}", page, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{PAGE.name} must hold {_BEGIN!r} ... {_END!r} once, it does {count} times")
    return made


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
