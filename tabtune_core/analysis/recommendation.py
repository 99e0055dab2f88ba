"""The sentences that people came for: whether LoRA gained anything, the smallest rank that is as good, and what a larger one costs.

In: the leaderboard of one sweep. Out: plain sentences, and the comparison of configurations that they are read from. Validation chooses;
what is called better or worse is so on the test rows, beyond a 95 % interval.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pandas as pd

from tabtune_core.analysis.claims import MOST_SEEDS, ROUNDING, Claim, claim
from tabtune_core.analysis.comparison import WRITTEN, Comparison, compare, told_by
from tabtune_core.analysis.replicates import Difference, TooFew
from tabtune_core.events import RunPlanned
from tabtune_core.metrics import METRICS, TARGET_UNIT, Metric
from tabtune_core.settings import REFERENCES
from tabtune_core.store.predictions import read_predictions
from tabtune_core.store.runs import RunStore
from tabtune_core.wording import counted

MEMORY_LEVER = 0.1
"""Share by which memory must vary over the ranks before rank is called a lever on it."""
COSTS = {
    "growth_memory_bytes": ("used {} MB {} memory", ("more", "less"), 1e6),
    "train_seconds": ("trained {} s {}", ("longer", "less"), 1.0),
    "adapter_bytes": ("has an adapter that is {} kB {}", ("larger", "smaller"), 1e3),
}
"""How a difference of a cost is said: the words, those for more and for less, and the unit."""
UNUSED = ", which were not used for any choice,"
UNKNOWN_UNITS = " Rows are taken for independent: these runs do not say which of them go together."
Label = Callable[[pd.Series], str]


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What a sweep says about rank."""

    sentences: tuple[str, ...]
    """The most important first; none before two configurations with a score, one of them LoRA."""
    basis: str
    """What ± and the intervals are, and what they rest on."""
    configurations: pd.DataFrame
    """One row a configuration, as in Comparison, and ``tied``: within one standard error of the best (of the paired difference on the
    validation rows); NA where that is not known."""
    claim: Claim | None = None
    """What may be said of the best LoRA configuration; None where there is none to compare."""


def recommend(store: RunStore, board: pd.DataFrame, rank_by: str) -> Recommendation:
    """``board`` is the leaderboard of one sweep of ``store``, ranked by ``rank_by``."""
    load = partial(read_predictions, store)
    comparison = compare(board, rank_by, load)
    table = comparison.configurations
    tied = within(table["gap"], table["gap_error"])
    table = table.assign(tied=tied.astype("boolean").mask(table["gap_error"].isna()))
    lora = table[table["strategy"] == "peft"]
    if len(table) < 2 or lora.empty:
        return Recommendation((), "", table)
    planned = store.last(lora["runs"].iloc[0][0], "RunPlanned")
    plan = planned.event if planned and isinstance(planned.event, RunPlanned) else None
    drawn_from = plan.train_rows + plan.validation_rows + plan.test_rows if plan else None
    stay = store.run(lora["runs"].iloc[0][0]).settings.test_rows_stay
    whole = plan.test_rows if plan and stay else drawn_from
    evaluations = len(store.fields([run for runs in lora["runs"] for run in runs], "Evaluated")) if plan and not plan.test_rows else 0
    lora_claim = claim(comparison, board, rank_by, load, table_rows=whole, evaluations=evaluations)
    label, metric = partial(label_of, lora), METRICS[rank_by]
    among = " among the LoRA runs" if table.iloc[0]["strategy"] == "base-ft" else ""
    sentences = list(_headline(lora_claim, lora.iloc[0], metric, label, among))
    sentences += _worse_than_the_mean(board)
    sentences += _full(table, metric, label(lora.iloc[0]))
    if lora_claim.chooses_a_rank:
        sentences += _rank(lora, metric, label)
    sentences += _memory(table)
    if comparison.apart:
        sentences.append(f"Not compared with the others: {'; '.join(comparison.apart)}.")
    return Recommendation(tuple(sentences), _basis(comparison, lora_claim, plan), table, lora_claim)


