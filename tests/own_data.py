"""Data files for a study that names files of the user's own: random pictures, all with one answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import tiny_multimodal
import yaml
from PIL import Image


def study_with_data(study: Path, folder: Path, n: int = 8) -> Path:
    """Copy a study file, and write each data file that it names; each third sample has no image.

    Args:
        study: A study file whose data are relative to it.
        folder: Where the copy goes.
        n: Samples of a file.
    """
    copy = folder / study.name
    shutil.copy(study, copy)
    for task in yaml.safe_load(study.read_text())["tasks"].values():
        for split, file in task.items():
            if split != "metric":
                _write(folder / file, n)
    return copy


def _write(file: Path, n: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for index, sample in enumerate(tiny_multimodal.samples(file.stem, n, answers=("7",))):
        # No sample may be in two files.
        row = {"prompt": f"{file.stem} {index}: {sample.prompt}", "answer": sample.answer}
        if index % 3 != 2:
            assert isinstance(sample.images[0], np.ndarray)
            row["image"] = f"{file.stem}-{index}.png"
            Image.fromarray(sample.images[0]).save(file.parent / row["image"])
        rows.append(json.dumps(row))
    file.write_text("\n".join(rows))
