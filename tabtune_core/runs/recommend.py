"""The sentences that people came for: the smallest rank that is as good as the best, and what a larger one costs.

In: the leaderboard of one sweep. Out: plain sentences, and the comparison of configurations that they are read from.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pandas as pd

from tabtune_core.events import RunPlanned
from tabtune_core.metrics import METRICS, TARGET_UNIT, Metric
from tabtune_core.runs.comparison import RESAMPLES, WRITTEN, Comparison, compare, told_by
from tabtune_core.runs.predictions import read_validation
from tabtune_core.runs.store import RunStore
from tabtune_core.settings import REFERENCES

ROUNDING = 1e-12
"""Far below any difference of scores that is not one of arithmetic."""
MEMORY_LEVER = 0.1
"""Share by which memory must vary over the ranks before rank is called a lever on it."""
FEW_SEEDS = 5
"""With 4, a standard error is known to about 40 %: 1 / sqrt(2 (seeds - 1))."""
UNITS = {"growth_memory_bytes": ("MB of memory", 1e6), "train_seconds": ("s of training", 1.0), "adapter_bytes": ("kB of adapter", 1e3)}
Label = Callable[[pd.Series], str]


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What a sweep says about rank."""

    sentences: tuple[str, ...]
    """The most important first; none before two configurations with a score, one of them LoRA."""
    basis: str
    """What the standard errors rest on."""
    configurations: pd.DataFrame
    """One row a configuration, as in Comparison, and ``tied``: within one standard error of the best; NA where that is not known."""


def recommend(store: RunStore, board: pd.DataFrame, rank_by: str) -> Recommendation:
    """``board`` is the leaderboard of one sweep of ``store``, ranked by ``rank_by``."""
    board = board[~board["strategy"].isin(REFERENCES)]
    found = compare(board, rank_by, partial(read_validation, store))
    table = found.configurations
    tied = within(table["gap"], table["gap_error"])
    table = table.assign(tied=tied.astype("boolean").mask(table["gap_error"].isna()))
    lora = table[table["strategy"] == "peft"]
    if len(table) < 2 or lora.empty:
        return Recommendation((), "", table)
    rows = _validation_rows(store, table)
    label = partial(label_of, lora)
    sentences = [*_gain(lora, METRICS[rank_by], rows, label), *_rank(lora, METRICS[rank_by], label), *_memory(table)]
    sentences += _full(table, METRICS[rank_by], label(lora.iloc[0]))
    return Recommendation(tuple(sentences), _basis(found, rows), table)


def with_noise(board: pd.DataFrame, configurations: pd.DataFrame) -> pd.DataFrame:
    """The leaderboard with three columns more: tied_with_best, gain_standard_error, standard_error_to_best_lora; NA where unknown."""
    each = configurations.explode("runs").set_index("runs").reindex(board["run"]).reset_index(drop=True)
    more = {"tied_with_best": "tied", "gain_standard_error": "gain_error", "standard_error_to_best_lora": "lora_gap_error"}
    return board.assign(**{name: each[source] for name, source in more.items()})


def within(gap: pd.Series, error: pd.Series) -> pd.Series:
    """Where the gap is at most one standard error; nowhere where the error is not known."""
    return gap <= error + ROUNDING


def smallest_within(lora: pd.DataFrame) -> pd.Series:
    """Of the LoRA configurations, best first, the one of smallest rank that is within one standard error of the best."""
    near = lora[within(lora["lora_gap"], lora["lora_gap_error"])]
    return (near if len(near) else lora.iloc[:1]).sort_values(["rank", "lora_gap"], kind="stable").iloc[0]


def smallest_tied(configurations: pd.DataFrame) -> pd.Series | None:
    """The same among all configurations; None without LoRA, and where an error is not known."""
    lora = configurations[configurations["strategy"] == "peft"]
    return None if lora.empty or lora["lora_gap_error"].isna().any() else smallest_within(lora)


def _gain(lora: pd.DataFrame, metric: Metric, rows: int | None, label: Label) -> Iterator[str]:
    on = f"these {rows:,} validation rows" if rows else "the validation rows"
    ahead = lora[lora["gain"] > lora["gain_error"] + ROUNDING]
    if len(ahead):
        best = ahead.iloc[0]
        change = _better_by(best["gain"], best["gain_error"], metric, best["score"])
        yield f"{label(best)} is more than one standard error better than zero-shot on {on}: {change}."
    elif lora["gain_error"].notna().all():
        yield f"No rank is better than zero-shot beyond noise on {on}."


