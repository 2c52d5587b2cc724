"""Which function draws which task."""

from __future__ import annotations

from trainables.tiny import birds, charts, clocks, counting, glyphs, micrograph, numbers, photos, published
from trainables.tiny.canvas import Draw

DRAW: dict[str, Draw] = {
    "digits": published.digit,
    "letters": glyphs.letter,
    "icons": glyphs.icon,
    "easy_vqa_color": published.easy_vqa_color,
    "easy_vqa_shape": published.easy_vqa_shape,
    "easy_vqa_yesno": published.easy_vqa_yesno,
    "textures": photos.texture,
    "faces": photos.face,
    "bars": charts.bars,
    "arrows": glyphs.arrow,
    "larger": charts.larger,
    "digital_clock": clocks.digital,
    "compare_numbers": numbers.compare,
    "counting": counting.counting,
    "clock": clocks.analogue,
    "naming": birds.naming,
    "pathology": micrograph.pathology,
    "scene_text": glyphs.sign,
}
