"""Full fine-tuning against LoRA, aspect by aspect, as in section 14 of the guide, with what was measured in one sweep.

In: the leaderboard of a sweep and the configurations of its recommendation. Out: one row an aspect.
"""

import math
from typing import Literal

import numpy as np
import pandas as pd

from tabtune_core.analysis.intervals import half_interval, half_width
from tabtune_core.analysis.recommendation import label_of, smallest_within
from tabtune_core.metrics import METRICS
from tabtune_core.settings import TRAINED

FULL, LORA, TIE, UNKNOWN = "Full fine-tuning", "LoRA", "within noise", "not known"
PARAMETER_BYTES = 4
"""Size of one weight in a checkpoint: a 32-bit float."""
CLOCK_NOISE = 0.05
"""Seconds and memory that differ by less than this share count as equal: measurements on a shared machine are no finer.
"""


Kind = Literal["score", "measured", "exact"]
"""Of numbers: ``exact`` ones are sizes, which have no noise."""


def aspects(rank_by: str) -> tuple[tuple[str, str, Kind, str], ...]:
    """The lines of the table: name, column of the leaderboard (or one that is computed here), kind of number, and what
    the guide says.

    A run does not measure the guide's other aspects: scalability, production and learning curve.
    """
    label = METRICS[rank_by].written
    return (
        (f"Validation {label}", f"validation_{rank_by}", "score", "Full, about 1 % better"),
        (f"Test {label}", f"test_{rank_by}", "score", ""),
        ("Training memory over the model", "growth_memory_bytes", "measured", "LoRA, 70 % less"),
        ("Training time", "train_seconds", "measured", "LoRA, 2 to 3 times less"),
        ("Time a step", "step_seconds", "measured", ""),
        ("Storage", "stored_bytes", "exact", "LoRA, 100 times less"),
        ("Trainable share", "trainable_percent", "exact", ""),
    )


def full_or_lora(board: pd.DataFrame, configurations: pd.DataFrame, rank_by: str) -> pd.DataFrame:
    """One row an aspect: aspect, column, guide, zero_shot, full, lora, small_lora, difference, difference_half_width,
    ratio, winner.

    ``full`` and ``lora`` are the best configurations of their kind, ``small_lora`` the smallest rank within one
    standard error of the best one (``lora_name`` and ``small_lora_name`` are their labels); all are means over the
    seeds of the comparison, NaN without such a run. ``difference`` is LoRA minus full fine-tuning, with the ± of the
    paired differences (for scores as in Comparison, for costs over the seeds); ``ratio`` is full fine-tuning divided by
    LoRA. The winner is better beyond that interval, and for ``measured`` aspects also beyond CLOCK_NOISE. Storage is
    the adapter package, or all weights at PARAMETER_BYTES each. Memory and seconds of runs on a GPU and on a CPU, which
    have different meters, are not compared: NaN.
    """
    chosen = _chosen(configurations)
    runs = _with_computed(board).set_index("run")
    all_lora = configurations[configurations["strategy"] == "peft"]
    names = {
        f"{who}_name": label_of(all_lora, row) if (row := chosen[who]) is not None else ""
        for who in ("lora", "small_lora")
    }
    rows = []
    for name, column, kind, guide in aspects(rank_by):
        each = {who: _values(runs, configuration, column) for who, configuration in chosen.items()}
        means = {who: float(values.mean(skipna=False)) for who, values in each.items()}
        difference = means["lora"] - means["full"]
        half = half_interval(list((each["lora"] - each["full"]).dropna()))
        if kind == "score":
            gap = half_width("test_lora_gap" if column.startswith("test_") else "lora_gap")
            half = math.nan if chosen["full"] is None else float(chosen["full"][gap])
        ratio = means["full"] / means["lora"] if kind != "score" and means["full"] and means["lora"] else math.nan
        rows.append(
            {
                "aspect": name,
                "column": column,
                "guide": guide,
                **means,
                "difference": difference,
                half_width("difference"): half,
                "ratio": ratio,
                **names,
                "winner": _winner(kind, means, half, rank_by),
            }
        )
    return pd.DataFrame(rows)


def _chosen(configurations: pd.DataFrame) -> dict[str, pd.Series | None]:
    each = {strategy: rows for strategy, rows in configurations.groupby("strategy")}
    best = {strategy: rows.iloc[0] for strategy, rows in each.items()}
    small = smallest_within(each["peft"]) if "peft" in each else None
    return {
        "zero_shot": best.get("inference"),
        "full": best.get("base-ft"),
        "lora": best.get("peft"),
        "small_lora": small,
    }


def _with_computed(board: pd.DataFrame) -> pd.DataFrame:
    """Adds the seconds of a step, and the bytes that must be stored to predict: NaN without training, which stores
    nothing.
    """
    numbers = board.astype(
        {"steps": "float64", "adapter_bytes": "float64", "total_parameters": "float64", "trainable_percent": "float64"}
    )
    untrained = ~numbers["strategy"].isin(TRAINED)
    apart = untrained | (numbers.loc[~untrained, "memory_meter"].nunique() > 1)
    whole = (PARAMETER_BYTES * numbers["total_parameters"]).where(numbers["strategy"] == "base-ft")
    return numbers.assign(
        step_seconds=(numbers["train_seconds"] / numbers["steps"].replace(0, np.nan)).mask(apart),
        train_seconds=numbers["train_seconds"].mask(apart),
        growth_memory_bytes=numbers["growth_memory_bytes"].mask(apart),
        stored_bytes=numbers["adapter_bytes"].fillna(whole),
    )


def _values(runs: pd.DataFrame, configuration: pd.Series | None, column: str) -> "pd.Series[float]":
    """Returns the mean of ``column`` by seed; empty without a configuration."""
    if configuration is None:
        return pd.Series(dtype="float64")
    return runs.loc[list(configuration["runs"])].groupby("seed")[column].mean().astype("float64")


def _winner(kind: Kind, means: dict[str, float], half: float, rank_by: str) -> str:
    """Returns which of the two is better beyond noise; empty if one of them was not run."""
    full, lora = means["full"], means["lora"]
    if math.isnan(full) or math.isnan(lora):
        return ""
    of_clock = max(CLOCK_NOISE * max(full, lora), 0.0 if math.isnan(half) else half)
    noise = {"score": half, "measured": of_clock, "exact": 0.0}[kind]
    if math.isnan(noise):
        return UNKNOWN
    ahead = METRICS[rank_by].ahead(lora, full) if kind == "score" else full - lora
    if abs(ahead) <= noise:
        return TIE
    return LORA if ahead > 0 else FULL
