"""The leaderboard with one row per configuration: runs repeated under several seeds become a mean with its interval.

In: the leaderboard of runs. Out: one frame, best first; bytes, seconds and per cent are in the column names.
"""

import numpy as np
import pandas as pd

from tabtune_core.analysis.comparison import CONFIGURATION, WRITTEN, means_of_all
from tabtune_core.analysis.intervals import GAINS, half_width
from tabtune_core.analysis.runs_table import MEASURED, NO_GAIN, SCORES, TEXT, best_first
from tabtune_core.analysis.set_apart import BEATEN
from tabtune_core.settings import MODELS, STRATEGY_NAMES

WHERE = ["sweep", "dataset", "target"]
MEANS = [name for name, kind in MEASURED.items() if kind != TEXT]


def by_configuration(board: pd.DataFrame, rank_by: str, compared: pd.DataFrame | None = None) -> pd.DataFrame:
    """Averages the runs of ``board`` (one sweep or many) by configuration.

    Means are over the seeds under which every configuration of a model has a place in its sweep. Without such a seed,
    or without a run under each, a configuration has no place, and its means are over all its runs with a score.
    ``seeds`` and ``seed_count`` say what the means are over, ``runs`` are the ids of all its runs. With ``compared``,
    the configurations of the sweep's comparison, ``..._half_width`` is the ± of the ranking scores and of the gains,
    and ``tied_with_best`` says whether LoRA is within one standard error of the best.
    """
    score = f"validation_{rank_by}"
    each = board[board["apart"] != BEATEN]
    each = each.assign(configuration=each.groupby([*WHERE, *CONFIGURATION], dropna=False, sort=False).ngroup())
    shared = _shared(each[each["place"].notna()])
    others = each[~each["configuration"].isin(shared["configuration"]) & np.isfinite(each[score]) & ~each["archived"]]
    table = each.groupby("configuration")[[*WHERE, *CONFIGURATION]].first()
    used = pd.concat([shared, others])
    means = means_of_all(used[[name for name in (*MEANS, *SCORES, *GAINS) if name in used]], used["configuration"])
    table = table.join(means).join(_texts(each, used))
    table.insert(0, "name", _names(table, each))
    table = best_first(table, table[score].where(table.index.isin(shared["configuration"])), rank_by)
    table = table.astype({"place": "Int64", "seed_count": "Int64"})
    if compared is None:
        return table
    known = compared.explode("runs").set_index("runs")
    of_first = known.reindex([next((run for run in runs if run in known.index), "") for runs in table["runs"]])
    sources = {score: "score", f"test_{rank_by}": "test_score", **{name: name for name in GAINS}}
    halves = {half_width(name): of_first[half_width(source)].to_numpy() for name, source in sources.items()}
    return table.assign(tied_with_best=of_first["tied"].array, **halves)


def _shared(ranked: pd.DataFrame) -> pd.DataFrame:
    """The runs whose seed every configuration of a model has, of configurations that have all such seeds of a sweep.

    As in a comparison, references decide only where there is no configuration of a model.
    """
    of_model = ranked["strategy"].isin(MODELS)
    deciding = ranked[of_model | ~of_model.groupby(ranked["sweep"]).transform("any")]
    here = deciding.groupby(["sweep", "seed"])["configuration"].nunique()
    full = here[here == deciding.groupby("sweep")["configuration"].nunique().reindex(here.index, level="sweep")]
    runs = ranked[pd.MultiIndex.from_frame(ranked[["sweep", "seed"]]).isin(full.index)]
    own = runs.groupby("configuration")["seed"].transform("nunique")
    return runs[own == runs["sweep"].map(full.groupby("sweep").size())]


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
            "device": groups["device"].agg(_joined, ", "),
            "costs_on": groups["costs_on"].first(),
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
    several = ", ".join(f"{number} {status}" for status, number in counts.items())
    return str(counts.index[0]) if len(counts) == 1 else several


def _notes(own: pd.Series) -> str:
    """Reports a missing gain only if every run lacks one; errors are always reported."""
    return "; ".join(note for note in dict.fromkeys(filter(None, own)) if note != NO_GAIN or (own == NO_GAIN).all())


def _names(table: pd.DataFrame, each: pd.DataFrame) -> list[str]:
    """Returns the name of the only run; else strategy, rank and what differs within one rank of the sweep."""
    several = table.groupby(["sweep", "strategy", "rank"], dropna=False)[list(WRITTEN)].transform("nunique") > 1
    differ = several.groupby(table["sweep"]).transform("any")
    only = each.groupby("configuration")["name"].first()  # in the order of the table
    names = []
    for place, row in enumerate(table.to_dict("records")):
        differing = differ.iloc[place]
        more = [write(row[part]) for part, write in WRITTEN.items() if differing[part] and pd.notna(row[part])]
        rank = "" if pd.isna(row["rank"]) else f" r={row['rank']}"
        label = STRATEGY_NAMES[row["strategy"]] + rank + (f" ({', '.join(more)})" if more else "")
        names.append(only.iloc[place] if len(row["runs"]) == 1 else label)
    return names
