"""The recommendation in words: whether LoRA gained anything, the smallest rank that is as good, and what a larger one
costs.

In: the leaderboard of one sweep. Out: plain sentences, and the comparison of configurations behind them. Validation
chooses; "better" and "worse" mean beyond a 95 % interval on the test rows.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from tabtune_core.analysis.against_references import Rival, against_guessing, rivals
from tabtune_core.analysis.claims import MOST_SEEDS, Claim, claim, earlier_sweeps
from tabtune_core.analysis.comparison import WRITTEN, Comparison, Load, compare, half_widths, told_by, with_half_widths
from tabtune_core.analysis.gains import UNIT, beyond_noise, change, corrected, gain_over_zero_shot, too_few, versus
from tabtune_core.analysis.intervals import PLUS_MINUS, half_width
from tabtune_core.analysis.jackknife import Difference
from tabtune_core.analysis.runs_table import leaderboard, of_task
from tabtune_core.events import RunPlanned
from tabtune_core.metrics import METRICS, Metric
from tabtune_core.store.predictions import read_predictions
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore
from tabtune_core.wording import counted, number

MEMORY_LEVER = 0.1
"""If memory varies by less than this share over the ranks, the rank is said to hardly change it."""
COSTS = {
    "growth_memory_bytes": ("used {} MB {} memory", ("more", "less"), 1e6),
    "train_seconds": ("trained {} s {}", ("longer", "less"), 1.0),
    "adapter_bytes": ("has an adapter that is {} kB {}", ("larger", "smaller"), 1e3),
}
"""By cost: the template of a difference, the words for more and for less, and the divisor to the unit."""
USE_PRETRAINED = "Use the pretrained model as it is."
NO_SEED = (
    "Nothing is compared, because no seed has a score for every configuration. Run the missing configurations "
    "under the same seeds."
)
CURSED = 0.9
"""A gain is called overstated if its corrected value is below this share of it."""
UNUSED = ", which were not used for any choice,"
UNKNOWN_UNITS = " Rows are treated as independent: these runs do not say which of them belong together."
Label = Callable[[pd.Series], str]


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What a sweep says about rank."""

    sentences: tuple[str, ...]
    """Most important first; empty until two configurations have a score, one of them LoRA."""
    basis: str
    """What ± and the intervals mean and are computed from; without sentences: which runs cannot be compared, and why.
    """
    configurations: pd.DataFrame
    """One row per configuration, as in Comparison, with ``tied``: whether a LoRA is within one standard error (of the
    paired difference on the validation rows) of the best LoRA; NA where that is unknown, and for other strategies.
    """
    claim: Claim | None = None
    """What may be claimed of the best LoRA configuration; None if there is none to compare."""