def _worse_than_the_mean(board: pd.DataFrame) -> Iterator[str]:
    """Of numbers, that all runs of the model miss by more than who always answers with the mean, so that no gain is worth much."""
    runs = board[~board["strategy"].isin(REFERENCES)]
    for part in ("test", "validation"):
        explained = runs[f"{part}_r2"].dropna() if f"{part}_r2" in runs else ()
        if len(explained):
            if max(explained) < 0:
                yield (
                    f"No run predicts the {part} rows better than their own mean would (R² is below 0). Look, on the Data page, for"
                    " values of the target that are far from the others."
                )
            return


def with_noise(board: pd.DataFrame, configurations: pd.DataFrame) -> pd.DataFrame:
    """The leaderboard with the columns of NOISE, those of the run's configuration; NA where unknown."""
    each = configurations.explode("runs").set_index("runs").reindex(board["run"]).reset_index(drop=True)
    return board.assign(**{name: each[source] for name, source in NOISE.items()})


NOISE = {
    "tied_with_best": "tied",
    "gain_interval": "gain_interval",
    "test_gain_interval": "test_gain_interval",
    "lora_gap_interval": "lora_gap_interval",
}
"""Column of the leaderboard -> column of a recommendation's configurations. ``..._interval`` is half the width of a 95 % interval."""


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


def _headline(claim: Claim, chosen: pd.Series, metric: Metric, label: Label, among: str) -> Iterator[str]:
    """What validation chose, and what the test rows say about it; ``among`` says of what, where the best of all is no LoRA run."""
    name, score = label(chosen), chosen["score"]
    if claim.verdict == "no gain":
        yield "No LoRA run is better than zero-shot on the validation rows. Use the pretrained model as it is."
        return
    gain = f", which improves {_improvement(claim.gain, metric, score)} over zero-shot there" if claim.verdict == "better" else ""
    yield f"Validation chooses {name}{among}{gain}."
    found, digits = claim.found, metric.decimals(score)
    if not isinstance(found, Difference):
        why = "How much of its gain on these rows is noise is not known" if found is None else _too_few(found, claim.tested)
        known = "" if claim.test_gain is None else f" On the test rows it changes by {_change(claim.test_gain, metric, score)}."
        yield f"{why}, so none is claimed.{known}"
        return
    among_what = "configurations" if claim.tested else "evaluations"
    allows = f" that allows for the choice among {found.choices} {among_what}" if found.choices > 1 or not claim.tested else ""
    where = "On the test rows" if claim.tested else "There are no test rows. On the validation rows"
    if claim.verdict == "better":
        ends = f"{found.low:.{digits}f} to {found.high:.{digits}f}"
        yield f"{where} it improves {_improvement(found.value, metric, score)} over zero-shot, 95 % interval {ends}{allows}."
        return
    low, high = sorted(metric.sign * end for end in (found.low, found.high))
    interval = f"{_change(found.value, metric, score)}, 95 % interval {low:+z.{digits}f} to {high:+z.{digits}f}{allows}"
    if claim.verdict == "worse":
        yield f"{where} it is worse than zero-shot: {interval}. Use the pretrained model as it is."
    else:
        unclear = f"its difference from zero-shot is not beyond noise: {interval}"
        yield f"{where} {unclear}. Use the pretrained model as it is{_what_settles(claim, found)}"


def _too_few(found: TooFew, tested: bool) -> str:
    """Why the rows do not tell how far a gain may be off, and what would."""
    units = {"random": "rows", "group": "groups", "time": "blocks of time"}[found.of]
    which = "" if found.of_class is None else f" with the class {found.of_class!r}"
    part = "test" if tested else "validation"
    holds = f"they hold {found.found} {units}{which}, and it takes {found.needed}"
    return f"The {part} rows are too few to tell how far the gain may be off ({holds})"


