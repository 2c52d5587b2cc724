"""Characters as pictures: letters, icons, arrows, and words on signs."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from trainables.data.samples import Split
from trainables.tiny.canvas import BIG, Colour, Item, any_colour, canvas, contrasting, finish, pick
from trainables.tiny.fonts import icon_codes, icon_font, icon_fonts, text_font, text_fonts

LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
ICONS = (
    *("heart", "star", "bell", "camera", "car", "key", "lock", "cloud"),
    *("tree", "house", "umbrella", "flag", "gift", "book", "phone"),
)
WORDS = ("red", "blue", "gray", "teal", "yes", "no", "up", "down", "left", "car", "key", "moon")
DIRECTIONS = ("right", "up", "left", "down")

_SIZES = (72, 80, 88, 96, 104)
_STYLES = ("", "-fill", "-filled", "-line", "-outline", "-bold", "-light", "-variant")
_ICON_ALIASES = {
    "heart": ("heart", "heart-2", "heart-3", "heart-straight", "heart-alt", "heart-empty"),
    "star": ("star", "star-s", "star-alt", "star-empty", "star-full"),
    "bell": ("bell", "bell-ring", "bell-simple", "notification-2", "notification-3"),
    "camera": ("camera", "camera-2", "camera-3"),
    "car": ("car", "car-simple", "taxi"),
    "key": ("key", "key-2"),
    "lock": ("lock", "lock-2", "lock-simple", "lock-alt"),
    "cloud": ("cloud", "cloud-alt"),
    "tree": ("tree", "pine-tree", "tree-evergreen"),
    "house": ("house", "house-simple", "home", "home-2", "home-3", "home-4", "home-5", "home-alt"),
    "umbrella": ("umbrella", "umbrella-simple"),
    "flag": ("flag", "flag-2", "flag-alt"),
    "gift": ("gift", "gift-2"),
    "book": ("book", "book-2", "book-3", "book-bookmark"),
    "phone": ("phone", "phone-call", "phone-alt"),
}
_ARROW_NAMES = (
    *(
        "arrow-{}",
        "arrow-{}-bold",
        "arrow-{}-thick",
        "arrow-{}-circle",
        "arrow-{}-bold-circle",
        "arrow-{}-line",
    ),
    *("arrow-circle-{}", "arrow-circle-{}-fill", "arrow-alt-circle-{}", "arrow-fat-{}", "arrow-fat-{}-fill"),
    *("circle-arrow-{}", "long-arrow-alt-{}", "arrow-{}-long"),
)
_ARROW_CHARACTERS = {"right": "→⇒➔", "left": "←⇐", "up": "↑⇑", "down": "↓⇓"}


def letter(pool: Split, index: int, rng: np.random.Generator) -> Item:
    """Draw one capital letter, slightly turned, on a plain ground."""
    answer = LETTERS[index % len(LETTERS)]
    font = text_font(pick(rng, text_fonts(pool)), int(rng.choice(_SIZES)))
    return _turned(answer, font, rng, degrees=10), "which letter is this ?", answer


def icon(pool: Split, index: int, rng: np.random.Generator) -> Item:
    """Draw one icon from a font of the split."""
    answer = ICONS[index % len(ICONS)]
    variants = _icon_variants(answer, icon_fonts(pool))
    name, character = variants[int(rng.integers(len(variants)))]
    font = _icon_font(name, character, int(rng.choice(_SIZES)))
    picture = _turned(character, font, rng, degrees=12, reshape=pool == "train")
    return picture, "what is this icon ?", answer


def arrow(pool: Split, index: int, rng: np.random.Generator) -> Item:
    """Draw an arrow: for train from lines, text or icon fonts, otherwise from other icon fonts."""
    answer = DIRECTIONS[index % 4]
    prompt = "which way does the arrow point ?"
    kind = rng.random() if pool == "train" else 1.0
    if kind < 0.45:
        return _drawn_arrow(answer, rng), prompt, answer
    if kind < 0.7:
        characters = _ARROW_CHARACTERS[answer]
        font = text_font(pick(rng, ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")), int(rng.choice(_SIZES)) + 24)
        return _turned(characters[int(rng.integers(len(characters)))], font, rng, degrees=12), prompt, answer
    variants = _arrow_variants(answer, icon_fonts(pool))
    name, character = variants[int(rng.integers(len(variants)))]
    return (
        _turned(character, _icon_font(name, character, int(rng.choice(_SIZES))), rng, degrees=12),
        prompt,
        answer,
    )


def sign(pool: Split, index: int, rng: np.random.Generator) -> Item:
    """Draw a word on a sign, among coloured clutter."""
    answer = WORDS[index % len(WORDS)]
    ink, board = contrasting(rng)
    image, pen = canvas(any_colour(rng, 40, 216))
    for _ in range(int(rng.integers(5, 9))):
        x, y = (int(v) for v in rng.integers(-10, BIG, 2))
        width, height = (int(v) for v in rng.integers(10, 50, 2))
        shape = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        shape((x, y, x + width, y + height), fill=any_colour(rng))
    name, size = pick(rng, text_fonts(pool)), 56
    while (box := text_font(name, size).getbbox(answer))[2] - box[0] > BIG - 16:
        size -= 2
    width, height = box[2] - box[0], box[3] - box[1]
    x = int(rng.integers(4, BIG - width - 3))
    y = int(rng.integers(8, BIG - height - 8))
    pen.rectangle((x - 5, y - 7, x + width + 5, y + height + 7), fill=board)
    pen.text((x - box[0], y - box[1]), answer, font=text_font(name, size), fill=ink)
    return finish(image, rng), "what does the sign say ?", answer


def _turned(
    character: str,
    font: ImageFont.FreeTypeFont,
    rng: np.random.Generator,
    degrees: float,
    reshape: bool = False,
) -> np.ndarray:
    """Draw a character near the centre, turned by up to `degrees`; `reshape` also varies its form."""
    ink, ground = contrasting(rng)
    mask = Image.new("L", (BIG, BIG))
    left, top, right, bottom = font.getbbox(character)
    shift = rng.integers(-8, 9, 2)
    x = (BIG - (left + right)) / 2 + shift[0]
    y = (BIG - (top + bottom)) / 2 + shift[1]
    ImageDraw.Draw(mask).text((x, y), character, font=font, fill=255)
    mask = mask.rotate(float(rng.uniform(-degrees, degrees)), Image.Resampling.NEAREST)
    if reshape:
        mask = _reshaped(mask, rng)
    image, _ = canvas(ground)
    image.paste(ink, (0, 0, BIG, BIG), mask)
    return finish(image, rng)


def _reshaped(mask: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Mirror, stretch, and thicken or thin a glyph at random."""
    mask = mask.reduce(2)
    if rng.random() < 0.5:
        mask = ImageOps.mirror(mask)
    width, height = (int(mask.width * v) for v in rng.uniform(0.85, 1.15, 2))
    left, top = (width - mask.width) // 2, (height - mask.height) // 2
    mask = mask.resize((width, height)).crop((left, top, left + mask.width, top + mask.height))
    kind = rng.random()
    if kind < 0.25:
        mask = mask.filter(ImageFilter.MaxFilter(3))
    elif kind < 0.45:
        mask = mask.filter(ImageFilter.MinFilter(3))
    return mask.resize((BIG, BIG))


