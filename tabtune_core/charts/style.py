"""What all charts share: colours, dashes and markers of the runs, names beside lines, axes with units.

A categorical ``run`` column fixes the runs and their order, so that a run looks the same in every chart.
"""

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from tabtune_core.settings import STRATEGY_NAMES, RunSettings

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#A08A00", "#8B5E3C", "#AD2E6A")
"""Of runs that have one rank: six that are safe for colour-blind readers (Okabe and Ito 2008), and two more."""
RANK_COLOURS = ("#BBA000", "#35A83C", "#0D9E92", "#3D8DE6", "#6A48C4", "#BE4CB4", "#B0305F", "#80503A")
"""Of ranks 1, 2, 4 ... 128: neighbours differ on light and dark backgrounds, also for colour-blind readers."""
DASHES = ("solid", "7px,3px", "2px,3px", "9px,3px,2px,3px", "14px,4px", "5px,2px,1px,2px,1px,2px")
FADED = 2
"""Place in DASHES of runs that stopped at a rung, so that the one that went on is solid."""
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "pentagon", "hexagon", "star-triangle-up")
MEGABYTE = 1e6
FAINT = "#7F8C99"
"""For references, guides, limits and runs that are left out; visible on light and dark backgrounds."""
MOST_LABELS = 12
"""With more names beside a chart none would be readable: then only those of the baselines."""
LABEL_PIXELS, BELOW_PIXELS = 15, 55
"""Heights of a name beside a line, and of marks and title below a chart."""
PALE = 0.3
"""Opacity of runs that stopped at a rung."""
X_TITLES = {"step": "Training step", "seconds": "Training time (s)"}


@dataclass(frozen=True, slots=True)
class RunStyle:
    """How one run is drawn."""

    colour: str
    dash: str
    marker: str
    place: int = 0
    """Place among the runs, and among bars that stand side by side."""
    opacity: float = 1.0
    """Below 1, the run has no name beside its line."""


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
    """One style per category of ``run``, in order; copying returns the same object, because pandas copies ``attrs``."""

    __slots__ = ()

    def __deepcopy__(self, memo: dict[int, object]) -> "Styles":
        return self


Role = tuple[str, Hashable, Hashable]
"""What the look of a run expresses: a label, whose start identifies a baseline, its colour, and its dash."""


def roles(settings: Sequence[RunSettings]) -> list[Role]:
    """Returns one role per run of a sweep: the colour shows the rank, the dash the seed and what else differs.

    If several configurations have one rank, the colour shows the configuration.
    """
    lora = [run for run in settings if run.strategy == "peft"]
    by_rank = len({run.lora.rank for run in lora}) > 1 or len({repr(run.changed(seed=0)) for run in lora}) == 1
    return [
        (
            STRATEGY_NAMES[run.strategy],
            run.lora.rank if by_rank and run.strategy == "peft" else repr(run.changed(seed=0)),
            (run.seed, repr(run.changed(seed=0, rank=1)) if run.strategy == "peft" else ""),
        )
        for run in settings
    ]


def styles_of(cast: Sequence[Role], faded: Iterable[bool] = ()) -> Styles:
    """Returns a style per role; those with one colour have different dashes, and ``faded`` ones are pale."""
    styles, turns, lines = list[RunStyle](), dict[Hashable, int](), dict[Hashable, dict[Hashable, int]]()
    for place, ((label, colour, dash), pale) in enumerate(zip(cast, chain(faded, repeat(False)), strict=False)):
        start = next((name for name in BASELINES if label.startswith(name)), "")
        if start:
            style = BASELINES[start]
        elif isinstance(colour, int):
            style = RunStyle(rank_colour(colour), DASHES[0], MARKERS[rank_place(colour)])
        else:
            turn = turns.setdefault(colour, len(turns))
            style = RunStyle(COLOURS[turn % len(COLOURS)], DASHES[0], MARKERS[turn % len(MARKERS)])
        same = lines.setdefault(start or style.colour, {})
        line = FADED if pale else same.setdefault((colour, dash), len(same))
        if line:
            style = replace(style, dash=DASHES[(line + bool(start)) % len(DASHES)])
        styles.append(replace(style, place=place, opacity=PALE if pale else 1.0))
    return Styles(styles)


def rank_place(rank: float) -> int:
    """Returns the place of a rank among 1, 2, 4 ... 128, of the nearest if it is none of them."""
    return int(np.clip(np.round(np.log2(max(rank, 1))), 0, len(RANK_COLOURS) - 1))


def rank_colour(rank: float) -> str:
    """Returns the colour of a rank, the same on every page."""
    return RANK_COLOURS[rank_place(rank)]


