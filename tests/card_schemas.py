"""A row of every card's data set, in the schema of the real one, and what must become of it.

The rows are made up. Columns, their types and the places of the files are those that each card names as its
`source_of_schema`; what a card says is not known there is a guess here, too.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pictures

TEXT: Final = Value("string")
TEXTS: Final = List(Value("string"))
PICTURE: Final = Image()

ROWS: Final = 12
"""Rows of a split, each with a picture of its own."""

SIZE: Final = (24, 16)
"""Width and height of a picture."""

BIRDS: Final = "\n".join(f"{chr(65 + number)}. Bird {number}" for number in range(26))
LETTER: Final = "Answer with the option's letter from the given choices directly."
SHORT: Final = "Answer the question using a single word or phrase."


@dataclass(frozen=True, kw_only=True)
class CardSchema:
    """A made data set of one card.

    Attributes:
        repository: Its id on the hub.
        files: The data set's own name of a split -> path of its file in the repository.
        features: Columns and their types, as the hub has them.
        row: A row's values; columns of pictures and of questions' ids are filled in.
        prompt: What becomes of it.
        answer: What becomes of it.
        references: What becomes of it.
        choices: What becomes of it.
        right: A text that the card's metric must give 100 points.
        wrong: One that it must give none.
        readme: The lines of the repository's README that say which file is which split, where names don't.
        more: Changes to the row, each of which makes one more row.
    """

    repository: str
    files: Mapping[str, str]
    features: Mapping[str, Any]
    row: Mapping[str, Any]
    prompt: str
    answer: str
    references: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    right: str
    wrong: str
    readme: str = ""
    more: tuple[Mapping[str, Any], ...] = field(default=())


def parquet(*splits: str, folder: str = "data") -> dict[str, str]:
    """Return where the hub keeps the splits of a data set that was pushed to it."""
    return {split: f"{folder}/{split}-00000-of-00001.parquet" for split in splits}


def listed(configuration: str, **splits: str) -> str:
    """Return the lines of a README that name the files of a configuration's splits."""
    files = "".join(f"  - split: {split}\n    path: {path}\n" for split, path in splits.items())
    return f"- config_name: {configuration}\n  data_files:\n{files}"


