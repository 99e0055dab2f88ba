"""Which configurations of a sweep really differ: one row per configuration, with intervals of paired differences.

In: the leaderboard of one sweep and the predictions of its runs. Out: a frame and what its intervals are computed from.
Letters: S seeds, C configurations.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tabtune_core.analysis.intervals import GAINS, half_width
from tabtune_core.analysis.jackknife import Difference, difference
from tabtune_core.analysis.row_groups import Replicates, RowGroups, TooFew
from tabtune_core.analysis.set_apart import ARCHIVED
from tabtune_core.data.splits import SplitName
from tabtune_core.metrics import METRICS, Metric
from tabtune_core.settings import MODELS, TRAINED
from tabtune_core.settings.labels import short_rate, short_targets
from tabtune_core.store.predictions import Predictions

CONFIGURATION = ["model", "strategy", "rank", "alpha", "dropout", "targets", "variant", "fixed_rate"]
WRITTEN: dict[str, Callable[[Any], str]] = {
    "model": str,
    "alpha": "alpha {:g}".format,
    "dropout": "dropout {:g}".format,
    "targets": lambda targets: f"targets {short_targets(targets.split())}",
    "variant": str,
    "fixed_rate": lambda rate: f"rate {short_rate(rate)}",
}
"""Settings that may distinguish configurations of one rank, and how a name writes them."""
COSTS = ["growth_memory_bytes", "train_seconds", "adapter_bytes"]
Load = Callable[[str, SplitName], Predictions | None]
"""The predictions of a run for one part of its held-out rows, if they are there."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Configurations on the seeds that all of them share."""

    configurations: pd.DataFrame
    """Best first: CONFIGURATION, ``score`` and COSTS (means over the seeds), ``runs`` (ids), ``own_runs`` (ids, also
    under other seeds), and differences, positive where the score is better: ``gap`` behind the best of all,
    ``lora_gap`` behind the best LoRA (negative: better than it), ``gain`` over the runs' own zero-shot;
    ``test_lora_gap`` and ``test_gain`` are the same on the test rows. ``..._half_width`` is the ± of each, of the
    ``score`` and of the ``test_score``; ``gap_error`` and ``lora_gap_error`` are standard errors. NaN if unknown.
    """
    seeds: tuple[int, ...]
    """The seeds on which they are compared."""
    left_out: tuple[int, ...]
    """Seeds under which some configuration has no score."""
    not_compared: tuple[str, ...]
    """Runs with a score that are not compared, each with the reason; without archived ones."""
    too_few: bool
    """Whether the validation rows are too few for intervals."""


def compare(board: pd.DataFrame, rank_by: str, load: Load) -> Comparison:
    """Compares the configurations of ``board``, the leaderboard of one sweep by ``rank_by``.

    Runs without a place and references without a model are left out. Intervals come from the rows, see ``difference``.
    """
    metric, score = METRICS[rank_by], f"validation_{rank_by}"
    numbers = ["trainable_percent", "gain", "test_gain", f"test_{rank_by}"]
    known = board[board["place"].notna() & board["strategy"].isin(MODELS)]
    known = known.assign(configuration=known.groupby(CONFIGURATION, dropna=False, sort=False).ngroup())
    known = known.sort_values("seed", kind="stable")
    scores_SC = known.pivot(index="seed", columns="configuration", values=score)
    shared_SC = scores_SC.dropna()
    shared = known[known["seed"].isin(shared_SC.index)]
    groups = shared.groupby("configuration")
    means = shared[numbers].astype("float64").groupby(shared["configuration"]).mean()
    table = groups[CONFIGURATION].first().join(means).join(means_of_all(shared[COSTS], shared["configuration"]))
    more = {"runs": groups["run"].agg(tuple), "own_runs": known.groupby("configuration")["run"].agg(tuple)}
    more["score"] = shared_SC.mean()
    table = table.assign(**{name: column.reindex(table.index) for name, column in more.items()})
    table = table.rename(columns={f"test_{rank_by}": "test_score"})
    table = table.sort_values(["score", "rank"], ascending=[not metric.higher_is_better, True], kind="stable")
    lora, trained = table.index[table["strategy"] == "peft"], table.index[table["strategy"].isin(TRAINED)]
    too_few, parts = False, dict[str, SplitName]({"": "validation", "test_": "test"})
    for prefix, part in parts.items():
        made = replicates(list(shared["run"]), list(shared["seed"]), metric, load, part)
        each = list(zip(shared["configuration"], made, strict=True))
        final = {c: [of_run for own, (of_run, _) in each if own == c] for c in table.index}
        before = {c: [zero_shot for own, (_, zero_shot) in each if own == c] for c in table.index}
        nothing = {c: [replicate and replicate.of_nothing() for replicate in final[c]] for c in table.index}
        _add(table, f"{prefix}gain", {c: difference(final[c], before[c]) for c in trained})
        _add(table, f"{prefix}score", {c: difference(final[c], nothing[c]) for c in table.index})
        for name, best in (("gap", table.index[:1]), ("lora_gap", lora[:1])):
            score_C = table[f"{prefix}score"]
            table[prefix + name] = metric.ahead(score_C[best[0]], score_C) if len(best) else np.nan
            behind = {c: difference(final[best[0]], final[c]) for c in table.index} if len(best) else {}
            _add(table, prefix + name, behind)
            too_few |= part == "validation" and any(isinstance(delta, TooFew) for delta in behind.values())
    left_out = tuple(int(seed) for seed in scores_SC.index.difference(shared_SC.index))
    others = board[np.isfinite(board[score]) & ~board["apart"].isin(["", ARCHIVED])]
    why = tuple(f"{name} ({reason})" for name, reason in zip(others["name"], others["apart"], strict=True))
    return Comparison(table, tuple(int(seed) for seed in shared_SC.index), left_out, why, too_few)


