"""The picture of the answer: score against rank, and below it what each rank costs."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from tabtune_core.analysis.comparison import at_one_rate, differing_settings
from tabtune_core.analysis.intervals import half_width
from tabtune_core.charts.style import (
    BASELINES,
    FAINT,
    MEGABYTE,
    figure,
    focus,
    label_ends,
    mark_outside,
    rank_colour,
    say,
    with_numbers,
)
from tabtune_core.metrics import METRICS
from tabtune_core.settings import STRATEGY_NAMES

HALF = half_width("lora_gap")
COSTS = {"run_growth_memory_bytes": ("MB", MEGABYTE), "train_seconds": ("s", 1.0), "adapter_bytes": ("kB", 1e3)}
"""Below the score, by column: unit and its size; memory is what the run added to the loaded model."""
LINE = "#5F7186"
"""Of the line through the ranks, whose points have their own colours."""
GOING = ("running", "waiting")
HEIGHT, MOST_TICKS = 380, 10


@dataclass(frozen=True, slots=True)
class Answer:
    """What the picture shows of a sweep; scores are those of the validation rows."""

    best: pd.DataFrame
    """Each rank's best setting: rank, score, above, below (ends of its interval), state and known COSTS."""
    others: pd.DataFrame
    """Its other settings, and rates that stopped at a rung, with the same columns."""
    levels: dict[str, tuple[float, str, str]]
    """Of each baseline: level, colour and dash."""
    shown: tuple[float, float]
    """Range that shows what is compared."""
    leader: int | None
    """The rank with the best score so far."""
    once: str
    """`` at one rate``, or empty if each rank had its own."""
    ranks: NDArray[np.float64]
    """All ranks of the sweep, in order."""

    @property
    def ticks(self) -> list[float]:
        """The ranks that have room for their number."""
        marks = list[float]()
        for rank in self.ranks:
            if not marks or len(self.ranks) <= MOST_TICKS or rank > 1.5 * marks[-1]:
                marks.append(float(rank))
        return marks

    @property
    def span(self) -> NDArray[np.float64]:
        """Both ends of the axis of ranks."""
        return np.array([self.ranks[0] / 1.2, self.ranks[-1] * 1.2])

    @property
    def ends(self) -> dict[str, tuple[float, str]]:
        """Level and colour of each line at its end, by name."""
        named = {name.partition(" (")[0]: (level, colour) for name, (level, colour, _) in self.levels.items()}
        return named | ({"LoRA": (float(self.best["score"].iloc[-1]), LINE)} if len(self.best) else {})

    @property
    def far(self) -> dict[str, float]:
        """Scores by name of what may lie beyond the range."""
        ranks = {f"rank {rank:g}": score for rank, score in zip(self.best["rank"], self.best["score"], strict=True)}
        return {name: level for name, (level, *_) in self.levels.items()} | ranks

    def costs(self) -> list[tuple[str, NDArray[np.float64]]]:
        """Returns unit and values of each known cost."""
        known = [name for name in COSTS if name in self.best and self.best[name].notna().any()]
        return [(COSTS[name][0], self.best[name].to_numpy(dtype=np.float64) / COSTS[name][1]) for name in known]


def answer(runs: pd.DataFrame, metric: str) -> Answer | None:
    """Returns what the picture shows of ``runs``, which are as in ``rank_curve``; None without a score."""
    column, higher = f"validation_{metric}", METRICS[metric].higher_is_better
    known = with_numbers(runs, column)
    if known.empty:
        return None
    lora = known[known["strategy"] == "peft"].astype({"rank": "float64"})
    best, others = best_of_each_rank(lora, metric)
    levels = _levels(known, column, higher)
    scores = np.concatenate([best["score"], [levels[name][0] for name in levels if name.startswith("Full")]])
    noise = 2 * float(best["above"].max()) if len(best) else 0.0
    zero_shot = levels["Zero-shot"][0] if "Zero-shot" in levels else np.nan
    if not len(scores) and not np.isfinite(zero_shot):
        scores = np.array([level for level, *_ in levels.values()] or others["score"])
    shown = focus(scores.astype(np.float64), zero_shot=zero_shot, noise=noise, higher=higher)
    ordered = best.sort_values("score", ascending=not higher)
    leader = int(ordered["rank"].iloc[0]) if len(ordered) else None
    ranks = np.unique(runs.loc[runs["strategy"] == "peft", "rank"].dropna().to_numpy(dtype=np.float64))
    ranks = ranks if len(ranks) else np.array([1.0, 64.0])
    return Answer(best, others, levels, shown or (0.0, 1.0), leader, at_one_rate(lora), ranks)