def _rank(lora: pd.DataFrame, metric: Metric, label: Label) -> Iterator[str]:
    best = lora.iloc[0]
    if lora["lora_gap_error"].isna().any():
        zero_shot = best["score"] - best["gain"] * _sign(metric)
        digits = metric.decimals(best["score"])
        yield (
            f"{label(best)} has the best {metric.written} of the LoRA runs: {best['score']:.{digits}f} (zero-shot {zero_shot:.{digits}f})."
        )
        return
    smallest = smallest_within(lora)
    largest, smaller = lora[lora["rank"] == lora["rank"].max()].iloc[0], lora[lora["rank"] < best["rank"]]
    if smallest.name != best.name:
        head = f"{label(smallest)} is the smallest rank within one standard error of the best ({label(best)})"
        yield f"{head}; {label(best)} {_price(smallest, best, metric)}."
    elif len(smaller):
        head = f"{label(best)} is the best, and no smaller rank is within one standard error of it"
        yield f"{head}; against {label(smaller.iloc[0])} it {_price(smaller.iloc[0], best, metric)}."
    elif largest["rank"] > best["rank"]:
        head = f"{label(best)} is the smallest rank, and no larger one is better"
        yield f"{head}; {label(largest)} {_price(best, largest, metric)}."
    else:
        yield f"{label(best)} is the only rank of this sweep; add others to see what rank buys."


def _price(cheap: pd.Series, other: pd.Series, metric: Metric) -> str:
    """What ``other`` costs against ``cheap``, one of which is the best LoRA."""
    error = max(cheap["lora_gap_error"], other["lora_gap_error"])
    change = _change(other["score"] - cheap["score"], error, metric, cheap["score"])
    costs = [
        _signed((other[name] - cheap[name]) / size) + f" {unit}"
        for name, (unit, size) in UNITS.items()
        if pd.notna(other[name]) and pd.notna(cheap[name])
    ]
    spent = " and ".join(part for part in (", ".join(costs[:-1]), *costs[-1:]) if part)
    return f"costs {spent} for {change}" if spent else f"brings {change}"


def _memory(table: pd.DataFrame) -> Iterator[str]:
    megabytes = table["growth_memory_bytes"].astype("Float64") / 1e6
    growth = megabytes[table["strategy"] == "peft"].groupby(table["rank"]).mean().dropna()
    full = megabytes[table["strategy"] == "base-ft"].mean()
    if len(growth) > 1 and growth.max() - growth.min() < MEMORY_LEVER * growth.max():
        yield f"Rank is not the lever on memory here ({growth.min():,.1f} to {growth.max():,.1f} MB); context rows are."
    if len(growth) and pd.notna(full) and growth.min() > full:
        yield (
            f"LoRA saved no memory here ({growth.min():,.1f} MB at least, full fine-tuning {full:,.1f} MB): nearly all of it is activations"
            ", which LoRA needs too."
        )


def _full(table: pd.DataFrame, metric: Metric, best: str) -> Iterator[str]:
    full = table[(table["strategy"] == "base-ft") & (-table["lora_gap"] > table["lora_gap_error"] + ROUNDING)]
    if len(full):
        first = full.iloc[0]
        change = _better_by(-first["lora_gap"], first["lora_gap_error"], metric, first["score"])
        yield f"Full fine-tuning is more than one standard error better than the best LoRA ({best}): {change}."


def _basis(found: Comparison, rows: int | None) -> str:
    seeds, missing = found.seeds, found.configurations["gap_error"].isna().any()
    named = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    compared = f" Compared on {named}, where every configuration has a score." if found.left_out else ""
    if found.basis == "seeds":
        rough = " With so few seeds the errors themselves are rough." if len(seeds) < FEW_SEEDS else ""
        return f"± is one standard error of the paired differences over {len(seeds)} seeds.{rough}{compared}"
    if found.basis == "rows":
        unknown = " Runs without predictions for these rows have none." if missing else ""
        return (
            f"± is one standard error over {RESAMPLES} resamples of the {rows:,} validation rows.{unknown}"
            f" With one seed, the luck of split and start is not in it; more seeds show it.{compared}"
        )
    return f"How much of this is noise is not known: one seed, and no predictions for its rows. Repeat with several seeds.{compared}"


def _validation_rows(store: RunStore, table: pd.DataFrame) -> int | None:
    planned = store.last(table["runs"].iloc[0][0], "RunPlanned")
    return planned.event.validation_rows if planned and isinstance(planned.event, RunPlanned) else None


def label_of(lora: pd.DataFrame, row: pd.Series) -> str:
    """For example ``r=8``, and in brackets what else differs between configurations of one rank."""
    more = ", ".join(WRITTEN[name](row[name]) for name in told_by(lora))
    return f"r={row['rank']}" + (f" ({more})" if more else "")


def _sign(metric: Metric) -> int:
    return 1 if metric.higher_is_better else -1


def _better_by(gain: float, error: float, metric: Metric, score: float) -> str:
    return _change(_sign(metric) * gain, error, metric, score)


def _change(difference: float, error: float, metric: Metric, score: float) -> str:
    """For example ``+0.0123 ± 0.0045 accuracy``; as many digits as fit a score like this one."""
    digits, unit = metric.decimals(score), "nats of " if metric.unit == "nats" else ""
    notes = ["in the target's unit"] * (metric.unit == TARGET_UNIT) + ["lower is better"] * (not metric.higher_is_better)
    return f"{difference:+z.{digits}f} ± {error:.{digits}f} {unit}{metric.written}" + (f" ({', '.join(notes)})" if notes else "")


def _signed(value: float) -> str:
    return f"{value:+z,.1f}" if abs(value) < 100 else f"{value:+z,.0f}"