def means_of_all(numbers: pd.DataFrame, by: "pd.Series[Any]") -> pd.DataFrame:
    """Returns means by group; NaN where a run has no number, because means over other seeds cannot be compared."""
    groups = numbers.astype("float64").groupby(by)
    return groups.mean().where(groups.count().eq(groups.size(), axis=0))


def _add(table: pd.DataFrame, name: str, differences: Mapping[int, Difference | TooFew | None]) -> None:
    """Writes standard errors and half widths beside the column ``name``."""
    known = {c: delta for c, delta in differences.items() if isinstance(delta, Difference)}
    table[f"{name}_error"] = pd.Series({c: delta.error for c, delta in known.items()}, dtype="float64")
    table[half_width(name)] = pd.Series({c: delta.half for c, delta in known.items()}, dtype="float64")


def with_half_widths(board: pd.DataFrame, own: Callable[[str], Mapping[str, float]]) -> pd.DataFrame:
    """Adds the ± of each gain to the leaderboard of runs; ``own`` returns those of a run, see ``half_widths``."""
    known = {run: own(run) for run in board.loc[board[[*GAINS]].notna().any(axis=1), "run"]}
    halves = {half_width(name): [known.get(run, {}).get(name, np.nan) for run in board["run"]] for name in GAINS}
    return board.assign(**{name: np.array(column, dtype=np.float64) for name, column in halves.items()})


def half_widths(run: str, metric: Metric, load: Load) -> dict[str, float]:
    """Returns the ± of each of a run's own GAINS and scores; NaN if it is not known, or if rows are too few."""
    halves = dict[str, float]()
    for name, part in GAINS.items():
        [(final, zero_shot)] = replicates([run], [0], metric, load, part)
        nothing = final and final.of_nothing()
        measured = {name: difference([final], [zero_shot]), f"{part}_{metric.name}": difference([final], [nothing])}
        halves |= {column: one.half if isinstance(one, Difference) else np.nan for column, one in measured.items()}
    return halves


def replicates(
    runs: Sequence[str], seeds: Sequence[int], metric: Metric, load: Load, part: SplitName
) -> list[tuple[Replicates | None, Replicates | None]]:
    """Computes the replicates of the predictions of each run and of its zero-shot, all with the same groups of rows.

    They are None if predictions are missing, or their rows differ from those of the first run under its seed.
    """
    loaded = [load(run, part) for run in runs]
    first: dict[int, Predictions] = {}
    for seed, rows in zip(seeds, loaded, strict=True):
        if rows is not None and len(rows.y_N):
            first.setdefault(seed, rows)
    groups = RowGroups(list(first.values()), metric) if first else None
    made: dict[tuple[int, bytes], Replicates] = {}  # runs of a seed mostly share their zero-shot predictions

    def of(seed: int, rows: Predictions | None, *, trained: bool) -> Replicates | None:
        if groups is None or rows is None or seed not in first:
            return None
        predicted = rows.predicted if trained else rows.zero_shot
        same = np.array_equal(rows.rows_N, first[seed].rows_N) and np.array_equal(rows.y_N, first[seed].y_N)
        if predicted is None or not same:
            return None
        key = (seed, predicted.tobytes())
        if key not in made:
            made[key] = groups.leave_out(first[seed], predicted)
        return made[key]

    each = zip(seeds, loaded, strict=True)
    return [(of(seed, rows, trained=True), of(seed, rows, trained=False)) for seed, rows in each]


def differing_settings(lora: pd.DataFrame) -> list[str]:
    """Returns the columns in WRITTEN that have several values at one rank."""
    return [name for name in WRITTEN if name in lora and (lora.groupby("rank")[name].nunique() > 1).any()]


def at_one_rate(lora: pd.DataFrame) -> str:
    """Returns `` at one rate`` if several ranks had the same fixed learning rate, else nothing."""
    once = "fixed_rate" in lora and lora["rank"].nunique() > 1 and lora["fixed_rate"].nunique(dropna=False) == 1
    return " at one rate" if once and lora["fixed_rate"].notna().all() else ""


def label_of(lora: pd.DataFrame, row: pd.Series) -> str:
    """Names a configuration, for example ``r=8``, with what else differs between those of one rank in brackets."""
    more = ", ".join(WRITTEN[name](row[name]) for name in differing_settings(lora))
    return f"r={row['rank']}" + (f" ({more})" if more else "")


def near_best(lora: pd.DataFrame) -> pd.DataFrame:
    """Returns the LoRA configurations within one standard error of the best, which is the first."""
    near = lora[lora["lora_gap"] <= lora["lora_gap_error"]]
    return near if len(near) else lora.iloc[:1]


def smallest_tied(configurations: pd.DataFrame) -> pd.Series | None:
    """Picks the smallest rank within one standard error of the best; None without LoRA, or if an error is unknown.

    The one-standard-error rule of Breiman et al. 1984, section 3.4.3.
    """
    lora = configurations[configurations["strategy"] == "peft"]
    if lora.empty or lora["lora_gap_error"].isna().any():
        return None
    return near_best(lora).sort_values(["rank", "lora_gap"], kind="stable").iloc[0]
