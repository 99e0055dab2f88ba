"""What a sweep of the user's own says about the guide's rules of thumb.

In: the leaderboard frame of one sweep. Out: rows of a table, a sentence. Unknown is N/A.
"""

import numpy as np
import pandas as pd

from dashboard.words import megabytes
from tabtune_core.metrics import METRICS

NOT_KNOWN = "N/A"


def own_figures(ranked: pd.DataFrame, metric: str) -> pd.DataFrame:
    """LoRA against full fine-tuning in one sweep, means over its runs: figure, LoRA, Full fine-tuning, LoRA / full.

    ``ranked`` is the sweep's leaderboard; empty where it lacks one of the two. Memory is compared only within one meter.
    """
    done = ranked[ranked["place"].notna()] if len(ranked) else ranked
    lora, full = (done[done["strategy"] == strategy] if len(done) else done for strategy in ("peft", "base-ft"))
    if lora.empty or full.empty:
        return pd.DataFrame(columns=["Figure", "LoRA", "Full fine-tuning", "LoRA / full"])
    one_meter = pd.concat([lora, full])["memory_meter"].nunique(dropna=False) == 1
    meaning = METRICS[metric]
    rows = [
        _row("Memory that training adds", *_means(lora, full, "growth_memory_bytes", known=one_meter), megabytes),
        _row("Seconds a step", *_per_step(lora, full), lambda value: f"{value:.3g} s"),
        _row("Trainable parameters", *_means(lora, full, "trainable_parameters"), lambda value: f"{value:,.0f}"),
        _row(f"Validation {meaning.label} ({meaning.unit})", *_means(lora, full, f"validation_{metric}"), lambda value: f"{value:.4f}"),
    ]
    return pd.DataFrame(rows)


def rank_and_memory(ranked: pd.DataFrame) -> str | None:
    """What the ranks of a sweep had to do with memory; None where it had fewer than two ranks with a known growth."""
    known = ranked[(ranked["strategy"] == "peft") & ranked["growth_memory_bytes"].notna()] if len(ranked) else ranked
    if len(known) == 0 or known["memory_meter"].nunique(dropna=False) > 1:
        return None
    growth = known.astype({"growth_memory_bytes": "float64"}).groupby(known["rank"].astype(int))["growth_memory_bytes"].mean()
    if len(growth) < 2 or growth.min() <= 0:
        return None
    low, high = growth.index.min(), growth.index.max()
    change = growth[high] / growth[low] - 1
    lever = "Rank is not the memory lever here." if abs(change) < 0.1 else "Here rank costs memory."
    added = megabytes(growth[high] - growth[low])
    return f"From r={low} to r={high} the memory that training adds changed by {change:+.1%} ({added}). {lever}"


def _means(lora: pd.DataFrame, full: pd.DataFrame, column: str, *, known: bool = True) -> tuple[float, float]:
    if not known:
        return np.nan, np.nan
    low, high = (rows[column].astype("Float64").mean() for rows in (lora, full))
    return (np.nan if pd.isna(low) else float(low)), (np.nan if pd.isna(high) else float(high))


def _per_step(lora: pd.DataFrame, full: pd.DataFrame) -> tuple[float, float]:
    paces = []
    for rows in (lora, full):
        steps = rows["steps"].astype("Float64").sum()
        paces.append(float(rows["train_seconds"].sum() / steps) if pd.notna(steps) and steps > 0 else np.nan)
    return paces[0], paces[1]


def _row(figure: str, lora: float, full: float, shown: object) -> dict[str, str]:
    say = shown if callable(shown) else str
    told = [say(value) if np.isfinite(value) else NOT_KNOWN for value in (lora, full)]
    ratio = f"{lora / full:.1%}" if np.isfinite(lora) and np.isfinite(full) and full > 0 else NOT_KNOWN
    return {"Figure": figure, "LoRA": told[0], "Full fine-tuning": told[1], "LoRA / full": ratio}
