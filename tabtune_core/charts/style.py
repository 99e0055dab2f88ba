"""What all charts share: colours, dashes and markers of the runs, axes with units, and the look of an empty figure.

A categorical ``run`` column fixes the runs and their order, so that a run looks the same in every chart, even before
all have points of it.
"""

import dataclasses
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from tabtune_core.analysis.run_curves import HIGH, LOW
from tabtune_core.settings import STRATEGY_NAMES, RunSettings

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#A08A00", "#8B5E3C", "#AD2E6A")
"""The first six are safe for colour-blind readers (Okabe and Ito 2008); the yellow is darkened for a white background.
Vermilion and grey are reserved for the baselines.
"""
RANK_COLOURS = ("#52B96A", "#2FA97F", "#1F978B", "#25848E", "#2C718E", "#355F8D", "#4A5FA8", "#6A5BB5")
"""Of ranks 1, 2, 4 ... 128, light to dark: viridis without its ends, visible on light and dark backgrounds."""
DASHES = ("solid", "7px,3px", "2px,3px", "9px,3px,2px,3px", "14px,4px", "5px,2px,1px,2px,1px,2px")
"""Each repeats within the width of a line in a legend."""
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "pentagon", "hexagon", "star-triangle-up")
MEGABYTE = 1e6
FAINT = "#7F8C99"
"""For guides, limits and runs that are left out; visible on light and dark backgrounds."""
GOOD_TO_BAD = [[0.0, "#0072B2"], [0.5, "#9A9A9A"], [1.0, "#E69F00"]]
"""A colour scale that is safe for colour-blind readers and visible on light and dark backgrounds: blue is good, orange
bad.
"""
MOST_POINTS = 8_000
"""Most points of all runs in one chart."""
PALE = 0.3
"""Opacity of a line behind its smoothed one."""
X_TITLES = {"step": "Training step", "seconds": "Training time (s)"}


@dataclass(frozen=True, slots=True)
class RunStyle:
    """How one run is drawn; colour, dash and marker together distinguish runs."""

    colour: str
    dash: str
    marker: str
    place: int = 0
    """Place in the legend, and among bars that stand side by side."""


BASELINES = {
    "Zero-shot": RunStyle(FAINT, "dot", "star"),
    "Full fine-tuning": RunStyle("#D55E00", "dash", "x"),
    "Linear model": RunStyle(FAINT, "2px,6px", "triangle-down"),
    "Gradient boosting": RunStyle(FAINT, "8px,3px,2px,3px", "hourglass"),
    "Constant": RunStyle(FAINT, "1px,2px", "line-ew-open"),
}
"""By the start of a run's label; what is not trained here is grey."""
LEVEL = ("Zero-shot", "Linear model", "Gradient boosting", "Constant")
"""Baselines without training steps: they have one score, drawn as a level line."""


class Styles(tuple[RunStyle, ...]):
    """One style per category of ``run``, in order.

    Copying returns the same object: pandas copies ``attrs``, and styles never change.
    """

    __slots__ = ()

    def __deepcopy__(self, memo: dict[int, object]) -> "Styles":
        return self


Role = tuple[str, Hashable, Hashable]
"""What the look of a run expresses: a label, whose start identifies a baseline, and what runs share that have its
colour, or its dash.
"""


def roles(settings: Sequence[RunSettings]) -> list[Role]:
    """Returns one role per run of a sweep: the colour shows the rank, or the configuration if all have one rank; the
    dash shows the seed.

    The dash also shows what else differs between runs of one rank and seed.
    """
    ranks = {run.lora.rank for run in settings if run.strategy == "peft"}
    beside = [
        repr(run.changed(seed=0, rank=1)) if run.strategy == "peft" and len(ranks) > 1 else "" for run in settings
    ]
    several = len({*beside} - {""}) > 1
    return [
        (
            STRATEGY_NAMES[run.strategy],
            run.lora.rank if others else repr(run.changed(seed=0)),
            (run.seed, others if several else ""),
        )
        for run, others in zip(settings, beside, strict=True)
    ]


