"""What tiny-llava is asked: the table of its tasks, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["target", "held_out"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TinyTask:
    """One task of the embedded model.

    Attributes:
        name: Key in `TASKS`.
        role: `held_out` tasks are skills of the base model; `target` tasks are new to it.
        description: One line for people.
        answers: What the answers look like.
        source: The material, its licence, and what is disjoint between the splits.
    """

    name: str
    role: Role
    description: str
    answers: str
    source: str


_OWN = "rendered by this project"
_FONTS = (
    "rendered; train uses the font families DejaVu, STIX and Computer Modern Roman (free licences, from "
    "matplotlib), search and confirm use cmss10, cmtt10 and Pillow's Aileron"
)

_HELD_OUT = (
    TinyTask(
        name="digits",
        role="held_out",
        description="Read one handwritten digit.",
        answers="0 to 9",
        source="scikit-learn's handwritten digits (UCI optdigits, CC BY 4.0), 1,797 real scans: the first "
        "1,097 are train, the next 300 search, the last 400 confirm; no scan is in two splits",
    ),
    TinyTask(
        name="letters",
        role="held_out",
        description="Read one printed capital letter.",
        answers="A to Z",
        source=_FONTS,
    ),
    TinyTask(
        name="icons",
        role="held_out",
        description="Name the object an icon shows.",
        answers="one of 15 nouns",
        source="icon fonts shipped with qtawesome (MIT; fonts under OFL, MIT, Apache-2.0 or CC BY): train "
        "uses Material Design Icons, Phosphor, Elusive, Codicons and Remix Icon; search and confirm use Font "
        "Awesome 5 and 6, never seen in train",
    ),
    TinyTask(
        name="easy_vqa_color",
        role="held_out",
        description="Name the colour of the one shape in the picture.",
        answers="one of 8 colours",
        source="easy-VQA (MIT), its published images and questions: train from its train images, search and "
        "confirm from disjoint halves of its test images",
    ),
    TinyTask(
        name="easy_vqa_shape",
        role="held_out",
        description="Name the one shape in the picture.",
        answers="circle, rectangle, triangle",
        source="easy-VQA (MIT), images split as for easy_vqa_color",
    ),
    TinyTask(
        name="easy_vqa_yesno",
        role="held_out",
        description="Say whether the picture has a given shape or colour; yes and no are balanced.",
        answers="yes, no",
        source="easy-VQA (MIT), questions without negation, images split as for easy_vqa_color",
    ),
    TinyTask(
        name="textures",
        role="held_out",
        description="Name what a grey crop of a photograph shows.",
        answers="brick, gravel, fur, stars, coins, page, moon",
        source="photographs shipped with scikit-image (CC0, public domain or no known restrictions): "
        "every photograph is cut into three disjoint areas for train, search and confirm; crops of "
        "one area overlap",
    ),
    TinyTask(
        name="faces",
        role="held_out",
        description="Say whether a crop of a photograph is a face.",
        answers="yes, no",
        source="scikit-image's LFW subset, 200 real crops: 80 train (drawn with shifts and mirrored), 60 "
        "search, 60 confirm; no crop is in two splits",
    ),
    TinyTask(
        name="bars",
        role="held_out",
        description="Name the colour of the tallest of three bars.",
        answers="one of 5 colours",
        source=f"{_OWN}; splits differ by seed only",
    ),
    TinyTask(
        name="arrows",
        role="held_out",
        description="Say which way an arrow points.",
        answers="up, down, left, right",
        source="train: drawn arrows, arrow characters of the DejaVu fonts and the train icon fonts; search "
        "and confirm: arrows of Font Awesome 5 and 6, never seen in train",
    ),
    TinyTask(
        name="larger",
        role="held_out",
        description="Say on which side the larger of two shapes is.",
        answers="left, right",
        source=f"{_OWN}; train uses circles, squares and triangles, search and confirm diamonds, hexagons "
        "and stars",
    ),
    TinyTask(
        name="digital_clock",
        role="held_out",
        description="Read a seven-segment clock, in quarters of an hour.",
        answers="H : MM, 48 times",
        source=f"{_OWN}; stroke widths and slants of search and confirm do not occur in train",
    ),
    TinyTask(
        name="compare_numbers",
        role="held_out",
        description="Give the larger of two numbers below 100; text only, no image.",
        answers="1 to 99",
        source=f"{_OWN}; no pair of numbers is in two splits, in either order",
    ),
)

_TARGETS = (
    TinyTask(
        name="counting",
        role="target",
        description="Count the dots, or the blocks, among up to two of the other.",
        answers="1 to 9",
        source=f"{_OWN}; splits differ by seed only",
    ),
    TinyTask(
        name="clock",
        role="target",
        description="Read an analogue clock, in quarters of an hour.",
        answers="H : MM, 48 times",
        source=f"{_OWN}; splits differ by seed only",
    ),
    TinyTask(
        name="naming",
        role="target",
        description="Name the species of a bird among 16 that differ in small marks, by letter.",
        answers="A to P",
        source=f"{_OWN}; pose, size, shades and background are random, splits differ by seed only",
    ),
    TinyTask(
        name="pathology",
        role="target",
        description="Answer questions on the brown stain in a micrograph of tissue.",
        answers="yes, no, up, down, left, right",
        source="scikit-image's immunohistochemistry photograph (no known restrictions): train, search and "
        "confirm are disjoint areas, crops of one area overlap; answers come from the separated stain "
        "(colour deconvolution), not from a doctor",
    ),
    TinyTask(
        name="scene_text",
        role="target",
        description="Read the word on a sign in a cluttered scene.",
        answers="one of 12 words",
        source=_FONTS,
    ),
)

TASKS: dict[str, TinyTask] = {task.name: task for task in (*_HELD_OUT, *_TARGETS)}