def recommend(store: RunStore, board: pd.DataFrame, rank_by: str, earlier: int = 0) -> Recommendation:
    """Writes the recommendation of ``board``, the leaderboard of one sweep of ``store``, ranked by ``rank_by``.

    ``earlier`` is the number of its ``earlier_sweeps``.
    """
    load = partial(read_predictions, store)
    comparison = compare(board, rank_by, load)
    table = comparison.configurations
    tied = table["lora_gap"] <= table["lora_gap_error"]
    table = table.assign(
        tied=tied.astype("boolean").mask(table["lora_gap_error"].isna() | (table["strategy"] != "peft"))
    )
    lora = table[table["strategy"] == "peft"]
    if table.empty and comparison.left_out:
        return Recommendation((), NO_SEED, table)
    if len(table) < 2 or lora.empty:
        one = len(comparison.apart) == 1
        again = f"Run {'it' if one else 'them'} again to {'its' if one else 'their'} end, with the same steps and rows."
        alone = f"No LoRA run can be compared. Left out: {'; '.join(comparison.apart)}. {again}"
        return Recommendation((), alone if comparison.apart and lora.empty else "", table)
    plan = store.last_event(lora["runs"].iloc[0][0], RunPlanned)
    whole = plan.test_rows if plan else None
    evaluations = (
        len(store.fields([run for runs in lora["runs"] for run in runs], "Evaluated"))
        if plan and not plan.test_rows
        else 0
    )
    lora_claim = claim(comparison, board, rank_by, load, table_rows=whole, evaluations=evaluations)
    label, metric, best = partial(label_of, lora), METRICS[rank_by], lora.iloc[0]
    others = list(rivals(board, rank_by, load, best["own_runs"]))
    leader = _leader(others, table.iloc[0], metric)
    among = " among the LoRA runs" if leader or table.iloc[0]["strategy"] == "base-ft" else ""
    bad = list(_no_better_than_guessing(lora_claim, metric, load, label(best), float(best["score"])))
    full = list(_full(table, metric, label(best)))
    sentences = [_beside(leader, metric, label(best), leads=True)] if leader else full
    better = None if leader or bad else next((one for one in others if beyond_noise(one.ahead) == 1), None)
    advice = (
        ""
        if leader or bad
        else _beside(better, metric, label(best))
        if better
        else _advice(lora_claim, lora, table, label)
    )
    sentences += _headline(lora_claim, best, metric, label, among, advice)
    sentences += _one_of_several(lora_claim, earlier)
    sentences += bad
    sentences += (_beside(one, metric, label(best)) for one in others if one not in (leader, better))
    sentences += full if leader else []
    if lora_claim.chooses_a_rank:
        sentences += _rank(lora, metric, label)
    sentences += _memory(table)
    if comparison.apart:
        sentences.append(f"Left out of the comparison: {'; '.join(comparison.apart)}.")
    return Recommendation(tuple(sentences), _basis(comparison, lora_claim, plan), table, lora_claim)


def _advice(claim: Claim, lora: pd.DataFrame, table: pd.DataFrame, label: Label) -> str:
    """Says whether to use LoRA or zero-shot; empty if full fine-tuning is better, or a smaller rank may be enough."""
    if _full_is_better(table):
        return ""
    if claim.verdict != "better":
        return USE_PRETRAINED
    return f"Use {label(lora.iloc[0])}." if smallest_within(lora).name == lora.iloc[0].name else ""


def _leader(others: Sequence[Rival], best: pd.Series, metric: Metric) -> Rival | None:
    """Returns the reference with the best validation score; None if ``best``, the model's best configuration, is as
    good.
    """
    first = max(others, key=lambda one: metric.sign * one.score, default=None)
    return (
        first
        if first and metric.better(first.score, best["score"]) and metric.better(first.score, first.ours)
        else None
    )


def _beside(other: Rival, metric: Metric, lora: str, *, leads: bool = False) -> str:
    """Compares a reference with the best LoRA on the validation and test rows."""
    over = f" (means over {other.seeds} seeds)" if other.seeds > 1 else ""
    has = "has the best validation" if leads else "has a validation"
    name = f"{other.name[0].upper()}{other.name[1:]}, without a foundation model,"
    theirs, ours = (metric.text(score, other.score - other.ours) for score in (other.score, other.ours))
    scores = f"{name} {has} {metric.written}{':' if leads else ' of'} {theirs}"
    test = versus(other.name, lora, other.ahead, metric, size=other.ours, part="test")
    advice = f" Use {other.name}." if leads and beyond_noise(other.ahead) == 1 else ""
    return f"{scores}; the best LoRA ({lora}) has {ours}{over}. {test}{advice}"


def _no_better_than_guessing(claim: Claim, metric: Metric, load: Load, lora: str, size: float) -> Iterator[str]:
    """Warns if the model to use (LoRA if it gained, else zero-shot) scores no better than a constant guess."""
    if metric.name == "ece":  # guessing the shares of the classes is perfectly calibrated
        return
    trained = claim.verdict == "better"
    found, part = against_guessing(metric, load, claim.runs, trained=trained)
    if isinstance(found, Difference) and found.value <= 0:
        how, advice = "guessing with the shares of the classes in its training rows", ""
        if metric.task == "regression":
            how = "always answering with the mean of its training rows"
            advice = " Look, on the Data page, for target values that are far from the others."
        yield versus(lora if trained else "zero-shot", how, found, metric, size=size, part=part) + advice


