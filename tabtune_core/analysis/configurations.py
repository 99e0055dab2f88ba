"""The leaderboard with one row per configuration: runs repeated under several seeds become a mean with its interval.

In: the leaderboard of runs. Out: one frame, best first; bytes, seconds and per cent are in the column names.
"""

import numpy as np
import pandas as pd

from tabtune_core.analysis.comparison import CONFIGURATION, WRITTEN
from tabtune_core.analysis.intervals import GAINS, half_intervals, half_width
from tabtune_core.analysis.runs_table import MEASURED, NO_GAIN, SCORES, TEXT, best_first
from tabtune_core.analysis.set_apart import BEATEN
from tabtune_core.settings import MODELS, STRATEGY_NAMES

ROWS, SEEDS = "rows", "seeds"
"""What an interval is computed from: differences row by row and the spread over seeds, or that spread alone."""
WHERE = ["sweep", "dataset", "target"]
MEANS = [name for name, kind in MEASURED.items() if kind != TEXT]
NOISE = {
    "tied_with_best": "tied",
    "behind_best": "gap",
    half_width("behind_best"): half_width("gap"),
    "behind_best_standard_error": "gap_error",
    "behind_best_lora": "lora_gap",
    half_width("behind_best_lora"): half_width("lora_gap"),
    "behind_best_lora_standard_error": "lora_gap_error",
}
"""Column of the result -> column of a recommendation's configurations."""


def by_configuration(board: pd.DataFrame, rank_by: str, compared: pd.DataFrame | None = None) -> pd.DataFrame:
    """Averages the runs of ``board`` (one sweep or many) by configuration; ``compared`` holds the configurations of a
    sweep's comparison.

    Means are over the seeds under which every configuration of a sweep has the score ``rank_by``, not counting
    references without a model. A configuration is averaged over its own seeds and has no place if there is no such
    seed, if all its runs are ``apart`` (not compared with the others), or if it is a reference that lacks one of these
    seeds. ``..._half_width`` is the ± of a mean; ``interval_basis`` says
    its kind: ROWS if ``compared`` has any, and then only the score that ranks and the gains have one; else SEEDS,
    Student's interval, which treats the held-out rows of different seeds as different rows: scores on test rows that
    seeds share have none. ``seeds`` and ``seed_count`` say what the means are over, ``runs`` are the ids of all runs of
    the configuration.
    """
    score = f"validation_{rank_by}"
    board = board[board["apart"] != BEATEN]
    each = board.assign(configuration=board.groupby([*WHERE, *CONFIGURATION], dropna=False, sort=False).ngroup())
    known = each[np.isfinite(each[score]) & ~each["archived"]]
    complete = known["apart"] == ""
    known = known[complete | ~complete.groupby(known["configuration"]).transform("any")]
    shared = _shared(known[known["apart"] == ""]).reindex(known.index, fill_value=False)
    known = known[shared | ~shared.groupby(known["configuration"]).transform("any")]
    table = each.groupby("configuration")[[*WHERE, *CONFIGURATION]].first()
    table = table.join(_means(known)).join(_texts(each, known))
    comparable = table.index.isin(known.loc[shared.loc[known.index], "configuration"])
    table.insert(0, "name", _names(table, each))
    table = best_first(table, table[score].where(comparable), rank_by)
    table = table.astype({"place": "Int64", "seed_count": "Int64"}).assign(interval_basis=SEEDS)
    return table if compared is None else _with_noise(table, score, compared)


def _shared(known: pd.DataFrame) -> "pd.Series[bool]":
    """By row: whether every configuration of its sweep has a score under its seed, and its own configuration under all
    such seeds.

    As in a comparison, references do not count if there are configurations of a model.
    """
    of_model = known["strategy"].isin(MODELS)
    deciding = known[of_model | ~of_model.groupby(known["sweep"]).transform("any")]
    here = deciding.groupby(["sweep", "seed"])["configuration"].nunique()
    full = here[here == deciding.groupby("sweep")["configuration"].nunique().reindex(here.index, level="sweep")]
    shared = pd.Series(pd.MultiIndex.from_frame(known[["sweep", "seed"]]).isin(full.index), index=known.index)
    own = known["seed"].where(shared).groupby(known["configuration"]).transform("nunique")
    return shared & (own == known["sweep"].map(full.groupby("sweep").size()))


