"""The tables of docs/cards.md, made of the cards.

`PYTHONPATH=.:tests python tests/card_tables.py` writes them into the page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from search.settings.task_config import AboutConfig, TaskConfig
from trainables.data.samples import SPLITS

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "cards.md"
CARDS: Final = ROOT / "search" / "cards"
_GENERATED = re.compile(r"(?<=<!-- made by tests/card_tables.py -->\n\n).*?(?=\n\n<!-- end -->)", re.DOTALL)


def read_cards() -> dict[str, TaskConfig]:
    """Return the cards by name."""
    return {
        path.stem: TaskConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        for path in sorted(CARDS.glob("*.yaml"))
    }


def page_with_tables(page: str) -> str:
    """Return the page with its tables made anew."""
    cards = read_cards()
    targets = {name: card for name, card in cards.items() if card.train}
    others = {name: card for name, card in cards.items() if not card.train}
    made = "\n\n".join(
        f"### {title}\n\n{_table(chosen)}\n\n{_notes(chosen)}"
        for title, chosen in (("With training samples", targets), ("For scoring alone", others))
    )
    found = _GENERATED.search(page)
    assert found, "the page has no place for its tables"
    return page[: found.start()] + made + page[found.end() :]


def _table(cards: Mapping[str, TaskConfig]) -> str:
    rows = [_row(name, card) for name, card in cards.items()]
    headings = list(rows[0])
    lines = [headings, ["---"] * len(headings), *([*each.values()] for each in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(name: str, card: TaskConfig) -> dict[str, str]:
    about = _about(card)
    configuration = f", `{card.configuration}`" if card.configuration else ""
    return {
        "card": f"`{name}`",
        "data set": f"[{card.source}]({about.url}){configuration}",
        "splits": _splits(card),
        "metric": f"`{card.metric.spec}`",
        "prompt": "<br>".join(f"`{line}`" for line in (card.prompt or "").split("\n")),
        "rows": ", ".join(f"{split} {rows}" for split, rows in about.size.items()),
        "licence": about.licence,
        "run against the real data": about.tried or "no",
    }


def _splits(card: TaskConfig) -> str:
    """Say which split of the data set is which of ours; one that several share is divided."""
    places: dict[str, list[str]] = {}
    for split in SPLITS:
        if place := getattr(card, split):
            places.setdefault(place, []).append(split)
    told = []
    for place, splits in places.items():
        shares = [getattr(card.divide, split) for split in splits]
        parts = " : ".join(f"{share / sum(shares):.0%}" for share in shares)
        divided = f", divided {parts}" if len(splits) > 1 else ""
        told.append(f"{', '.join(splits)}: `{place}`{divided}")
    only = "".join(
        f"; where `{column}` is {' or '.join(map(str, values))}" for column, values in card.only.items()
    )
    return "; ".join(told) + only


def _notes(cards: Mapping[str, TaskConfig]) -> str:
    lines = []
    for name, card in cards.items():
        about = _about(card)
        paper = f" ({about.paper})" if about.paper else ""
        lines.append(f"- `{name}`: {about.title}{paper}. {_sources(card)}")
        lines.append(f"  Columns: {about.source_of_schema}.")
        lines.extend(f"  {note}" for note in about.notes)
        if about.needs:
            lines.append(f"  **Needs** {about.needs}.")
    return "\n".join(lines)


def _sources(card: TaskConfig) -> str:
    about = _about(card)
    limit = f"imit of {card.decoding.max_new_tokens} tokens"
    if about.source_of_limit is None:
        return f"Prompt, and l{limit}: {about.source_of_prompt}."
    return f"Prompt: {about.source_of_prompt}. L{limit}: {about.source_of_limit}."


def _about(card: TaskConfig) -> AboutConfig:
    assert card.about is not None
    return card.about


if __name__ == "__main__":
    PAGE.write_text(page_with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