def _drawn_arrow(direction: str, rng: np.random.Generator) -> np.ndarray:
    """Draw a shaft and a head of random proportions, filled or as strokes."""
    ink, ground = contrasting(rng)
    image, pen = canvas(ground)
    ink = _maybe_round(pen, ink, ground, rng)
    angle = np.pi / 2 * DIRECTIONS.index(direction) + rng.uniform(-0.2, 0.2)
    along = np.array([np.cos(angle), -np.sin(angle)])
    across = np.array([along[1], -along[0]])
    centre = BIG / 2 + rng.uniform(-10, 10, 2)
    length, spread = rng.uniform(34, 56), rng.uniform(14, 34)
    depth, width = rng.uniform(14, 36), int(rng.integers(5, 18))
    tip, tail = centre + along * length, centre - along * length * rng.uniform(0.3, 1)
    wings = [tip - along * depth + across * spread, tip - along * depth - across * spread]
    if rng.random() < 0.5:
        if rng.random() < 0.9:
            pen.line(_points(tail, tip - along * depth * 0.8), fill=ink, width=width)
        pen.polygon(_points(tip, *wings), fill=ink)
    else:
        if rng.random() < 0.8:
            pen.line(_points(tail, tip), fill=ink, width=width)
        pen.line(_points(wings[0], tip, wings[1]), fill=ink, width=width, joint="curve")
    return finish(image, rng)


def _maybe_round(pen: ImageDraw.ImageDraw, ink: Colour, ground: Colour, rng: np.random.Generator) -> Colour:
    """Sometimes draw a ring or a filled disc behind the arrow; return the ink to draw the arrow with."""
    edge = int(rng.integers(0, 10))
    place, kind = (edge, edge, BIG - edge, BIG - edge), rng.random()
    if kind < 0.2:
        pen.ellipse(place, outline=ink, width=int(rng.integers(4, 10)))
    elif kind < 0.5:
        pen.ellipse(place, fill=ink)
        return ground
    return ink


def _points(*points: np.ndarray) -> list[tuple[float, float]]:
    return [(float(p[0]), float(p[1])) for p in points]


@cache
def _icon_font(name: str, character: str, extent: int) -> ImageFont.FreeTypeFont:
    """Return the font in which the character is `extent` canvas pixels wide or high: em boxes differ."""
    left, top, right, bottom = icon_font(name, 100).getbbox(character)
    return icon_font(name, round(100 * extent / max(right - left, bottom - top)))


@cache
def _icon_variants(concept: str, fonts: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return (font, character) of every drawing of the concept in these fonts."""
    names = _ICON_ALIASES.get(concept, (concept,))
    keys = [name + style for name in names for style in _STYLES]
    return [(font, icon_codes(font)[key]) for font in fonts for key in keys if key in icon_codes(font)]


@cache
def _arrow_variants(direction: str, fonts: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return (font, character) of every arrow of this direction in these fonts."""
    keys = [name.format(direction) for name in _ARROW_NAMES]
    return [(font, icon_codes(font)[key]) for font in fonts for key in keys if key in icon_codes(font)]