def rank_curve(
    runs: pd.DataFrame, *, metric: str = "log_loss", smallest: int | None = None, height: int = HEIGHT
) -> go.Figure:
    """``runs`` has one row per run: strategy, rank, seed, ``validation_<metric>``, costs, and settings that may differ.

    A large point is a rank's best setting on the validation rows, as a mean over seeds, open while it trains; its other
    settings, and runs with the status ``outrun``, are faint. Bars are ``lora_gap_half_width``, else from the lowest to
    the highest seed. ``smallest`` is r*, the smallest rank within one standard error of the best.
    """
    meaning = METRICS[metric]
    drawn = figure("LoRA rank", f"Validation<br>{meaning.written} ({meaning.unit})", height=height)
    pictured = answer(runs, metric)
    if pictured is None:
        return say(drawn, "No finished run yet")
    best = pictured.best
    form = meaning.form(best["score"] if len(best) else [level for level, *_ in pictured.levels.values()])
    _points(drawn, pictured, form)
    for name, (level, colour, dash) in pictured.levels.items():
        line = {"color": colour, "dash": dash, "width": 2}
        hover = f"{name}: %{{y:{form}}}<extra></extra>"
        drawn.add_scatter(x=pictured.span, y=[level, level], name=name, mode="lines", line=line, hovertemplate=hover)
    costs = pictured.costs()
    drawn.update_layout(yaxis={"domain": [0.5, 1] if costs else [0, 1]})
    mark_outside(drawn, pictured.far, pictured.shown, form)
    if pictured.leader is not None:
        top = float(best.loc[best["rank"] == pictured.leader, "score"].iloc[0])
        drawn.add_annotation(
            text=f"best{'' if (best['state'] == '').all() else ' so far'} {top:{form}}",
            **{"x": np.log10(pictured.leader), "y": top, "yshift": 17, "showarrow": False, "bgcolor": "white"},
            **({"xanchor": "left", "xshift": 4} if smallest == pictured.leader else {}),  # beside the line of r*
        )
    if smallest is not None:
        drawn.add_vline(smallest, line_color=FAINT, line_dash="dash", line_width=1.5)
    ticks = [f"{rank:g}" for rank in pictured.ticks]
    drawn.update_xaxes(type="log", tickvals=pictured.ticks, ticktext=ticks, range=np.log10(pictured.span))
    drawn.layout.xaxis.title.text = f"LoRA rank{pictured.once and f',{pictured.once}'}"
    _costs_below(drawn, best["rank"].to_numpy(dtype=np.float64), costs)
    label_ends(drawn, pictured.ends)
    return drawn


def _points(drawn: go.Figure, pictured: Answer, form: str) -> None:
    """Draws the best setting of each rank, and the others."""
    best, others = pictured.best, pictured.others
    if len(others):
        marker = {"size": 6, "color": FAINT, "opacity": 0.5}
        hover = f"rank %{{x}}, %{{customdata}}: %{{y:{form}}}<extra></extra>"
        x, y, states = (others[name].to_numpy() for name in ("rank", "score", "state"))
        common = {"name": "Other settings", "marker": marker, "customdata": states, "hovertemplate": hover}
        drawn.add_scatter(x=x, y=y, mode="markers", **common)
    if len(best):
        x, y, states, above, below = (best[name].to_numpy() for name in ("rank", "score", "state", "above", "below"))
        marker = {"size": 13, "color": [rank_colour(rank) for rank in x]}
        marker |= {"symbol": np.where(states, "circle-open", "circle"), "line": {"width": np.where(states, 3, 0)}}
        drawn.add_scatter(
            x=x,
            y=y,
            name="LoRA",
            mode="lines+markers",
            line={"color": LINE, "width": 2},
            marker=marker,
            error_y={"array": above, "arrayminus": below, "thickness": 1.5, "width": 5},
            customdata=states,
            hovertemplate=f"LoRA, rank %{{x}} %{{customdata}}: %{{y:{form}}}<extra></extra>",
        )


