"""The look of every plot: one template for light pages and one for dark ones.

Colours are those of Okabe and Ito, which people with the common colour blindnesses can tell apart; what a colour
says, a marker's shape says too.
"""

from __future__ import annotations

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
    }
    return go.layout.Template(
        layout={
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, -apple-system, Segoe UI, sans-serif", "size": 13, "color": ink},
            "xaxis": axis,
            "yaxis": axis,
            "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "xanchor": "left"},
            "hoverlabel": {
                "bgcolor": paper,
                "bordercolor": GREY,
                "align": "left",
                "font": {"color": ink, "size": 13},
            },
            "hovermode": "closest",
            "margin": {"l": 56, "r": 16, "t": 24, "b": 48},
            # From loss through nothing (the page's own colour) to gain.
            "coloraxis": {
                "colorscale": [[0, VERMILLION], [0.5, paper], [1, BLUE]],
                "colorbar": {"outlinewidth": 0, "thickness": 12},
            },
        }
    )
