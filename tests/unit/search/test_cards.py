"""Every card against a made data set in the schema of the real one; see tests/card_schemas.py."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import datasets
import pytest
import yaml
from card_schemas import ROWS, SCHEMAS, SIZE, picture, write_mirror
from card_tables import PAGE, page_with_tables, read_cards
from datasets import Dataset, Features, disable_progress_bars, enable_progress_bars

from search.settings.task_config import DataConfig, TaskConfig
from trainables.data.samples import SPLITS, Sample, Split
from trainables.sources.images import image_size
from trainables.sources.source_task import SourceTask

CARDS = read_cards()
SPLITS_OF = [
    (name, split) for name, card in CARDS.items() for split in SPLITS if getattr(card, split) is not None
]


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mirror")
    disable_progress_bars()
    for name in SCHEMAS:
        write_mirror(name, folder)
    enable_progress_bars()
    return folder


def load(name: str, split: Split, mirror: Path) -> list[Sample]:
    return SourceTask(spec=CARDS[name].spec(name), mirror=str(mirror)).load(split)


def test_there_is_a_card_for_each_of_the_papers_tasks() -> None:
    assert len(CARDS) == 15
    assert set(CARDS) == set(SCHEMAS)
    assert {name for name, card in CARDS.items() if card.train} == {
        "cub200",
        "pixmo_count",
        "path_vqa",
        "text_vqa",
        "time_clock",
    }


@pytest.mark.parametrize("name", CARDS)
def test_a_card_says_what_is_known(name: str) -> None:
    card = CARDS[name]
    assert card.about is not None
    assert card.about.url == f"https://huggingface.co/datasets/{card.source}"
    assert card.about.source_of_prompt
    assert card.about.source_of_schema
    used = {getattr(card, split) for split in SPLITS} - {None}
    assert used <= set(card.about.size)
    assert used <= set(SCHEMAS[name].files)
    assert SCHEMAS[name].repository == card.source


def test_a_limit_is_that_of_the_harness_which_the_card_names() -> None:
    """Tokens as the two harnesses' definitions have them, read on their pages."""
    lmms_eval = {
        "ai2d": 16,
        "chart_qa": 16,
        "doc_vqa": 32,
        "info_vqa": 32,
        "ocr_bench": 128,
        "real_world_qa": 16,
        "science_qa": 16,
    }
    lmm_cl = {
        "count_bench": 16,
        "cub200": 16,
        "mm_star": 32,
        "path_vqa": 64,
        "pixmo_count": 16,
        "seed_bench": 16,
        "text_vqa": 64,
        "time_clock": 32,
    }
    assert {name: card.decoding.max_new_tokens for name, card in CARDS.items()} == lmms_eval | lmm_cl
    for name, card in CARDS.items():
        assert card.about is not None
        source = card.about.source_of_limit or card.about.source_of_prompt or ""
        assert ("jessemelpolio/LMM_CL" in source) == (name in lmm_cl)
        assert ("EvolvingLMMs-Lab/lmms-eval" in source) == (name in lmms_eval)


@pytest.mark.parametrize(("name", "split"), SPLITS_OF)
def test_rows_become_samples(name: str, split: Split, mirror: Path) -> None:
    expected = SCHEMAS[name]
    samples = load(name, split, mirror)
    sample = samples[0]
    assert sample.prompt == expected.prompt
    assert sample.answer == expected.answer
    assert sample.references == expected.references
    assert sample.choices == expected.choices
    assert [image_size(image) for image in sample.images] == [SIZE]


@pytest.mark.parametrize("name", CARDS)
def test_every_row_with_a_picture_falls_to_one_split(name: str, mirror: Path) -> None:
    card = CARDS[name]
    splits = [split for split in SPLITS if getattr(card, split)]
    drawn = [sample.content_hash() for split in splits for sample in load(name, split, mirror)]
    files = {getattr(card, split) for split in splits}
    # Of the rows beyond ROWS, SEED-Bench's is a video's and not taken; ScienceQA's has no hint and is.
    more = len(SCHEMAS[name].more) if name == "science_qa" else 0
    assert len(drawn) == len(set(drawn)) == len(files) * (ROWS + more)