def _what_settles(claim: Claim, found: Difference) -> str:
    """The end of the sentence: how many more seeds or rows, or why none."""
    if not claim.tested or found.value <= 0:
        return "."
    rows = f"about {claim.rows_needed:,} test rows" if claim.rows_needed else ""
    if claim.more_seeds is not None:
        seeds = counted(claim.more_seeds, "more seed")
        seen = "the noise that was seen" if len(claim.runs) > 1 else "the noise of the rows (one seed does not tell how much seeds differ)"
        return f", or repeat with {seeds}: by {seen}, a true gain of this size then shows in 80 % of cases."
    return f"; even {MOST_SEEDS} seeds would hardly show a true gain of this size" + (f", {rows} would in 80 % of cases." if rows else ".")


def _rank(lora: pd.DataFrame, metric: Metric, label: Label) -> Iterator[str]:
    """Which rank validation would choose, by the one-standard-error rule (Breiman et al. 1984, section 3.4.3)."""
    best = lora.iloc[0]
    if lora["lora_gap_error"].isna().any():
        digits = metric.decimals(best["score"])
        yield f"{label(best)} has the best validation {metric.written} of the LoRA runs: {best['score']:.{digits}f}."
        return
    smallest = smallest_within(lora)
    largest, smaller = lora[lora["rank"] == lora["rank"].max()].iloc[0], lora[lora["rank"] < best["rank"]]
    if smallest.name != best.name:
        head = f"On the validation rows {label(smallest)} is the smallest rank within one standard error of the best ({label(best)})"
        yield f"{head}. {label(best)} {_price(smallest, best, metric)}."
    elif len(smaller):
        head = f"On the validation rows {label(best)} is the best, and no smaller rank is within one standard error of it"
        yield f"{head}. Against {label(smaller.iloc[0])} it {_price(smaller.iloc[0], best, metric)}."
    elif largest["rank"] > best["rank"]:
        head = f"{label(best)} is the smallest rank, and no larger one is better on the validation rows"
        yield f"{head}. {label(largest)} {_price(best, largest, metric)}."
    else:
        yield f"{label(best)} is the only rank of this sweep; add other ranks to compare."


def _price(cheap: pd.Series, other: pd.Series, metric: Metric) -> str:
    """What ``other`` costs against ``cheap``, one of which is the best LoRA, and how its validation score differs."""
    half = max(cheap["lora_gap_interval"], other["lora_gap_interval"])
    change = _change(metric.sign * (other["score"] - cheap["score"]), metric, cheap["score"], half)
    parts = []
    for name, (words, (more, less), size) in COSTS.items():
        amount = (other[name] - cheap[name]) / size
        if pd.notna(amount) and round(abs(amount), 1) > 0:
            parts.append(words.format(f"{abs(amount):,.{1 if abs(amount) < 100 else 0}f}", more if amount > 0 else less))
    spent = " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)
    return f"{spent or 'costs about the same'}, for {change}"


def _memory(table: pd.DataFrame) -> Iterator[str]:
    megabytes = table["growth_memory_bytes"].astype("Float64") / 1e6
    growth = megabytes[table["strategy"] == "peft"].groupby(table["rank"]).mean().dropna()
    full = megabytes[table["strategy"] == "base-ft"].mean()
    if len(growth) > 1 and growth.max() - growth.min() < MEMORY_LEVER * growth.max():
        yield f"Rank hardly changes the memory here ({growth.min():,.1f} to {growth.max():,.1f} MB); context rows do."
    if len(growth) and pd.notna(full) and growth.min() > full:
        yield (
            f"LoRA saved no memory here ({growth.min():,.1f} MB at least, full fine-tuning {full:,.1f} MB): nearly all of it is activations"
            ", which LoRA needs too."
        )


