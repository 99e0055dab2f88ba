"""The picture of a sweep as a file to share, drawn without a browser: SVG or PNG.

In: the rows of ``rank_curve`` and the texts around them. Out: the bytes of the file.
"""

import io
import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tabtune_core.charts.rank_curve import LINE, Answer, answer
from tabtune_core.charts.style import FAINT, moved_apart, rank_colour, shortened
from tabtune_core.metrics import METRICS

INK = "#0A121A"
STRETCHES = {"dot": ":", "dash": "--"}
"""Dashes of the baselines, by their names in Plotly; the others are drawn with dashes and dots."""
INCHES, DOTS = (9.0, 5.6), 160
TITLE_LETTERS, TEXT_LETTERS = 58, 112
"""Most letters of a line that fit."""


def picture(runs: pd.DataFrame, metric: str, kind: str, *, title: str, text: str = "", about: str = "") -> bytes:
    """Returns the score against rank with its costs below, as a file of this kind: svg or png.

    ``runs`` are as in ``rank_curve``; ``title`` is the verdict, ``text`` its reason and ``about`` the table and date.
    """
    pictured, meaning = answer(runs, metric), METRICS[metric]
    costs = pictured.costs() if pictured else []
    drawn = Figure(figsize=INCHES, dpi=DOTS, facecolor="white")
    edges = {"left": 0.1, "right": 0.76, "top": 0.815, "bottom": 0.14, "hspace": 0.22}
    grid = drawn.add_gridspec(1 + len(costs), 1, height_ratios=[4.6, *[1] * len(costs)], **edges)
    axes = [drawn.add_subplot(grid[place]) for place in range(1 + len(costs))]
    _write(drawn, 0.03, 0.94, shortened(title, TITLE_LETTERS), size=19, weight="bold")
    lines = textwrap.fill(text, TEXT_LETTERS, max_lines=2, placeholder=" …")
    _write(drawn, 0.03, 0.915, lines, size=10, va="top")
    _write(drawn, 0.03, 0.03, shortened(about, TEXT_LETTERS), size=8.5, color=FAINT)
    if pictured is None:
        _write(drawn, 0.35, 0.5, "No run has a result yet", size=12, color=FAINT)
    else:
        compared = pictured.best["score"] if len(pictured.best) else [*pictured.far.values()]
        _scores(axes[0], pictured, meaning.form(compared))
        for axis, (unit, values) in zip(axes[1:], costs, strict=True):
            axis.plot(pictured.best["rank"], values, color=LINE, linewidth=1.2, zorder=1)
            axis.scatter(pictured.best["rank"], values, color=_colours(pictured), s=22, zorder=2)
            axis.set(ylim=(0, 1.25 * max(np.nanmax(values), 1e-9)), ylabel=unit)
            axis.locator_params(axis="y", nbins=2)
        for axis in axes:
            axis.set(xscale="log", xlim=tuple(pictured.span))
            axis.set_xticks(pictured.ticks, [f"{rank:g}" for rank in pictured.ticks] if axis is axes[-1] else [])
            axis.set_xticks([], minor=True)
            axis.set_axisbelow(True)
            axis.grid(color="#E3E8ED", linewidth=0.8)
            axis.tick_params(length=0, labelsize=9, colors=INK)
            axis.spines[:].set_visible(False)
        axes[0].set_ylabel(f"Validation {meaning.written} ({meaning.unit})")
        axes[-1].set_xlabel(f"LoRA rank{pictured.once and f',{pictured.once}'}")
    file = io.BytesIO()
    # without the time of drawing, equal sweeps give equal files
    drawn.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": "LoRA Lab"})
    return file.getvalue()


def _write(drawn: Figure, x: float, y: float, text: str, **look: Any) -> None:
    """Writes a text as it is: names from files may hold the signs of a formula."""
    drawn.text(x, y, text, parse_math=False, **{"color": INK} | look)


def _colours(pictured: Answer) -> list[str]:
    return [rank_colour(rank) for rank in pictured.best["rank"]]


def _scores(axis: Axes, pictured: Answer, form: str) -> None:
    """Draws the scores of ranks and baselines, and names the lines at their ends."""
    best, others, (low, high) = pictured.best, pictured.others, pictured.shown
    for level, colour, dash in pictured.levels.values():
        axis.axhline(level, color=colour, linestyle=STRETCHES.get(dash, "-."), linewidth=1.6, zorder=1)
    axis.scatter(others["rank"], others["score"], color=FAINT, alpha=0.5, s=16, zorder=2, linewidths=0)
    if len(best):
        bars = best[["below", "above"]].fillna(0.0).to_numpy().T
        axis.errorbar(best["rank"], best["score"], yerr=bars, color=LINE, linewidth=1.6, capsize=4, zorder=3)
        axis.scatter(best["rank"], best["score"], color=_colours(pictured), s=80, zorder=4)
        top = best.loc[best["rank"] == pictured.leader, "score"].iloc[0]
        at: dict[str, Any] = {"xytext": (0, 9), "textcoords": "offset points", "ha": "center", "fontsize": 9}
        behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
        axis.annotate(f"best {top:{form}}", (float(pictured.leader or 0), top), color=INK, bbox=behind, zorder=5, **at)
    axis.set_ylim(low, high)
    inside = sorted((level, name, colour) for name, (level, colour) in pictured.ends.items() if low <= level <= high)
    places = moved_apart([(level - low) / (high - low) for level, *_ in inside], 0.075, 1.0)
    for (_, name, colour), place in zip(inside, places, strict=True):
        shown: dict[str, Any] = {"xycoords": "axes fraction", "va": "center", "fontsize": 10, "parse_math": False}
        axis.annotate(f"● {shortened(name)}", (1.015, place), color=colour, **shown)
    beyond = [f"{name} {value:{form}}" for name, value in pictured.far.items() if not low <= value <= high]
    if beyond:
        where: dict[str, Any] = {"xycoords": "axes fraction", "ha": "right", "fontsize": 9, "parse_math": False}
        text = f"{', '.join(beyond[:3])} {'↑' if pictured.far[beyond[0].rpartition(' ')[0]] > high else '↓'}"
        axis.annotate(text, (1.0, 1.02), color=FAINT, **where)