def board_and_recommendation(
    store: RunStore, runs: Sequence[Run], rank_by: str, load: Load
) -> tuple[pd.DataFrame, Recommendation]:
    """Returns the leaderboard of a sweep's runs, with the ± of each gain, which ``load`` reads, and with NOISE; and its
    recommendation.
    """
    own = partial(half_widths, metric=METRICS[rank_by], load=load)
    board = with_half_widths(of_task(leaderboard(runs, rank_by), METRICS[rank_by].task), own)
    found = recommend(store, board, rank_by, earlier_sweeps(store.runs())[runs[0].sweep] if runs else 0)
    return with_noise(board, found.configurations), found


def with_noise(board: pd.DataFrame, configurations: pd.DataFrame) -> pd.DataFrame:
    """Adds to the leaderboard the NOISE columns of each run's configuration; NA where unknown."""
    each = configurations.explode("runs").set_index("runs").reindex(board["run"]).set_axis(board.index)
    return board.assign(**{name: each[source] for name, source in NOISE.items()})


NOISE = {"tied_with_best": "tied", half_width("lora_gap"): half_width("lora_gap")}
"""Column of the leaderboard -> column of a recommendation's configurations."""


def smallest_within(lora: pd.DataFrame) -> pd.Series:
    """Returns the smallest rank within one standard error of the best; ``lora`` holds the LoRA configurations, best
    first.
    """
    near = lora[lora["lora_gap"] <= lora["lora_gap_error"]]
    return (near if len(near) else lora.iloc[:1]).sort_values(["rank", "lora_gap"], kind="stable").iloc[0]


def smallest_tied(configurations: pd.DataFrame) -> pd.Series | None:
    """Picks ``smallest_within`` from all configurations; None without LoRA, or if an error is unknown."""
    lora = configurations[configurations["strategy"] == "peft"]
    return None if lora.empty or lora["lora_gap_error"].isna().any() else smallest_within(lora)


def _headline(claim: Claim, chosen: pd.Series, metric: Metric, label: Label, among: str, advice: str) -> Iterator[str]:
    """Says what validation chose, and what the test rows say about it.

    ``among`` is `` among the LoRA runs`` if another strategy is the best of all; ``advice`` says what to use, or which
    reference is better.
    """
    if claim.verdict == "no gain":
        over = ", on average over its seeds" if len(claim.runs) > 1 else ""
        yield f"The best LoRA ({label(chosen)}) is not better than zero-shot on the validation rows{over}. {advice}".rstrip()  # noqa: E501
        return
    score, gain = chosen["score"], chosen["gain"]
    before = "" if pd.isna(gain) else f", zero-shot has {metric.like(score - metric.sign * gain, score, gain)}"
    yield (
        f"Validation chooses {label(chosen)}{among}: its {metric.written} there is {metric.text(score, gain)}{before}."
    )
    part = "test" if claim.tested else "validation"
    if not isinstance(claim.found, Difference):
        why = too_few(claim.found, part) if claim.found else "how much of its gain on these rows is noise is not known"
        yield f"No gain over zero-shot is claimed: {why}."
        return
    yield gain_over_zero_shot(claim.found, metric, size=chosen["score"], part=part)
    yield from [advice] * bool(advice)
    if claim.verdict == "better":
        yield from _winners_curse(claim.found)
    if claim.verdict == "unclear" and claim.tested and claim.found.value > 0:
        yield _what_settles(claim)


def _winners_curse(found: Difference) -> Iterator[str]:
    """Warns about a gain so small that much of its size may come from being selected."""
    if (likely := corrected(found)) < CURSED * found.value:
        about = number(float(f"{likely:.2g}"))
        yield (
            "Small gains that are beyond noise are overstated on average, because only the lucky ones get there. "
            "Corrected for that, this"
            f" gain is {f'about {about}' if likely > 0.1 * found.value else 'hardly above 0'}. Run more seeds to "
            "measure it."
        )