def test_a_question_without_a_hint_has_no_line_for_one(mirror: Path) -> None:
    prompts = {sample.prompt for sample in load("science_qa", "search", mirror)}
    with_hint = SCHEMAS["science_qa"].prompt
    assert prompts == {with_hint, with_hint.removeprefix("Context: Look at the map.\n")}


def test_rows_about_videos_are_left_out(mirror: Path) -> None:
    whole = CARDS["seed_bench"].model_copy(update={"only": {}}).spec("seed_bench")
    task = SourceTask(spec=whole, mirror=str(mirror))
    assert sum(len(task.load(split)) for split in ("search", "confirm")) == ROWS + 1


@pytest.mark.parametrize("name", CARDS)
def test_the_metric_tells_right_from_wrong(name: str, mirror: Path) -> None:
    sample = load(name, "search", mirror)[0]
    metric = CARDS[name].metric.spec
    assert metric.score(sample.answer, sample.accepted) == 100
    assert metric.score(SCHEMAS[name].right, sample.accepted) == 100
    assert metric.score(SCHEMAS[name].wrong, sample.accepted) == 0


def test_pixmo_count_without_its_images_says_what_to_do(tmp_path: Path) -> None:
    schema = SCHEMAS["pixmo_count"]
    published = {column: kind for column, kind in schema.features.items() if column != "image"}
    file = tmp_path / schema.repository / schema.files["validation"]
    file.parent.mkdir(parents=True)
    Dataset.from_list([dict(schema.row)], Features(published)).to_parquet(file)
    with pytest.raises(ValueError, match=r"^tasks\.pixmo_count\.search: ") as caught:
        load("pixmo_count", "search", tmp_path)
    reason = str(caught.value)
    assert "no column 'image'" in reason
    assert "; the task needs the images, of which the data set has the addresses alone: download" in reason
    assert "<data.mirror>/allenai/pixmo-count; docs/cards.md says how" in reason


def test_the_pages_way_to_pixmo_counts_images_makes_a_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As published the rows have no image, and of two in each split one can't be had any more."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    schema = SCHEMAS["pixmo_count"]
    published = {column: kind for column, kind in schema.features.items() if column != "image"}
    Path("pixmo-images").mkdir()
    for number, file in enumerate(schema.files.values()):
        rows = [{**schema.row, "image_sha256": f"{number}{there}"} for there in ("gone", "here")]
        path = Path(schema.repository) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Dataset.from_list(rows, Features(published)).to_parquet(path)
        Path("pixmo-images", f"{number}here").write_bytes(picture("pixmo_count", number)["bytes"])
    (code,) = re.findall(r"^```python\n(.+?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    exec(code, {})
    # A folder of the data set's name would come before the mirror's.
    shutil.rmtree("allenai")
    for split in SPLITS:
        (sample,) = load("pixmo_count", split, tmp_path / "mirror")
        assert (sample.prompt, sample.answer) == (schema.prompt, schema.answer)
        assert [image_size(image) for image in sample.images] == [SIZE]


def test_the_tables_of_cards_are_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == page_with_tables(page), "run: PYTHONPATH=.:tests python tests/card_tables.py"


def test_the_pages_examples_are_valid() -> None:
    blocks = re.findall(r"^```yaml\n(.+?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    for block in map(yaml.safe_load, blocks):
        assert {*block.get("targets", ()), *block.get("held_out", ())} <= set(CARDS)
        DataConfig.model_validate(block.get("data", {}))
        for task in block.get("tasks", {}).values():
            assert TaskConfig.model_validate(task).card in {None, *CARDS}
