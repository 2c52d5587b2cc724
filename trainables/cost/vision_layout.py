"""How many positions of a sample each part of a model sees, for processors of any kind.

Shapes: P patches of an image's grid; a tower's positions are its patches and, of each crop, a class token.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trainables.collate import EncodedSample


@dataclass(frozen=True, kw_only=True, slots=True)
class Positions:
    """How many positions of one sample each part of a model sees.

    Attributes:
        text: Tokens T of the language model, image placeholders included.
        patches: Image patches.
        vision: Positions of the vision tower: patches and class tokens.
        projected: Positions of the projector, which may take several patches as one.
        pairs: Pairs of the tower's positions that see each other: those of one crop or image.
        window_pairs: Such pairs in layers that see windows alone.
    """

    text: int
    patches: int = 0
    vision: int = 0
    projected: int = 0
    pairs: int = 0
    window_pairs: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionLayout:
    """How a model lays out images.

    Attributes:
        patch: Side of a patch, in pixels.
        class_tokens: Class tokens of a crop.
        merged: Patches that the projector takes as one position.
        window: Side of the windows that most layers see, in patches; None if every layer sees all.
        whole_layers: Layers that see an image whole although others see windows.
    """

    patch: int
    class_tokens: int
    merged: int
    window: int | None
    whole_layers: frozenset[int]

    @classmethod
    def of(cls, config: Mapping[str, Any], names: Iterable[str]) -> VisionLayout | None:
        """Return a model's layout; None for a text model, or if its tower has no patches.

        Args:
            config: The model configuration as plain values.
            names: The model's parameters.
        """
        vision = config.get("vision_config")
        if vision is None or "patch_size" not in vision:
            return None
        patch = _side(vision["patch_size"])
        class_tokens = sum(name.endswith(("class_embedding", "cls_token")) for name in names)
        window, together = vision.get("window_size"), vision.get("spatial_merge_size", 1)
        return cls(
            patch=patch,
            class_tokens=class_tokens,
            merged=_merged(config, patch),
            window=None if window is None else window // patch // together * together,
            whole_layers=frozenset(vision.get("fullatt_block_indexes", ())),
        )

    def positions(self, sample: EncodedSample) -> Positions:
        """Return what the parts of the model see of a sample."""
        pixels = sample.extras.get("pixel_values")
        if pixels is None:
            return Positions(text=sample.length)
        if "image_grid_thw" in sample.extras:
            # A packed sequence of patches, in which the patches of one frame see each other.
            grids = sample.extras["image_grid_thw"].tolist()
            frames = [(height, width) for time, height, width in grids for _ in range(time)]
            class_tokens = 0
        else:
            *crops, _, height, width = pixels.shape
            frames = [(height // self.patch, width // self.patch)] * math.prod(crops)
            class_tokens = self.class_tokens
        patches = sum(height * width for height, width in frames)
        return Positions(
            text=sample.length,
            patches=patches,
            vision=patches + class_tokens * len(frames),
            projected=patches // self.merged,
            pairs=sum((height * width + class_tokens) ** 2 for height, width in frames),
            window_pairs=sum(
                _pairs_of(height, self.window) * _pairs_of(width, self.window) for height, width in frames
            ),
        )


def _merged(config: Mapping[str, Any], patch: int) -> int:
    vision = config["vision_config"]
    for where, name in ((vision, "spatial_merge_size"), (config, "scale_factor")):
        if name in where:
            return int(where[name]) ** 2
    if "downsample_ratio" in config:
        return round(1 / config["downsample_ratio"]) ** 2
    if "mm_tokens_per_image" in config:
        return int((_side(vision["image_size"]) // patch) ** 2 // config["mm_tokens_per_image"])
    return 1


def _side(size: int | list[int]) -> int:
    return size if isinstance(size, int) else size[-1]


def _pairs_of(side: int, window: int | None) -> int:
    """Return along one side the pairs of patches that share a window."""
    whole, rest = divmod(side, window or side)
    return whole * (window or side) ** 2 + rest**2
