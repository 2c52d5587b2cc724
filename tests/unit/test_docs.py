"""The documents tell the truth about study files, make targets and files that they name."""

from __future__ import annotations

import json
import re
import typing
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from family_tables import PAGE, page_with_tables
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from search.config import StudyConfig
from search.settings.study_file import parse_study
from spaces.subsets import SUBSETS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
STUDY_FILE = (ROOT / "docs" / "study-file.md").read_text(encoding="utf-8")


def section_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model inside an annotation such as `Section | None` or `dict[str, Section]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for a in typing.get_args(annotation) if (found := section_in(a))), None)


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every key of a study file, spelled with dots; a section counts as a key if it may be null."""
    for name, field in model.model_fields.items():
        section = section_in(field.annotation)
        if section is None or field.default is None:
            yield prefix + name, field
        if section is not None:
            named = typing.get_origin(field.annotation) is dict
            yield from keys(section, f"{prefix}{name}.{'<name>.' if named else ''}")


def documented() -> dict[str, str]:
    """Return key -> default as docs/study-file.md tells them."""
    tables = STUDY_FILE.split("The subsets:")[0] + STUDY_FILE.split("## How they are compared")[1]
    return dict(re.findall(r"^\| `([\w.<>]+)` \| ([^|]+) \|", tables, flags=re.MULTILINE))


def written_default(field: FieldInfo) -> Any:
    if field.is_required():
        return "required"
    return list(field.default) if isinstance(field.default, tuple) else field.default


def test_every_key_is_documented_with_its_default() -> None:
    told = {key: yaml.safe_load(default.strip().strip("`")) for key, default in documented().items()}
    assert told == {key: written_default(field) for key, field in keys(StudyConfig)}


def test_every_subset_is_documented() -> None:
    table = STUDY_FILE.split("The subsets:")[1].split("##")[0]
    rows = re.findall(r"^\| (`.+?`) \|", table, flags=re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(SUBSETS)


def test_the_study_in_the_readme_is_valid() -> None:
    blocks = re.findall(r"^ *```yaml\n(.+?)^ *```", README, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    study = parse_study(yaml.safe_load(blocks[0]), "README.md")
    assert study.targets == ("receipts",)


DATA_PAGES = [ROOT / "docs" / "data.md", ROOT / "docs" / "cards.md"]
STUDY: dict[str, Any] = {
    "name": "s",
    "model": {"path": "m"},
    "tasks": {"receipts": {"source": "a.csv"}, "charts": {"source": "b.csv"}},
    "targets": ["receipts"],
    "held_out": ["charts"],
    "space": {"subsets": ["full"], "learning_rate": [1e-5, 1e-4]},
    "training": {"steps": 1, "batch_size": 1},
    "search": {"trials": 1},
}


@pytest.mark.parametrize("page", DATA_PAGES, ids=lambda page: page.name)
def test_what_pages_on_data_show_is_valid(page: Path) -> None:
    blocks = re.findall(r"^```yaml\n(.+?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        shown = yaml.safe_load(block)
        parse_study({**STUDY, **shown, "tasks": {**STUDY["tasks"], **shown.get("tasks", {})}}, page.name)


def test_the_readme_names_only_targets_that_make_has() -> None:
    made = set(
        re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    named = set(
        re.findall(r"make ([a-z0-9-]+)(?=[`\s])", " ".join(re.findall(r"`[^`]+`|^make .+$", README, re.M)))
    )
    assert {"quickstart", "test", "lint"} <= named <= made


def test_the_tables_of_families_are_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == page_with_tables(page), "run: PYTHONPATH=.:tests python tests/family_tables.py"


PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "README.md", *ROOT.glob("docs/**/*.md")))
NAMING = [ROOT / "Makefile", *sorted(ROOT.glob("examples/**/*.yaml"))]


def anchors(page: Path) -> set[str]:
    """Return what GitHub calls the headings of a page: lower case, no punctuation, hyphens for blanks."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def leads_nowhere(page: Path, link: str) -> bool:
    target, _, anchor = link.partition("#")
    file = page.parent / target if target else page
    return not file.exists() or bool(anchor and anchor not in anchors(file))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and leads_nowhere(ROOT / page, link)] == []


def test_the_pages_that_examples_and_the_makefile_name_are_there() -> None:
    named = {name for path in NAMING for name in re.findall(r"\bdocs/[\w./-]+\.md", path.read_text("utf-8"))}
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_a_wrong_anchor_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# What `a` is, on A-B\n\n```\n# no heading\n```\n", encoding="utf-8")
    assert anchors(page) == {"what-a-is-on-a-b"}
    assert not leads_nowhere(tmp_path / "other.md", "page.md#what-a-is-on-a-b")
    assert leads_nowhere(page, "#no-heading")
    assert leads_nowhere(page, "none.md")


def test_the_faults_of_the_page_are_those_that_were_recorded() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    files = (ROOT / "benchmarks" / "results" / "chaos").glob("seed_*.json")
    faults = [fault for file in files for fault in json.loads(file.read_text())["faults"]]
    table = page.partition("<!-- chaos -->\n")[2].partition("\n<!-- /chaos -->")[0]
    told = {
        name.strip(): [int(cell) for cell in cells]
        for name, *cells in (line.strip("|").split("|") for line in table.splitlines()[2:])
    }
    phases, victims = ("start", "trials", "points", "finalists"), Counter(fault["victim"] for fault in faults)
    counts = [sum(fault["during"] == phase for fault in faults) for phase in phases]
    assert told.pop("all") == [*counts, len(faults)]
    assert all(sum(cells[:-1]) == cells[-1] for cells in told.values())
    assert sorted(cells[-1] for cells in told.values()) == sorted(victims.values())
    assert told["SIGTERM to the driver"][-1] == victims["notice"]
    assert f"The {len(faults)} faults that" in page
    assert len(faults) >= 50