def _one_of_several(claim: Claim, earlier: int) -> Iterator[str]:
    """Warns about a claim that would not be one if its interval allowed for the earlier sweeps with the same test rows."""  # noqa: E501
    if claim.verdict != "better" or not claim.tested or not isinstance(claim.found, Difference):
        return
    if beyond_noise(dataclasses.replace(claim.found, choices=claim.found.choices * (1 + earlier))) != 1:
        these = (
            f"{counted(earlier, 'earlier sweep')} had the same test rows. Among {earlier + 1} sweeps, such a "
            "gain may be chance."
        )
        yield (
            f"{these} Confirm it {'on later rows' if claim.units == 'time' else 'with another seed of the test rows'}."
        )


def _what_settles(claim: Claim) -> str:
    """Says how many more seeds or rows would show a gain of this size."""
    start = "If LoRA's true gain is as large as this one,"
    if claim.more_seeds is None:
        these = f" with these {len(claim.runs)} seeds" if len(claim.runs) > 1 else ""
        rows = f"; about {claim.rows_needed:,} test rows{these} would, in 80 % of cases" if claim.rows_needed else ""
        rows = f", and neither would any number of test rows{these}" if claim.rows_needed == math.inf else rows
        return f"{start} even {MOST_SEEDS} seeds would probably not show it{rows}."
    seen = "" if len(claim.runs) > 1 else " One seed does not tell how much seeds differ, so it may take more."
    return f"{start} {counted(claim.more_seeds, 'more seed')} would show it in 80 % of cases.{seen}"


def _rank(lora: pd.DataFrame, metric: Metric, label: Label) -> Iterator[str]:
    """Says which rank validation would choose, by the one-standard-error rule (Breiman et al. 1984, section 3.4.3)."""
    best = lora.iloc[0]
    if lora["lora_gap_error"].isna().any():
        yield f"{label(best)} has the best validation {metric.written} of the LoRA runs: {metric.text(best['score'])}."
        return
    smallest = smallest_within(lora)
    largest, smaller = lora[lora["rank"] == lora["rank"].max()].iloc[0], lora[lora["rank"] < best["rank"]]
    if smallest.name != best.name:
        head = (
            f"On the validation rows {label(smallest)} is the smallest rank within one standard error of the best "
            f"({label(best)})"
        )
        yield f"{head}. {label(best)} {_price(smallest, best, metric)}."
    elif len(smaller):
        head = f"On the validation rows {label(best)} is more than one standard error better than every smaller rank"
        yield f"{head}. Compared with {label(smaller.iloc[0])} it {_price(smaller.iloc[0], best, metric)}."
    elif largest["rank"] > best["rank"]:
        head = f"{label(best)} is the smallest rank, and no larger one is better on the validation rows"
        yield f"{head}. {label(largest)} {_price(best, largest, metric)}."
    else:
        yield f"{label(best)} is the only rank that can be compared; run other ranks, too."


def _price(cheap: pd.Series, other: pd.Series, metric: Metric) -> str:
    """Says what ``other`` costs compared with ``cheap``, and how its validation score differs; one of the two is the
    best LoRA.
    """
    half = max(one[half_width("lora_gap")] for one in (cheap, other))
    better_by = float(metric.ahead(other["score"], cheap["score"]))
    parts = []
    for name, (words, (more, less), size) in COSTS.items():
        amount = (other[name] - cheap[name]) / size
        if pd.notna(amount) and round(abs(amount), 1) > 0:
            parts.append(
                words.format(f"{abs(amount):,.{1 if abs(amount) < 100 else 0}f}", more if amount > 0 else less)
            )
    spent = " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)
    noise = ", which may still be noise" if abs(better_by) <= half else ""
    return f"{spent or 'costs about the same'}, for {change(better_by, half, metric, cheap['score'])}{noise}"


