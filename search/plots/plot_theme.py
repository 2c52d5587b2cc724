"""The look of every plot: one template for light pages and one for dark ones.

Colours are those of Okabe and Ito, which people with the common colour blindnesses can tell apart; what a
colour says, a marker's shape says too.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import plotly.graph_objects as go

Mode = Literal["light", "dark"]

BLUE: Final = "#0072B2"
SKY: Final = "#56B4E9"
GREEN: Final = "#009E73"
ORANGE: Final = "#E69F00"
VERMILLION: Final = "#D55E00"
PURPLE: Final = "#CC79A7"
GREY: Final = "#8A8F98"

_INK: Final = {"light": "#1c2026", "dark": "#e8eaed"}
_GRID: Final = {"light": "#e4e7eb", "dark": "#30353d"}
_PAPER: Final = {"light": "#ffffff", "dark": "#171a1f"}


def template(mode: Mode) -> go.layout.Template:
    """Return the template for light or dark pages; figures are transparent and take the page's colour."""
    ink, grid, paper = _INK[mode], _GRID[mode], _PAPER[mode]
    axis = {
        "gridcolor": grid,
        "linecolor": grid,
        "zerolinecolor": GREY,
        "zerolinewidth": 1,
        "automargin": True,
        # Unseen ticks keep the labels of two axes apart in their corner.
        "ticks": "outside",
        "ticklen": 6,
        "tickcolor": "rgba(0,0,0,0)",
    }
    return go.layout.Template(
        layout={
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, -apple-system, Segoe UI, sans-serif", "size": 13, "color": ink},
            "xaxis": axis,
            "yaxis": axis,
            "legend": {
                "orientation": "h",
                "yanchor": "bottom",
                "y": 1.02,
                "x": 0,
                "xanchor": "left",
                "itemsizing": "constant",
            },
            "hoverlabel": {
                "bgcolor": paper,
                "bordercolor": GREY,
                "align": "left",
                "font": {"color": ink, "size": 13},
            },
            "hovermode": "closest",
            "margin": {"l": 56, "r": 16, "t": 24, "b": 48},
            "coloraxis": {"colorscale": _loss_to_gain(paper)},
        }
    )


def _loss_to_gain(middle: str) -> list[tuple[float, str]]:
    """Return a scale from loss through `middle` to gain; colour grows as the root, so small changes show."""
    scale = []
    for place in (0.0, 0.15, 0.3, 0.4, 0.45, 0.48, 0.5, 0.52, 0.55, 0.6, 0.7, 0.85, 1.0):
        strength = math.sqrt(abs(place - 0.5) / 0.5)
        scale.append((place, _mixed(middle, VERMILLION if place < 0.5 else BLUE, strength)))
    return scale


def _mixed(start: str, end: str, share: float) -> str:
    channels = [(int(start[at : at + 2], 16), int(end[at : at + 2], 16)) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in channels)