SCHEMAS: Final[dict[str, CardSchema]] = {
    "cub200": CardSchema(
        repository="Jessemel/cub200-test",
        files=parquet("train"),
        features={"image": PICTURE, "question": TEXT, "answer": TEXT},
        row={"question": f"<image>\nWhich bird is it?\n{LETTER}\n{BIRDS}", "answer": "K"},
        prompt=f"<image>\nWhich bird is it?\n{LETTER}\n{BIRDS}",
        answer="K",
        right="K. Bird 10",
        wrong="L",
    ),
    "pixmo_count": CardSchema(
        repository="allenai/pixmo-count",
        files=parquet("train", "validation", "test"),
        features={
            "image_url": TEXT,
            "image_sha256": TEXT,
            "count": Value("int32"),
            "points": {"x": List(Value("float32")), "y": List(Value("float32"))},
            "label": TEXT,
            "image": PICTURE,
        },
        row={
            "image_url": "https://example.org/a.jpg",
            "image_sha256": "0" * 64,
            "count": 7,
            "points": {"x": [0.5], "y": [1.5]},
            "label": "cups",
        },
        prompt=(
            "How many cups are in this image?\n"
            "Answer with integer and nothing else. For example, if the answer is 1, you should output 1."
        ),
        answer="7",
        right="7",
        wrong="8",
    ),
    "path_vqa": CardSchema(
        repository="flaviagiammarino/path-vqa",
        files=parquet("train", "validation", "test"),
        features={"image": PICTURE, "question": TEXT, "answer": TEXT},
        row={"question": "what is present?", "answer": "endocrine"},
        prompt=(
            "Look at the medical image and answer the following question: what is present?\n"
            "For questions that can be answered with a yes or no, just answer yes or no. "
            "Otherwise, provide an answer in the medical domain."
        ),
        answer="endocrine",
        right="Endocrine.",
        wrong="exocrine",
    ),
    "text_vqa": CardSchema(
        repository="lmms-lab-encoder/textvqa",
        files=parquet("train", "validation", "test"),
        features={
            "image_id": TEXT,
            "question_id": Value("int32"),
            "question": TEXT,
            "question_tokens": TEXTS,
            "image": PICTURE,
            "image_width": Value("int32"),
            "image_height": Value("int32"),
            "flickr_original_url": TEXT,
            "flickr_300k_url": TEXT,
            "answers": TEXTS,
            "image_classes": TEXTS,
            "set_name": TEXT,
            "ocr_tokens": TEXTS,
        },
        row={
            "image_id": "003a8ae2ef43b901",
            "question_id": 34602,
            "question": "what is the brand of this camera?",
            "question_tokens": ["what", "is"],
            "image_width": 8,
            "image_height": 8,
            "flickr_original_url": "https://example.org/a.jpg",
            "flickr_300k_url": "https://example.org/b.jpg",
            "answers": ["clos culombu", *["dakota"] * 8, "nous les gosses"],
            "image_classes": ["Cassette deck"],
            "set_name": "val",
            "ocr_tokens": ["DAKOTA"],
        },
        prompt=f"what is the brand of this camera?\n{SHORT}",
        answer="dakota",
        references=("clos culombu", *["dakota"] * 8, "nous les gosses"),
        right="Dakota",
        wrong="canon",
    ),
    "time_clock": CardSchema(
        repository="AvaXiao/clockreading-time",
        files=parquet("train"),
        features={"image": PICTURE, "question": TEXT, "answer": TEXT},
        row={"question": "What time does the clock show in this image?\n<image>", "answer": "02:59"},
        prompt=(
            "What time does the clock show in this image?\n"
            "Answer with the time in HH:MM format. For example, if it's 3:45, output 3:45."
        ),
        answer="02:59",
        right="2:58",
        wrong="2:57",
    ),
    "ai2d": CardSchema(
        repository="lmms-lab-encoder/ai2d",
        files=parquet("test"),
        features={"question": TEXT, "options": TEXTS, "answer": TEXT, "image": PICTURE},
        row={"question": "Which eats grass?", "options": ["owl", "hare", "fox"], "answer": "1"},
        prompt=f"Which eats grass?\nA. owl\nB. hare\nC. fox\n{LETTER}",
        answer="B",
        choices=("A", "B", "C"),
        right="B. hare",
        wrong="A",
    ),
    "chart_qa": CardSchema(
        repository="lmms-lab-encoder/ChartQA",
        files=parquet("test"),
        features={"type": TEXT, "question": TEXT, "answer": TEXT, "image": PICTURE},
        row={"type": "human_test", "question": "What was the rate in 2005?", "answer": "20"},
        prompt="What was the rate in 2005?\nAnswer the question with a single word.",
        answer="20",
        right="20.9",
        wrong="21.1",
    ),
    "doc_vqa": CardSchema(
        repository="lmms-lab-encoder/DocVQA",
        files=parquet("validation", "test", folder="DocVQA"),
        features={
            "questionId": TEXT,
            "question": TEXT,
            "question_types": TEXTS,
            "image": PICTURE,
            "docId": Value("int64"),
            "ucsf_document_id": TEXT,
            "ucsf_document_page_no": TEXT,
            "answers": TEXTS,
            "data_split": TEXT,
        },
        row={
            "questionId": "49153",
            "question": "What is the actual value per 1000?",
            "question_types": ["figure/diagram"],
            "docId": 14465,
            "ucsf_document_id": "pybv0228",
            "ucsf_document_page_no": "81",
            "answers": ["0.28", "0.28 per 1000"],
            "data_split": "val",
        },
        readme=listed("DocVQA", validation="DocVQA/validation-*", test="DocVQA/test-*"),
        prompt=f"What is the actual value per 1000?\n{SHORT}",
        answer="0.28",
        references=("0.28", "0.28 per 1000"),
        right="0.28 PER 1000",
        wrong="none",
    ),
    "info_vqa": CardSchema(
        repository="lmms-lab-encoder/DocVQA",
        files=parquet("validation", "test", folder="InfographicVQA"),
        features={
            "questionId": TEXT,
            "question": TEXT,
            "answers": TEXTS,
            "answer_type": TEXTS,
            "image": PICTURE,
            "image_url": TEXT,
            "operation/reasoning": TEXTS,
            "ocr": TEXT,
            "data_split": TEXT,
        },
        row={
            "questionId": "98313",
            "question": "Which network has 17% of the marketers?",
            "answers": ["pinterest"],
            "answer_type": ["single span"],
            "image_url": "https://example.org/a.png",
            "operation/reasoning": [""],
            "ocr": "{}",
            "data_split": "val",
        },
        readme=listed(
            "InfographicVQA", validation="InfographicVQA/validation-*", test="InfographicVQA/test-*"
        ),
        prompt=f"Which network has 17% of the marketers?\n{SHORT}",
        answer="pinterest",
        right="Pinterest",
        wrong="flickr",
    ),
    "real_world_qa": CardSchema(
        repository="lmms-lab-encoder/RealWorldQA",
        files=parquet("test"),
        features={"image": PICTURE, "image_path": TEXT, "question": TEXT, "answer": TEXT},
        row={
            "image_path": "0.webp",
            "question": (
                "Where does the front wheel face?\n\nA. Ahead\nB. Left\nC. Right\nPlease answer directly "
                "with only the letter of the correct option and nothing else."
            ),
            "answer": "C",
        },
        prompt=(
            "Where does the front wheel face?\n\nA. Ahead\nB. Left\nC. Right\nPlease answer directly with "
            "only the letter of the correct option and nothing else."
        ),
        answer="C",
        right="C.",
        wrong="A",
    ),
    "seed_bench": CardSchema(
        repository="lmms-lab-encoder/SEED-Bench",
        files=parquet("test"),
        features={
            "answer": TEXT,
            **{f"choice_{letter}": TEXT for letter in "abcd"},
            "data_id": TEXT,
            "data_type": TEXT,
            "question": TEXT,
            "question_id": TEXT,
            "question_type_id": Value("int16"),
            "image": List(PICTURE),
            "segment": List(Value("int64")),
        },
        row={
            "answer": "A",
            "choice_a": "One",
            "choice_b": "Two",
            "choice_c": "Three",
            "choice_d": "Four",
            "data_id": "1454426_2591111986",
            "data_type": "image",
            "question": "How many towels are in the image?",
            "question_id": "101669",
            "question_type_id": 5,
            "segment": [],
        },
        prompt=f"How many towels are in the image?\nA. One\nB. Two\nC. Three\nD. Four\n{LETTER}",
        answer="A",
        choices=("A", "B", "C", "D"),
        right="A",
        wrong="B",
        more=({"data_type": "video", "segment": [0, 9]},),
    ),
    "science_qa": CardSchema(
        repository="lmms-lab-encoder/ScienceQA",
        files=parquet("validation", "test", folder="ScienceQA-IMG"),
        features={
            "image": PICTURE,
            "question": TEXT,
            "choices": TEXTS,
            "answer": Value("int8"),
            **{
                name: TEXT for name in "hint task grade subject topic category skill lecture solution".split()
            },
        },
        row={
            "question": "Which is farthest north?",
            "choices": ["Iowa", "Ohio"],
            "answer": 0,
            "hint": "Look at the map.",
            "task": "closed choice",
            "grade": "grade2",
            "subject": "social science",
            "topic": "geography",
            "category": "Geography",
            "skill": "Read a map",
            "lecture": "",
            "solution": "",
        },
        readme=listed("ScienceQA-IMG", validation="ScienceQA-IMG/validation-*", test="ScienceQA-IMG/test-*"),
        prompt=f"Context: Look at the map.\nWhich is farthest north?\nA. Iowa\nB. Ohio\n{LETTER}",
        answer="A",
        choices=("A", "B"),
        right="A.",
        wrong="B",
        more=({"hint": ""},),
    ),
    "mm_star": CardSchema(
        repository="Lin-Chen/MMStar",
        files={"val": "mmstar.parquet"},
        features={
            "index": Value("int64"),
            "question": TEXT,
            "image": PICTURE,
            "answer": TEXT,
            "category": TEXT,
            "l2_category": TEXT,
            "meta_info": {"source": TEXT, "split": TEXT, "image_path": TEXT},
        },
        row={
            "index": 0,
            "question": "Which option describes it?\nOptions: A: dark, B: light, C: red, D: blue",
            "answer": "D",
            "category": "coarse perception",
            "l2_category": "image scene and topic",
            "meta_info": {"source": "MMBench", "split": "val", "image_path": "images/0.jpg"},
        },
        prompt=(
            "Which option describes it?\nOptions: A: dark, B: light, C: red, D: blue\n"
            "Answer with the option's letter from the given choices directly"
        ),
        answer="D",
        right="D",
        wrong="C",
        readme=listed("val", val="mmstar.parquet"),
    ),
    "ocr_bench": CardSchema(
        repository="echo840/OCRBench",
        files=parquet("test"),
        features={
            "dataset": TEXT,
            "question": TEXT,
            "question_type": TEXT,
            "answer": TEXTS,
            "image": PICTURE,
        },
        row={
            "dataset": "IIIT5K",
            "question": "what is written in the image?",
            "question_type": "Regular Text Recognition",
            "answer": ["CENTRE", "CENTER"],
        },
        prompt="what is written in the image?",
        answer="CENTRE",
        references=("CENTRE", "CENTER"),
        right="The image says Center.",
        wrong="cent",
    ),
    "count_bench": CardSchema(
        repository="vikhyatk/CountBenchQA",
        files=parquet("test"),
        features={"image": PICTURE, "text": TEXT, "question": TEXT, "number": Value("int32")},
        row={"text": "Four headsets", "question": "How many headsets are there in the image?", "number": 4},
        prompt="How many headsets are there in the image?\nAnswer the question with number only.",
        answer="4",
        right="4",
        wrong="5",
    ),
}