def _full(table: pd.DataFrame, metric: Metric, best: str) -> Iterator[str]:
    """Whether it is better than LoRA on the validation rows, which is no claim, and on the test rows, which is one."""
    for _, full in table[table["strategy"] == "base-ft"].iloc[:1].iterrows():
        validation, test = (_change(-full[gap], metric, full["score"], full[f"{gap}_interval"]) for gap in ("lora_gap", "test_lora_gap"))
        leads, confirmed = full["lora_gap"] < -ROUNDING, -full["test_lora_gap"] > full["test_lora_gap_interval"] + ROUNDING
        if confirmed:
            yield f"Full fine-tuning is better than the best LoRA ({best}) on the test rows: {test}."
        elif leads and pd.isna(full["test_lora_gap_interval"]):
            yield f"On the validation rows full fine-tuning is ahead of the best LoRA ({best}): {validation}. No test rows confirm it."
        elif leads:
            lead = f"On the validation rows full fine-tuning is ahead of the best LoRA ({best}): {validation}"
            yield f"{lead}. The test rows do not confirm it: {test}."


def _basis(comparison: Comparison, claim: Claim, plan: RunPlanned | None) -> str:
    named = f"seed{'s' * (len(comparison.seeds) > 1)} {', '.join(map(str, comparison.seeds))}"
    compared = f" Compared on {named}, where every configuration has a score." if comparison.left_out else ""
    if comparison.configurations["gap_error"].isna().all() and claim.verdict == "not known":
        return f"How much of this is noise is not known: there are no predictions of its rows, or none before training.{compared}"
    missing = comparison.configurations["gap_error"].isna().any()
    why = (
        "Where rows are too few there is none." if isinstance(claim.found, TooFew) else "Runs without predictions for these rows have none."
    )
    unknown = f" {why}" if missing else ""
    rows = f" ({plan.validation_rows:,} validation and {plan.test_rows:,} test rows)" if plan else ""
    luck = (
        f" They hold the noise of the rows and the spread over {len(claim.runs)} seeds."
        if len(claim.runs) > 1
        else " This does not include variation from the split and the initialization; run several seeds to measure it."
    )
    used = f", of which each seed has {claim.chosen_by:.0%} that chose under another seed," if claim.chosen_by else UNUSED
    return (
        f"± is half the width of a 95 % interval, of differences row by row{rows}.{luck}{unknown} Validation chooses; only the test rows"
        f"{used} can confirm an improvement.{'' if claim.units_known else UNKNOWN_UNITS}{compared}"
    )


def label_of(lora: pd.DataFrame, row: pd.Series) -> str:
    """For example ``r=8``, and in brackets what else differs between configurations of one rank."""
    more = ", ".join(WRITTEN[name](row[name]) for name in told_by(lora))
    return f"r={row['rank']}" + (f" ({more})" if more else "")


def _improvement(better_by: float, metric: Metric, score: float) -> str:
    """For example ``accuracy by 0.0123``, or ``log-loss by 0.0123 nats``."""
    unit = {"nats": " nats", TARGET_UNIT: " (in the target's unit)"}.get(metric.unit, "")
    return f"{metric.written} by {better_by:.{metric.decimals(score)}f}{unit}"


def _change(better_by: float, metric: Metric, score: float, half: float | None = None) -> str:
    """For example ``+0.0123 ± 0.0045 accuracy``, or ``-0.0123 nats of log-loss (lower is better)`` where it is better by that.

    As many digits as fit a score like this one; ``half`` is half the width of a 95 % interval.
    """
    digits, unit = metric.decimals(score), "nats of " if metric.unit == "nats" else ""
    notes = ["in the target's unit"] * (metric.unit == TARGET_UNIT) + ["lower is better"] * (not metric.higher_is_better)
    noise = "" if half is None or math.isnan(half) else f" ± {half:.{digits}f}"
    written = f"{metric.sign * better_by:+z.{digits}f}{noise} {unit}{metric.written}"
    return written + (f" ({', '.join(notes)})" if notes else "")