def run_styles(labels: Sequence[str]) -> dict[str, RunStyle]:
    """Returns a style per label if nothing else is known of the runs; a label such as ``LoRA r=8`` names its rank."""
    ranks = [re.search(r"\br=(\d+)\b", label) for label in labels]
    cast = [(label, int(rank[1]) if rank else label, label) for label, rank in zip(labels, ranks, strict=True)]
    return dict(zip(labels, styles_of(cast), strict=True))


def with_names(frame: pd.DataFrame, names: Mapping[str, str], styles: Styles) -> pd.DataFrame:
    """Returns the frame with ``names``, by id, in the column ``run``, and their styles in its attributes."""
    frame = frame.assign(run=pd.Categorical(frame["run"].map(names), categories=list(dict.fromkeys(names.values()))))
    frame.attrs["styles"] = styles
    return frame


def each_run(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, RunStyle]]:
    """Yields label, rows and style of every run that has rows, in the order of the categories or of appearance."""
    labels = labels_of(frame)
    styles: Sequence[RunStyle] = frame.attrs.get("styles") or list(run_styles(labels).values())
    rows_by_label = {str(label): rows for label, rows in frame.groupby("run", observed=True, sort=False)}
    for label, style in zip(labels, styles, strict=True):
        if label in rows_by_label:
            yield label, rows_by_label[label], style


def labels_of(frame: pd.DataFrame) -> list[str]:
    """Returns the labels of all runs of a frame, in order."""
    column = frame["run"]
    return [*map(str, column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else pd.unique(column))]


def figure(x_title: str, y_title: str, *, height: int = 320) -> go.Figure:
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
            "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
            "xaxis": axis | {"title": {"text": x_title, "standoff": 8}},
            "yaxis": axis | {"title": {"text": y_title, "standoff": 8}},
        }
    )