def _memory(table: pd.DataFrame) -> Iterator[str]:
    megabytes = table["growth_memory_bytes"].astype("Float64") / 1e6
    growth = megabytes[table["strategy"] == "peft"].groupby(table["rank"]).mean().dropna()
    full = megabytes[table["strategy"] == "base-ft"].mean()
    if len(growth) > 1 and growth.max() - growth.min() < MEMORY_LEVER * growth.max():
        yield (
            f"Rank hardly changes memory here ({growth.min():,.1f} to {growth.max():,.1f} MB); the number of "
            "context rows does."
        )
    if len(growth) and pd.notna(full) and growth.min() > full:
        yield (
            f"LoRA saved no memory here ({growth.min():,.1f} MB at least, full fine-tuning {full:,.1f} MB): nearly "
            "all of it is activations"
            ", which LoRA needs too."
        )


def _full(table: pd.DataFrame, metric: Metric, best: str) -> Iterator[str]:
    """Says whether full fine-tuning is better than LoRA: a claim on the test rows, only a lead on the validation rows."""  # noqa: E501
    for _, full in table[table["strategy"] == "base-ft"].iloc[:1].iterrows():
        validation, test = (
            change(-full[gap], full[half_width(gap)], metric, full["score"]) for gap in ("lora_gap", "test_lora_gap")
        )
        if _full_is_better(table):
            gains = full["test_gain"] > full[half_width("test_gain")]
            advice = " Use full fine-tuning." if gains else ""
            yield f"Full fine-tuning is better than the best LoRA ({best}) on the test rows: {test}.{advice}"
        elif full["lora_gap"] < 0:
            confirmed = (
                "No test rows confirm it" if pd.isna(full["test_score"]) else f"The test rows do not confirm it: {test}"
            )
            lead = f"On the validation rows full fine-tuning is ahead of the best LoRA ({best}): {validation}"
            yield f"{lead}. {confirmed}."


def _full_is_better(table: pd.DataFrame) -> bool:
    """Whether full fine-tuning is better than the best LoRA on the test rows, beyond noise."""
    full = table[table["strategy"] == "base-ft"].iloc[:1]
    return bool((-full["test_lora_gap"] > full[half_width("test_lora_gap")]).any())


def _basis(comparison: Comparison, claim: Claim, plan: RunPlanned | None) -> str:
    named = f"seed{'s' * (len(comparison.seeds) > 1)} {', '.join(map(str, comparison.seeds))}"
    compared = f" Compared on {named}, where every configuration has a score." if comparison.left_out else ""
    if comparison.configurations["gap_error"].isna().all() and claim.verdict == "not known":
        return (
            "How much of this is noise is not known: predictions of its rows, or those before training, are "
            f"missing.{compared}"
        )
    missing = comparison.configurations["gap_error"].isna().any()
    unit = UNIT[claim.units or "random"]
    few = f"Too few {counted(0, unit).removeprefix('0 ')} give no interval."
    why = few if comparison.too_few else "Runs without predictions for these rows have none."
    unknown = f" {why}" if missing else ""
    rows = f" ({plan.validation_rows:,} validation and {plan.test_rows:,} test rows)" if plan else ""
    luck = (
        f" It includes the noise of the rows and the spread over {len(claim.runs)} seeds."
        if len(claim.runs) > 1
        else " It leaves out what the split and the initialization change; run several seeds to measure that."
    )
    used = f", {claim.chosen_by:.0%} of which are validation rows under another seed," if claim.chosen_by else UNUSED
    return (
        f"{PLUS_MINUS}, of differences {unit} by {unit}{rows}.{luck}{unknown} Validation chooses; only the test rows"
        f"{used} can confirm an improvement.{'' if claim.units else UNKNOWN_UNITS}{compared}"
    )


def label_of(lora: pd.DataFrame, row: pd.Series) -> str:
    """Names a configuration, for example ``r=8``, with what else differs between configurations of one rank in
    brackets.
    """
    more = ", ".join(WRITTEN[name](row[name]) for name in told_by(lora))
    return f"r={row['rank']}" + (f" ({more})" if more else "")