def _means(known: pd.DataFrame) -> pd.DataFrame:
    """Means and half intervals of columns with a value under every seed; else NaN.

    Several runs of one seed are averaged first.
    """
    scores = [name for name in (*SCORES, *GAINS) if name in known]
    of_seed = known[[*MEANS, *scores]].astype("float64").groupby([known["configuration"], known["seed"]])
    numbers = of_seed.mean().where(of_seed.count().eq(of_seed.size(), axis=0))
    groups = numbers.groupby("configuration")
    full = groups.count().eq(groups.size(), axis=0)
    means = groups.mean().where(full)
    several = [name for name in scores if not name.startswith("zero_shot")]
    halves = half_intervals(groups[several].std(), groups[several].count()).where(full[several])
    # the spread over seeds does not tell the noise of rows that they share: the test rows, and in time all held-out
    # rows
    sets = (
        known.assign(rows=known["rows_sha256"].fillna(known["run"]))
        .groupby("configuration")[["held_out_set", "rows"]]
        .nunique()
    )
    alike = sets.lt(groups.size(), axis=0)
    halves.loc[alike.any(axis=1), [name for name in several if name.startswith("test_")]] = np.nan
    halves.loc[alike["rows"]] = np.nan
    return means.join(halves.rename(columns=half_width))


def _texts(each: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Lists and texts: ids, seeds, states and notes."""
    groups, seeds = each.groupby("configuration"), known.groupby("configuration")["seed"]
    return pd.DataFrame(
        {
            "runs": groups["run"].agg(tuple),
            "seeds": pd.Series({c: " ".join(map(str, sorted(set(own)))) for c, own in seeds}, dtype="object"),
            "seed_count": seeds.nunique(),
            "held_out_set": groups["held_out_set"].agg(_joined, " "),
            "status": groups["status"].agg(_states),
            "ended_by": groups["ended_by"].agg(_joined, ", "),
            "memory_meter": each["memory_meter"].dropna().groupby(each["configuration"]).agg(_joined, ", "),
            "note": groups["note"].agg(_notes),
            "own_note": groups["own_note"].agg(_joined, "; "),
            "learning_rate": groups["learning_rate"].agg(lambda own: own.iloc[0] if own.nunique() == 1 else np.nan),
            "apart": groups["apart"].agg(_joined, "; "),
            "archived": groups["archived"].all(),
            "resumed": groups["resumed"].agg(_joined, "; "),
        }
    ).fillna({"seeds": "", "seed_count": 0})


def _joined(own: pd.Series, mark: str) -> str:
    """Each text once."""
    return mark.join(dict.fromkeys(filter(None, own)))


def _states(own: pd.Series) -> str:
    """For example ``finished``, or ``4 finished, 1 failed`` where they differ."""
    counts = own.value_counts()
    return (
        str(counts.index[0])
        if len(counts) == 1
        else ", ".join(f"{number} {status}" for status, number in counts.items())
    )


def _notes(own: pd.Series) -> str:
    """Reports a missing gain only if every run lacks one; errors are always reported."""
    return "; ".join(note for note in dict.fromkeys(filter(None, own)) if note != NO_GAIN or (own == NO_GAIN).all())


def _names(table: pd.DataFrame, each: pd.DataFrame) -> list[str]:
    """Returns the name of the only run; else strategy, rank and what differs within one rank of the sweep."""
    alike = table.groupby(["sweep", "strategy", "rank"], dropna=False)[list(WRITTEN)].transform("nunique") > 1
    apart = alike.groupby(table["sweep"]).transform("any")
    only = each.groupby("configuration")["name"].first()  # in the order of the table
    names = []
    for place, row in enumerate(table.to_dict("records")):
        differing = apart.iloc[place]
        more = [write(row[part]) for part, write in WRITTEN.items() if differing[part] and pd.notna(row[part])]
        rank = "" if pd.isna(row["rank"]) else f" r={row['rank']}"
        label = STRATEGY_NAMES[row["strategy"]] + rank + (f" ({', '.join(more)})" if more else "")
        names.append(only.iloc[place] if len(row["runs"]) == 1 else label)
    return names


def _with_noise(table: pd.DataFrame, score: str, compared: pd.DataFrame) -> pd.DataFrame:
    """Adds the columns of NOISE, and the intervals of ``compared`` if any is known."""
    each = compared.explode("runs").drop_duplicates("runs").set_index("runs")
    of_first = each.reindex(
        [next((run for run in runs if run in each.index), "") for runs in table["runs"]]
    ).reset_index(drop=True)
    noise = of_first[list(NOISE.values())].set_axis(list(NOISE), axis=1)
    table = pd.concat([table, noise], axis=1)  # pandas warns of a table that got many columns one by one
    sources = {score: "score", score.replace("validation_", "test_"): "test_score", **{name: name for name in GAINS}}
    intervals = {half_width(name): of_first[half_width(source)] for name, source in sources.items()}
    if all(interval.isna().all() for interval in intervals.values()):
        return table
    of_seeds = {half_width(name): np.nan for name in (*SCORES, *GAINS) if half_width(name) in table}
    return table.assign(
        **of_seeds | intervals, interval_basis=ROWS
    )  # one basis for the whole table, even where an interval is unknown