def styles_of(cast: Sequence[Role]) -> Styles:
    """Returns a style per role; colours and dashes are assigned in order.

    If dashes show nothing, they help to tell colours apart.
    """
    baselines = [
        next((style for start, style in BASELINES.items() if label.startswith(start)), None) for label, *_ in cast
    ]
    colours = _numbered(colour for (_, colour, _), baseline in zip(cast, baselines, strict=True) if baseline is None)
    dashes = _numbered(dash for *_, dash in cast)
    styles = list[RunStyle]()
    for place, ((_, colour, dash), baseline) in enumerate(zip(cast, baselines, strict=True)):
        turn = colours.get(colour, 0)
        hue = rank_colour(colour) if isinstance(colour, int) else COLOURS[turn % len(COLOURS)]
        style = baseline or RunStyle(hue, DASHES[0], MARKERS[turn % len(MARKERS)])
        line = dashes[dash] + turn // len(COLOURS) * len(dashes)
        if len(dashes) == 1:
            line = turn + 3 * (turn // len(COLOURS))  # each pair of colour and dash is used once before one repeats
        elif baseline is BASELINES["Gradient boosting"]:
            line += len(DASHES) // 2  # beside the linear model, which has its colour
        if baseline is None or len(dashes) > 1:
            style = dataclasses.replace(style, dash=DASHES[line % len(DASHES)])
        elif any(other.colour == style.colour and other.dash == style.dash for other in styles):
            style = dataclasses.replace(style, dash=DASHES[len(styles) % len(DASHES)])
        styles.append(dataclasses.replace(style, place=place))
    return Styles(styles)


def rank_colour(rank: float) -> str:
    """Returns the colour of a rank, the same on every page: the darker, the larger."""
    return RANK_COLOURS[int(np.clip(np.round(np.log2(max(rank, 1))), 0, len(RANK_COLOURS) - 1))]


def _numbered(keys: Iterable[Hashable]) -> dict[Hashable, int]:
    """Numbers the keys in order of appearance."""
    return {key: number for number, key in enumerate(dict.fromkeys(keys))}


def run_styles(labels: Sequence[str]) -> dict[str, RunStyle]:
    """Returns a style per label if nothing else is known of the runs; LoRA runs take the colours in order."""
    return dict(zip(labels, styles_of([(label, label, None) for label in labels]), strict=True))


def with_names(frame: pd.DataFrame, names: Mapping[str, str], styles: Styles) -> pd.DataFrame:
    """Returns the frame with names in place of ids in the column ``run``, and their styles in its attributes; ``names``
    are by id.
    """
    frame = frame.assign(run=pd.Categorical(frame["run"].map(names), categories=list(dict.fromkeys(names.values()))))
    frame.attrs["styles"] = styles
    return frame


def each_run(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, RunStyle]]:
    """Yields label, rows and style of every run that has rows, in the order of the categories or of appearance."""
    labels = _labels(frame)
    styles: Sequence[RunStyle] = frame.attrs.get("styles") or list(run_styles(labels).values())
    rows_by_label = {str(label): rows for label, rows in frame.groupby("run", observed=True, sort=False)}
    for label, style in zip(labels, styles, strict=True):
        if label in rows_by_label:
            yield label, rows_by_label[label], style


def _labels(frame: pd.DataFrame) -> list[str]:
    column = frame["run"]
    return [
        str(label)
        for label in (column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else pd.unique(column))
    ]