def with_numbers(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Returns the rows with a finite number in each of these columns; no rows if such a column is missing."""
    if not set(columns) <= set(frame):
        return frame.iloc[:0]
    known: NDArray[np.bool_] = np.isfinite(frame[[*columns]].astype("float64").to_numpy()).all(axis=1)
    return frame.loc[known]


def say(drawn: go.Figure, text: str) -> go.Figure:
    """Writes a sentence in the middle of the figure, for when there is nothing to draw yet."""
    middle = {"x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper", "showarrow": False}
    drawn.add_annotation(text=text, font={"size": 14, "color": FAINT}, **middle)
    return drawn.update_xaxes(showticklabels=False, showgrid=False).update_yaxes(showticklabels=False, showgrid=False)


def focus(
    values: NDArray[np.floating],
    *,
    zero_shot: float = np.nan,
    noise: float = 0.0,
    higher: bool = False,
    factor: float = 3.0,
) -> tuple[float, float] | None:
    """Returns the vertical range that shows trained runs and zero-shot, at least ``noise`` high; None without values.

    A value is left out if it is worse than zero-shot by over ``factor`` times the best gain, usual distance or noise.
    """
    known = np.append(values, zero_shot)
    known = known[np.isfinite(known)]
    if not len(known):
        return None
    sign = -1.0 if higher else 1.0
    usual = zero_shot if np.isfinite(zero_shot) else float(np.median(known))
    noise = noise if np.isfinite(noise) else 0.0
    least = max(noise, 0.02 * abs(usual), float(np.median(np.abs(known - usual))))
    near = known[sign * (known - usual) <= factor * max(sign * usual - (sign * known).min(), least)]
    low, high = float(near.min()), float(near.max())
    room = max(0.08 * (high - low), (max(noise, 0.01 * abs(usual)) - (high - low)) / 2) or 0.01
    return low - room, high + room


def mark_outside(drawn: go.Figure, named: Mapping[str, float], range_: tuple[float, float] | None, form: str) -> None:
    """Sets the vertical range, names what lies beyond it at the edge, and adds a button that shows all."""
    if range_ is None:
        return
    low, high = range_
    drawn.layout.yaxis.range = [low, high]
    beyond = {name: value for name, value in named.items() if np.isfinite(value) and not low <= value <= high}
    texts = list[str]()
    for above in (True, False):
        marks = [f"{shortened(name)} {value:{form}}" for name, value in beyond.items() if (value > high) == above]
        if marks:
            more = f" and {len(marks) - 3} more" if len(marks) > 3 else ""
            texts.append(f"{', '.join(marks[:3])}{more} {'↑' if above else '↓'}")
    if beyond:
        drawn.add_annotation(
            text="; ".join(texts),  # above the plot also what lies below it, where it would hide curves
            **{"x": 0.99, "xref": "x domain", "xanchor": "right", "showarrow": False},
            **{"y": 1, "yref": "y domain", "yanchor": "bottom"},
            font={"size": 12, "color": FAINT},
        )
        focused = {"yaxis.range": [low, high], "yaxis.autorange": False}
        button = {"label": "Show all", "method": "relayout", "args": [{"yaxis.autorange": True}], "args2": [focused]}
        look = {"type": "buttons", "showactive": False, "bgcolor": "rgba(0,0,0,0)", "font": {"size": 11}}
        place = {"x": 1, "xanchor": "left", "y": 1, "yanchor": "bottom", "pad": {"l": 6}}
        drawn.update_layout(updatemenus=[{"buttons": [button]} | look | place])
        drawn.layout.margin.update(t=34, r=max(84, drawn.layout.margin.r))


def label_ends(drawn: go.Figure, ends: Mapping[str, tuple[float, str]]) -> None:
    """Writes each name at the right, at the height of its line's end and beside a dot in its colour: no legend then."""
    if len(ends) > MOST_LABELS:
        ends = {name: end for name, end in ends.items() if name.startswith(tuple(BASELINES))}
    for name, (level, colour) in list(ends.items())[:MOST_LABELS]:
        if np.isfinite(level):
            drawn.add_annotation(
                text=f'<span style="color:{colour}">●</span> {shortened(name)}',
                **{"x": 1, "xref": "x domain", "xanchor": "left", "xshift": 4, "showarrow": False, "name": name},
                **{"y": level, "yref": "y", "yanchor": "middle"},
                captureevents=True,  # a press hides the line
            )
    drawn.update_traces(showlegend=False)
    spread(drawn)


def spread(drawn: go.Figure) -> None:
    """Moves names beside lines apart, and gives them room at the right."""
    labels = sorted((one for one in drawn.layout.annotations if one.captureevents), key=lambda one: one.y)
    low, high = drawn.layout.yaxis.range or (0.0, 0.0)
    first, last = drawn.layout.yaxis.domain or (0.0, 1.0)
    pixels = (last - first) * (drawn.layout.height - drawn.layout.margin.t - BELOW_PIXELS)
    inside = [one for one in labels if low <= one.y <= high and high > low]
    ends = [pixels * (one.y - low) / (high - low) for one in inside]
    places = moved_apart(ends, LABEL_PIXELS, int(pixels) - 9 * bool(drawn.layout.updatemenus))  # below the button
    for one, end, place in zip(inside, ends, places, strict=True):
        one.yshift = round(place - end)
    longest = max((len(shortened(one.name)) for one in labels), default=0)
    if longest:
        drawn.layout.margin.r = max(84 if drawn.layout.updatemenus else 36, 22 + 6.5 * longest)


def moved_apart(ends: Sequence[float], gap: float, top: float) -> list[float]:
    """Returns rising heights at least ``gap`` apart and at most ``top``.

    >>> moved_apart([1.0, 2.0, 9.0], 3, 10)
    [1.0, 4.0, 9.0]
    """
    places = [*ends]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    return [min(place, top - gap * above) for place, above in zip(places, reversed(range(len(places))), strict=True)]


def shortened(name: str, most: int = 26) -> str:
    """Returns a name that fits beside a line, without its middle, since names often differ at their end.

    >>> shortened("Full fine-tuning, rate 2e-4"), shortened("LoRA r=8 of the first machine, seed 3")
    ('Full, rate 2e-4', 'LoRA r=8 of t…hine, seed 3')
    """
    name = name if len(name) <= most else name.replace("Full fine-tuning", "Full", 1)
    return name if len(name) <= most else f"{name[: most // 2]}…{name[1 + most // 2 - most :]}"


def span(values: Iterable[NDArray[np.floating]], *, from_zero: bool = False) -> tuple[float, float] | None:
    """Returns the vertical range of several lines; None without a finite value."""
    known = [line[np.isfinite(line)] for line in values]
    known = [line for line in known if len(line)]
    if not known:
        return None
    low, high = float(min(line.min() for line in known)), float(max(line.max() for line in known))
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.01
    return 0.0 if from_zero and low >= 0 else low - room, high + room


CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "sendChartToCloud", "sendDataToCloud"],
}
"""For ``Plotly.react`` and ``to_html``; the toolbar's "Share chart" would upload the chart, so it is off."""


def plain_in_figure(text: str) -> str:
    """Breaks what Plotly would take for markup in a name, ``<b>``, ``&lt;`` and ``%{x}``, by zero-width spaces."""
    return re.sub(r"<|&|%(?=\{)", lambda match: f"{match[0]}\u200b", text)
