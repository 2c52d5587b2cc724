"""Font files that come with matplotlib, Pillow and qtawesome, and which splits may use them."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path

from PIL import ImageFont

from trainables.data.samples import Split

TRAIN_FONTS = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSans-Oblique.ttf",
    "DejaVuSansMono.ttf",
    "DejaVuSansMono-Bold.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSerif-Bold.ttf",
    "DejaVuSerif-Italic.ttf",
    "STIXGeneral.ttf",
    "STIXGeneralBol.ttf",
    "STIXGeneralItalic.ttf",
    "cmr10.ttf",
    "cmb10.ttf",
)
PILLOW_FONT = "Aileron"
TEST_FONTS = ("cmss10.ttf", "cmtt10.ttf", PILLOW_FONT)

_ICON_FILES = {
    "material": "materialdesignicons6-webfont-6.9.96",
    "phosphor": "phosphor-1.3.0",
    "elusive": "elusiveicons-webfont-2.0",
    "codicon": "codicon-0.0.36",
    "awesome6_solid": "fontawesome6-solid-webfont-6.7.2",
    "awesome6_regular": "fontawesome6-regular-webfont-6.7.2",
    "awesome5_solid": "fontawesome5-solid-webfont-5.15.4",
    "remix": "remixicon-2.5.0",
}
TRAIN_ICON_FONTS = ("material", "phosphor", "elusive", "codicon", "remix")
TEST_ICON_FONTS = ("awesome6_solid", "awesome6_regular", "awesome5_solid")


def text_fonts(pool: Split) -> tuple[str, ...]:
    """Return the fonts a split may use: search and confirm share fonts that train has not."""
    return TRAIN_FONTS if pool == "train" else TEST_FONTS


def icon_fonts(pool: Split) -> tuple[str, ...]:
    """Return the icon fonts a split may use: search and confirm share fonts that train has not."""
    return TRAIN_ICON_FONTS if pool == "train" else TEST_ICON_FONTS


@cache
def text_font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a text font at `size` canvas pixels."""
    if name == PILLOW_FONT:
        font = ImageFont.load_default(size)
        assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
        return font
    return ImageFont.truetype(str(_package("matplotlib") / "mpl-data" / "fonts" / "ttf" / name), size)


@cache
def icon_font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Return an icon font at `size` canvas pixels."""
    return ImageFont.truetype(str(_package("qtawesome") / "fonts" / f"{_ICON_FILES[name]}.ttf"), size)


@cache
def icon_codes(name: str) -> dict[str, str]:
    """Return the icon font's characters by icon name."""
    stem, _, version = _ICON_FILES[name].rpartition("-")
    charmap = _package("qtawesome") / "fonts" / f"{stem}-charmap-{version}.json"
    return {icon: chr(int(code, 16)) for icon, code in json.loads(charmap.read_text()).items()}


@cache
def _package(name: str) -> Path:
    """Return the folder of an installed package without importing it (qtawesome would want Qt)."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"package {name!r} is needed for the fonts of the tiny tasks")
    return Path(spec.origin).parent
