"""The picture of the answer: score against rank, and below it what each rank costs."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.analysis.comparison import differing_settings
from tabtune_core.analysis.intervals import half_width
from tabtune_core.charts.style import (
    BASELINES,
    FAINT,
    MEGABYTE,
    RANK_COLOURS,
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
COSTS = {
    "run_growth_memory_bytes": ("MB", MEGABYTE),
    "train_seconds": ("s", 1.0),
    "adapter_bytes": ("kB", 1e3),
}
"""Below the score, by column: unit and its size; memory is what the run added to the loaded model."""
LINE = RANK_COLOURS[3]


def rank_curve(runs: pd.DataFrame, *, metric: str = "log_loss", smallest: int | None = None) -> go.Figure:
    """``runs`` has one row per run: strategy, rank, seed, ``validation_<metric>``, costs, and settings that may differ.

    A large point is a rank's best setting on the validation rows, as a mean over seeds; its other settings, and runs
    with the status ``outrun``, are faint. Bars are ``lora_gap_half_width``, else from the lowest to the highest seed.
    ``smallest`` is r*, the smallest rank within one standard error of the best.
    """
    meaning, column = METRICS[metric], f"validation_{metric}"
    drawn = figure("LoRA rank (no unit)", f"Validation {meaning.written} ({meaning.unit})", height=460)
    known = with_numbers(runs, column)
    known = known[np.isfinite(known[column].astype("float64"))]
    if known.empty:
        return say(drawn, "No finished run yet")
    form = meaning.form(known[column])
    lora = known[known["strategy"] == "peft"].astype({"rank": "float64"})
    best, others = best_of_each_rank(lora, metric)
    if len(others):
        marker = {"size": 6, "color": FAINT, "opacity": 0.5}
        hover = f"rank %{{x}}, another setting: %{{y:{form}}}<extra></extra>"
        x, y = others["rank"].to_numpy(), others["score"].to_numpy()
        drawn.add_scatter(x=x, y=y, mode="markers", name="Other settings", marker=marker, hovertemplate=hover)
    if len(best):
        drawn.add_scatter(
            x=best["rank"].to_numpy(),
            y=best["score"].to_numpy(),
            name="LoRA",
            mode="lines+markers",
            line={"color": LINE, "width": 2},
            marker={"size": 12, "color": [rank_colour(rank) for rank in best["rank"]]},
            error_y={
                "array": best["above"].to_numpy(),
                "arrayminus": best["below"].to_numpy(),
                "thickness": 1.5,
                "width": 5,
            },
            hovertemplate=f"LoRA, rank %{{x}}: %{{y:{form}}}<extra></extra>",
        )
    ranks = np.sort(lora["rank"].unique()) if len(lora) else np.array([1.0, 64.0])
    levels = _levels(known, column, meaning.higher_is_better)
    span = [ranks[0] / 1.2, ranks[-1] * 1.2]
    for name, (level, colour, dash) in levels.items():
        line = {"color": colour, "dash": dash, "width": 2}
        hover = f"{name}: %{{y:{form}}}<extra></extra>"
        drawn.add_scatter(x=span, y=[level, level], name=name, mode="lines", line=line, hovertemplate=hover)
    scores = np.concatenate([best["score"], [levels[name][0] for name in levels if name.startswith("Full")]])
    noise = 2 * float(best["above"].max()) if len(best) else 0.0
    zero_shot = levels["Zero-shot"][0] if "Zero-shot" in levels else np.nan
    shown = focus(scores.astype(np.float64), zero_shot=zero_shot, noise=noise, higher=meaning.higher_is_better)
    far = {f"rank {rank:g}": score for rank, score in zip(best["rank"], best["score"], strict=True)}
    mark_outside(drawn, {name: level for name, (level, *_) in levels.items()} | far, shown, form)
    if shown is not None:
        ends = {name: (level, colour) for name, (level, colour, _) in levels.items()}
        if len(best):
            ends["LoRA"] = (float(best["score"].iloc[-1]), LINE)
        label_ends(drawn, ends, shown)
    if smallest is not None:
        at = {"x": np.log10(smallest), "y": 0, "yref": "y domain", "yanchor": "bottom", "xanchor": "left"}
        drawn.add_vline(smallest, line_color=FAINT, line_dash="dash", line_width=1.5)
        drawn.add_annotation(text=f" r* = {smallest}", showarrow=False, **at)
    drawn.update_xaxes(type="log", tickvals=ranks, ticktext=[f"{rank:g}" for rank in ranks], range=np.log10(span))
    _costs_below(drawn, best)
    if len(ranks) > 1 and "fixed_rate" in lora and lora["fixed_rate"].nunique() == 1:
        drawn.layout.xaxis.title.text = "LoRA rank (no unit), at one rate"
    return drawn


def best_of_each_rank(lora: pd.DataFrame, metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns each rank's best setting on the validation rows, and its others: rank, score, above, below and costs."""
    column, higher = f"validation_{metric}", METRICS[metric].higher_is_better
    settings = [name for name in differing_settings(lora) if name not in ("rank", "seed")] if len(lora) else []
    costs = [name for name in COSTS if name in lora]
    outran = lora["status"] == "outrun" if "status" in lora else pd.Series(False, index=lora.index)
    rows = [
        {"rank": rank, "score": score, "above": 0.0, "below": 0.0, "outrun": True}
        for rank, score in lora.loc[outran, ["rank", column]].itertuples(index=False)
    ]
    lora = lora[~outran]
    for values, same in lora.groupby(["rank", *settings], dropna=False):
        seeds = same.groupby("seed")[column].mean()
        half = float(same[HALF].iloc[0]) if HALF in same else np.nan
        above, below = (half, half) if np.isfinite(half) else (seeds.max() - seeds.mean(), seeds.mean() - seeds.min())
        ends = {"rank": values[0], "score": float(seeds.mean()), "above": float(above), "below": float(below)}
        rows.append({**ends, **same[costs].astype("float64").mean(), "outrun": False})
    means = pd.DataFrame(rows, columns=["rank", "score", "above", "below", *costs, "outrun"])
    ordered = means.sort_values(["rank", "outrun", "score"], ascending=[True, True, not higher])
    first = ~ordered["rank"].duplicated() & ~ordered["outrun"].astype(bool)
    return ordered[first], ordered[~first]


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


def _costs_below(drawn: go.Figure, best: pd.DataFrame) -> None:
    """Draws the known costs of the best settings below the score, each from 0, on the same axis of ranks."""
    known = [name for name in COSTS if name in best and best[name].notna().any()]
    for place, name in enumerate(known):
        unit, size = COSTS[name]
        top = 0.42 - 0.14 * place
        values = best[name].to_numpy(dtype=np.float64) / size
        drawn.add_scatter(
            x=best["rank"].to_numpy(),
            y=values,
            yaxis=f"y{place + 2}",
            mode="lines+markers",
            showlegend=False,
            line={"color": LINE, "width": 1.5},
            marker={"size": 7, "color": [rank_colour(rank) for rank in best["rank"]]},
            hoverinfo="text",
            hovertext=[f"rank {rank:g}: {value:,.4g} {unit}" for rank, value in zip(best["rank"], values, strict=True)],
        )
        axis = {"domain": [top - 0.11, top], "title": {"text": unit}, "rangemode": "tozero", "nticks": 3}
        drawn.update_layout({f"yaxis{place + 2}": axis | {"anchor": "x", "automargin": True, "zeroline": False}})
    if known:
        drawn.update_layout(yaxis={"domain": [0.5, 1]}, xaxis={"anchor": f"y{len(known) + 1}"})