def picture(name: str, number: int) -> dict[str, Any]:
    """Return a picture of coloured squares as the hub stores it; no two look alike."""
    colours = np.random.default_rng((number, *name.encode())).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Pictures.fromarray(colours).resize(SIZE, Pictures.Resampling.NEAREST).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def write_mirror(name: str, folder: Path) -> None:
    """Write the data set of a card under a mirror's folder, `ROWS` rows a split and those of `more`.

    Args:
        name: Name of the card.
        folder: The mirror.
    """
    schema = SCHEMAS[name]
    repository = folder / schema.repository
    number = 0
    for path in schema.files.values():
        rows = []
        for changes in (*[{}] * ROWS, *schema.more):
            row = {**schema.row, **changes}
            for column, kind in schema.features.items():
                if kind in (PICTURE, List(PICTURE)):
                    row[column] = picture(name, number) if kind == PICTURE else [picture(name, number)]
                if column == "question_id":
                    row[column] = type(row[column])(number)
            rows.append(row)
            number += 1
        (repository / path).parent.mkdir(parents=True, exist_ok=True)
        Dataset.from_list(rows, Features(schema.features)).to_parquet(repository / path)
    if schema.readme:
        # DocVQA and InfographicVQA are configurations of one data set.
        readme = repository / "README.md"
        before = (
            readme.read_text(encoding="utf-8").removesuffix("---\n") if readme.exists() else "---\nconfigs:\n"
        )
        readme.write_text(f"{before}{schema.readme}---\n", encoding="utf-8")
