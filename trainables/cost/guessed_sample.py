"""A guess at how large samples are, for a model that has no processor at hand."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from trainables.cost.sample_shape import SampleShape, largest_image, text_length
from trainables.cost.vision_layout import VisionLayout
from trainables.workers.jobs import TaskData

_CHANNELS = 3


def guessed_sample(tasks: Iterable[TaskData], model_config: Any) -> SampleShape:
    """Return a guess: a token for two characters, and images as the model's configuration has them.

    Args:
        tasks: The study's tasks.
        model_config: The model's configuration.
    """
    samples = [sample for task in tasks for split in (task.train, task.search) for sample in split]
    answer = max(math.ceil(len(sample.answer) / 2) + 1 for sample in samples)
    tokens = max(math.ceil(text_length(sample) / 2) + 2 for sample in samples)
    sizes = [largest_image(sample) for sample in samples if sample.images]
    layout = VisionLayout.of(model_config.to_dict(), ())
    extras: dict[str, tuple[int, ...]] = {}
    grids: dict[str, Any] = {}
    if sizes and layout is not None:
        placeholders, one, laid_out = _image(model_config, layout, max(sizes, key=math.prod))
        images = max(len(sample.images) for sample in samples)
        tokens += images * placeholders
        extras = {name: (images * first, *others) for name, (first, *others) in one.items()}
        grids = {name: images * values for name, values in laid_out.items()}
    return SampleShape(
        tokens=tokens,
        answer_tokens=min(answer, tokens),
        extras=extras,
        grids=grids,
        found="guessed from the texts' lengths, for the model has no processor here",
    )


def _image(
    config: Any, layout: VisionLayout, size: tuple[int, int]
) -> tuple[int, dict[str, tuple[int, ...]], dict[str, Any]]:
    """Return an image's placeholders, the shapes of its inputs, and the values of those that lay it out."""
    vision = config.vision_config
    side: int | list[int] | None = getattr(vision, "image_size", None)
    if side is None:
        # A grid of patches as large as the image, of which several are merged into a token.
        together = math.isqrt(layout.merged)
        width, height = (max(1, round(pixels / layout.patch / together)) * together for pixels in size)
        values = _CHANNELS * getattr(vision, "temporal_patch_size", 1) * layout.patch**2
        grids = {"image_grid_thw": [[1, height, width]]}
        extras = {"pixel_values": (height * width, values), "image_grid_thw": (1, 3)}
        return height * width // layout.merged, extras, grids
    side = side if isinstance(side, int) else side[-1]
    per_crop = (side // layout.patch) ** 2 // layout.merged
    if (resolutions := getattr(config, "image_grid_pinpoints", None)) is not None:
        # The whole image, and crops of it at the largest resolution.
        largest = max(resolutions, key=math.prod)
        crops = 1 + math.prod(largest) // side**2
        extras = {"pixel_values": (1, crops, _CHANNELS, side, side), "image_sizes": (1, 2)}
        return crops * per_crop, extras, {"image_sizes": [list(largest)]}
    return per_crop, {"pixel_values": (1, _CHANNELS, side, side)}, {}