def best_of_each_rank(lora: pd.DataFrame, metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns each rank's best setting on the validation rows, and its others; the columns are as in ``Answer``.

    ``state`` is empty at the end, else it says why; a finished setting comes before one in progress.
    """
    column, higher = f"validation_{metric}", METRICS[metric].higher_is_better
    settings = [name for name in differing_settings(lora) if name not in ("rank", "seed")] if len(lora) else []
    costs = [name for name in COSTS if name in lora]
    status = lora["status"] if "status" in lora else pd.Series("finished", index=lora.index)
    notes = lora["note"] if "note" in lora else pd.Series("stopped at a rung", index=lora.index)
    outrun = status == "outrun"
    stopped = zip(lora["rank"][outrun], lora[column][outrun], notes[outrun], strict=True)
    rows = [{"rank": rank, "score": score, "above": 0.0, "below": 0.0, "state": note} for rank, score, note in stopped]
    lora, status = lora[~outrun], status[~outrun]
    for values, same in lora.groupby(["rank", *settings], dropna=False):
        seeds = same.groupby("seed")[column].mean()
        half = float(same[HALF].iloc[0]) if HALF in same else np.nan
        above, below = (half, half) if np.isfinite(half) else (seeds.max() - seeds.mean(), seeds.mean() - seeds.min())
        ends = {"rank": values[0], "score": float(seeds.mean()), "above": float(above), "below": float(below)}
        going = status[same.index].isin(GOING)
        known = same.loc[~going, costs].astype("float64").mean(skipna=False)  # as on the leaderboard
        rows.append({**ends, **known, "state": "so far" if going.any() else ""})
    means = pd.DataFrame(rows, columns=["rank", "score", "above", "below", *costs, "state"])
    place = means["state"].map({"": 0, "so far": 1}).fillna(2)
    ordered = means.assign(place=place).sort_values(["rank", "place", "score"], ascending=[True, True, not higher])
    first = ~ordered["rank"].duplicated() & (ordered["place"] < 2)
    others = ordered[~first]
    return ordered[first], others.assign(state=others["state"].replace("", "another setting"))


def _levels(known: pd.DataFrame, column: str, higher: bool) -> dict[str, tuple[float, str, str]]:
    """Returns level, colour and dash of each baseline; of full fine-tunings at several rates, the best."""
    levels = {}
    for strategy, label in STRATEGY_NAMES.items():
        rows = known[known["strategy"] == strategy]
        rows = rows[rows["status"] != "outrun"] if "status" in rows else rows
        if label not in BASELINES or rows.empty:
            continue
        rates = rows.groupby("fixed_rate", dropna=False) if "fixed_rate" in rows else [("", rows)]
        means = [float(same.groupby("seed")[column].mean().mean()) for _, same in rates]
        name = f"{label} (best rate)" if len(means) > 1 else label
        levels[name] = (max(means) if higher else min(means), BASELINES[label].colour, BASELINES[label].dash)
    return levels


def _costs_below(drawn: go.Figure, ranks: NDArray[np.float64], costs: list[tuple[str, NDArray[np.float64]]]) -> None:
    """Draws the costs below the score, each from 0, on the same axis of ranks."""
    for place, (unit, values) in enumerate(costs):
        top = 0.42 - 0.14 * place
        drawn.add_scatter(
            x=ranks,
            y=values,
            yaxis=f"y{place + 2}",
            mode="lines+markers",
            showlegend=False,
            line={"color": LINE, "width": 1.5},
            marker={"size": 7, "color": [rank_colour(rank) for rank in ranks]},
            hoverinfo="text",
            hovertext=[f"rank {rank:g}: {value:,.4g} {unit}" for rank, value in zip(ranks, values, strict=True)],
        )
        axis = {"domain": [top - 0.11, top], "title": {"text": unit}, "rangemode": "tozero", "nticks": 3}
        drawn.update_layout({f"yaxis{place + 2}": axis | {"anchor": "x", "automargin": True, "zeroline": False}})
    if costs:
        drawn.update_layout(xaxis={"anchor": f"y{len(costs) + 1}"})