def points_each(frame: pd.DataFrame) -> int:
    """Returns how many points a run may have: 400, or fewer (at least 90) if all runs together would have more than
    MOST_POINTS.
    """
    return max(90, min(400, MOST_POINTS // max(len(_labels(frame)), 1)))


def figure(x_title: str, y_title: str, *, log: bool = False, height: int = 320) -> go.Figure:
    """Returns an empty figure with named axes and a transparent background."""
    axis = {"automargin": True, "zeroline": False}
    return go.Figure(
        layout={
            "height": height,
            "margin": {"l": 8, "r": 36, "t": 8, "b": 8},  # the toolbar stands at the right, beside legend and curves
            "modebar": {"orientation": "v", "bgcolor": "rgba(0,0,0,0)"},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "hovermode": "closest",
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 1.02,
                "yanchor": "bottom",
                "font": {"size": 12},
            },
            "xaxis": axis | {"title": {"text": x_title, "standoff": 8}},
            "yaxis": axis | {"title": {"text": y_title, "standoff": 8}, "type": "log" if log else "linear"},
        }
    )


def band(
    drawn: go.Figure, rows: pd.DataFrame, x: str, y: str, label: str, style: RunStyle, *, weight: float = 0.0
) -> None:
    """Draws the band from the lowest to the highest run of a group behind its mean, if ``rows`` has these columns."""
    if y + LOW not in rows:
        return
    places = rows[x].to_numpy(dtype=np.float64)
    low, high = (smooth(rows[y + end].to_numpy(dtype=np.float64), weight) for end in (LOW, HIGH))
    kept = np.intersect1d(np.flatnonzero(np.isfinite(low + high)), np.union1d(thin(low, 200), thin(high, 200)))
    drawn.add_scatter(
        x=np.concatenate([places[kept], places[kept][::-1]]).astype(np.float32),
        y=np.concatenate([high[kept], low[kept][::-1]]).astype(np.float32),
        mode="lines",
        line={"width": 0, "color": style.colour},
        fill="toself",
        fillcolor=f"rgba({','.join(map(str, bytes.fromhex(style.colour[1:])))},0.16)",
        showlegend=False,
        hoverinfo="skip",
        legendgroup=label,
        legendrank=style.place,
    )


def with_numbers(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Returns the rows with a number in each of these columns; no rows if such a column is missing."""
    return frame.dropna(subset=[*columns]) if set(columns) <= set(frame) else frame.iloc[:0]


def say(drawn: go.Figure, text: str) -> go.Figure:
    """Writes a sentence in the middle of the figure, for when there is nothing to draw yet."""
    drawn.add_annotation(
        text=text, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font={"size": 14, "color": FAINT}
    )
    return drawn.update_xaxes(showticklabels=False, showgrid=False).update_yaxes(showticklabels=False, showgrid=False)


def leave_room(drawn: go.Figure, values: NDArray[np.floating]) -> go.Figure:
    """Sets a sensible vertical range if all values are equal; Plotly would show one unit up and down."""
    known = values[np.isfinite(values)]
    if len(known) and drawn.layout.yaxis.type != "log" and np.ptp(known) <= 1e-9 * np.abs(known).max():
        room = 0.05 * abs(float(known[0])) or 0.01
        drawn.update_yaxes(range=[float(known[0]) - room, float(known[0]) + room])
    return drawn


def focus(
    values: NDArray[np.floating], *, zero_shot: float = np.nan, noise: float = 0.0, higher: bool = False
) -> tuple[float, float] | None:
    """Returns the vertical range that shows trained runs and zero-shot, at least ``noise`` high; None without values.

    A value that is worse than zero-shot by over three times the best gain, the usual distance or the noise is left out.
    """
    known = np.append(values, zero_shot)
    known = known[np.isfinite(known)]
    if not len(known):
        return None
    sign = -1.0 if higher else 1.0
    usual = zero_shot if np.isfinite(zero_shot) else float(np.median(known))
    noise = noise if np.isfinite(noise) else 0.0
    least = max(noise, 0.02 * abs(usual), float(np.median(np.abs(known - usual))))
    near = known[sign * (known - usual) <= 3 * max(sign * usual - (sign * known).min(), least)]
    low, high = float(near.min()), float(near.max())
    room = max(0.08 * (high - low), (max(noise, 0.01 * abs(usual)) - (high - low)) / 2) or 0.01
    return low - room, high + room


def mark_outside(drawn: go.Figure, named: Mapping[str, float], range_: tuple[float, float] | None, form: str) -> None:
    """Sets the vertical range, names what lies beyond it at the edge, and adds a button that shows all."""
    if range_ is None or drawn.layout.yaxis.type == "log":
        return
    low, high = range_
    drawn.layout.yaxis.range = [low, high]
    beyond = {name: value for name, value in named.items() if np.isfinite(value) and not low <= value <= high}
    for above in (True, False):
        marks = [f"{shortened(name)} {value:{form}}" for name, value in beyond.items() if (value > high) == above]
        if marks:
            text = ", ".join(marks[:3]) + (f" and {len(marks) - 3} more" if len(marks) > 3 else "")
            drawn.add_annotation(
                text=f"{text} {'↑' if above else '↓'}",
                **{"x": 0.99, "xref": "x domain", "xanchor": "right", "showarrow": False},
                **{"y": float(above), "yref": "y domain", "yanchor": "bottom"},
                font={"size": 12, "color": FAINT},
            )
    if beyond:
        focused = {"yaxis.range": [low, high], "yaxis.autorange": False}
        button = {"label": "Show all", "method": "relayout", "args": [{"yaxis.autorange": True}], "args2": [focused]}
        look = {
            "type": "buttons",
            "showactive": False,
            "bgcolor": "rgba(0,0,0,0)",
            "font": {"size": 11, "color": FAINT},
        }
        place = {"x": 1, "xanchor": "right", "y": 0, "yanchor": "top", "pad": {"t": 20}}
        drawn.update_layout(updatemenus=[{"buttons": [button]} | look | place], margin={"b": 52})
        drawn.update_layout(legend={"y": 1.1})


def label_ends(drawn: go.Figure, named: Mapping[str, tuple[float, str]], range_: tuple[float, float]) -> None:
    """Writes each name at the right of its line, in the line's colour and apart from its neighbours; no legend then."""
    low, high = range_
    ordered = sorted((level, name, colour) for name, (level, colour) in named.items() if low <= level <= high)
    least, place = 0.08, -1.0
    for level, name, colour in ordered:
        place = max((level - low) / (high - low), place + least)
        drawn.add_annotation(
            text=shortened(name),
            **{"x": 1.01, "xref": "x domain", "xanchor": "left", "showarrow": False},
            **{"y": place, "yref": "y domain", "yanchor": "middle"},
            font={"size": 12, "color": colour},
        )
    longest = max((len(shortened(name)) for _, name, _ in ordered), default=0)
    drawn.update_traces(showlegend=False)
    drawn.update_layout(margin={"t": 28, "r": 40 + 7 * longest})


def shortened(name: str, most: int = 28) -> str:
    """Returns a name that fits beside a line."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def thin(y_N: NDArray[np.floating], most: int = 400) -> NDArray[np.integer]:
    """Returns the indices of about ``most`` points at most that keep every spike: the first, lowest and highest of
    equal stretches.
    """
    if len(y_N) <= most:
        return np.arange(len(y_N))
    width = -(-len(y_N) // (most // 3))
    starts = np.arange(0, len(y_N), width)
    place_SW = np.minimum(
        starts[:, None] + np.arange(width), len(y_N) - 1
    )  # S stretches, each W wide; the last repeats its end
    value_SW = y_N[place_SW]
    lowest = starts + np.where(np.isnan(value_SW), np.inf, value_SW).argmin(axis=1)
    highest = starts + np.where(np.isnan(value_SW), -np.inf, value_SW).argmax(axis=1)
    return np.unique(np.minimum(np.concatenate([starts, lowest, highest, [len(y_N) - 1]]), len(y_N) - 1))


def compact(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Returns the numbers in fewer bytes, as precise as a chart shows them."""
    if np.issubdtype(values.dtype, np.integer) and len(values) and values.min() >= 0:
        return values.astype(np.min_scalar_type(values.max()))
    return values.astype(np.float32) if np.issubdtype(values.dtype, np.floating) else values


def smooth(values: NDArray[np.floating], weight: float) -> NDArray[np.floating]:
    """Computes the exponentially weighted mean of all points so far; each has ``weight`` times the weight of the next.
    0 changes nothing.

    The weights are divided by their sum, so that the first points are not pulled towards 0 (Kingma and Ba 2015, section
    3, arXiv 1412.6980). Values that are not finite are left out of the mean.
    """
    if not weight:
        return values
    known = pd.Series(np.where(np.isfinite(values), values, np.nan))
    return known.ewm(alpha=1 - weight, adjust=True, ignore_na=True).mean().to_numpy()


CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "sendChartToCloud", "sendDataToCloud"],
}
"""For ``Plotly.react`` and ``to_html``.

The toolbar's "Share chart" would upload the chart, so it is off and has no address.
"""


def plain_in_figure(text: str) -> str:
    """Escapes text for a name or label of a figure, where Plotly takes ``<b>``, ``&lt;`` and ``%{x}`` for markup.

    A zero-width space breaks the markup.
    """
    return re.sub(r"<|&|%(?=\{)", lambda match: f"{match[0]}\u200b", text)
