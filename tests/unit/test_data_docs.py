"""What docs/data.md says of formats is true of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

from PIL import Image

from trainables.data.task_spec import TaskSpec
from trainables.formats import COLUMNS, detect_format, to_samples
from trainables.sources.row import Row

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
TABLE = dict(re.findall(r"^\| `(\w+)` \| (`[^|]+) \|", PAGE, flags=re.MULTILINE))


def test_the_table_tells_every_format_s_columns_in_the_order_of_detection() -> None:
    assert list(TABLE) == list(COLUMNS)
    typed = {"answer_index", "answer_letter", "answer_text"}
    for name, told in TABLE.items():
        known = {column for field, names in COLUMNS[name].items() for column in names if field not in typed}
        everywhere = {"images", "image", "image_path", "id"}
        assert set(re.findall(r"`(\w+)`", told)) - {"A", "B"} == known - everywhere


def test_the_rows_are_of_each_format_and_say_the_same(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "owl.png")
    (block,) = re.findall(r"```json\n(.+?)```", PAGE, flags=re.DOTALL)
    rows = [Row("data.md:1", json.loads(line), tmp_path) for line in block.splitlines()]
    task = TaskSpec(name="birds", origins={})
    assert [detect_format(row, task) for row in rows] == list(COLUMNS)
    samples = [sample for row in rows for sample in to_samples(row, task, "search")]
    assert [sample.answer for sample in samples] == [
        "A barn owl.",
        "A barn owl.",
        "B",
        "barn owl",
        "A barn owl.",
    ]
    assert all(sample.images == (tmp_path / "owl.png",) for sample in samples)
    assert all("Which bird?" in sample.prompt for sample in samples)
    assert f"```\n{samples[2].prompt}\n```" in PAGE
