"""The recommendation in words: whether LoRA gained anything, the smallest rank as good, what a larger one costs.

In: the leaderboard of one sweep. Out: plain sentences, and the comparison of configurations behind them. Validation
chooses; "better" and "worse" mean beyond a 95 % interval on the test rows.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from tabtune_core.analysis.against_references import Rival, against_guessing, rivals
from tabtune_core.analysis.claims import MOST_SEEDS, Claim, claim, earlier_sweeps
from tabtune_core.analysis.comparison import (
    WRITTEN,
    Comparison,
    Load,
    compare,
    differing_settings,
    half_widths,
    with_half_widths,
)
from tabtune_core.analysis.gains import UNIT, beyond_noise, change, gain_over_zero_shot, too_few, versus
from tabtune_core.analysis.intervals import PLUS_MINUS, half_width
from tabtune_core.analysis.jackknife import Difference
from tabtune_core.analysis.runs_table import leaderboard, of_task
from tabtune_core.events import RunPlanned
from tabtune_core.metrics import METRICS, Metric
from tabtune_core.store.predictions import read_predictions
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore
from tabtune_core.wording import counted

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
NOISE = {"tied_with_best": "tied", half_width("lora_gap"): half_width("lora_gap")}
"""Column of the leaderboard -> column of a recommendation's configurations."""
Label = Callable[[pd.Series], str]


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What a sweep says about rank."""

    sentences: tuple[str, ...]
    """Most important first; empty until two configurations have a score, one of them LoRA."""
    basis: str
    """What ± is computed from; without sentences: which runs cannot be compared, and why."""
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
    tied = (comparison.configurations["lora_gap"] <= comparison.configurations["lora_gap_error"]).astype("boolean")
    known = comparison.configurations["lora_gap_error"].notna() & (comparison.configurations["strategy"] == "peft")
    table = comparison.configurations.assign(tied=tied.where(known))
    lora = table[table["strategy"] == "peft"]
    if len(table) < 2 or lora.empty:
        return Recommendation((), _why_nothing(comparison, lora), table)
    runs = [run for own in lora["runs"] for run in own]
    plan = store.last_event(runs[0], RunPlanned)
    evaluations = len(store.fields(runs, "Evaluated")) if plan and not plan.test_rows else 0
    lora_claim = claim(comparison, board, rank_by, load, evaluations=evaluations)
    others = list(rivals(board, rank_by, load, lora.iloc[0]["own_runs"]))
    sentences = list(_sentences(table, lora_claim, rank_by, load, others, earlier))
    if comparison.apart:
        sentences.append(f"Left out of the comparison: {'; '.join(comparison.apart)}.")
    return Recommendation(tuple(sentences), _basis(comparison, lora_claim, plan), table, lora_claim)


def board_and_recommendation(
    store: RunStore, runs: Sequence[Run], rank_by: str, load: Load
) -> tuple[pd.DataFrame, Recommendation]:
    """Returns the leaderboard of a sweep's runs, with the ± of each gain and with NOISE; and its recommendation."""
    own = partial(half_widths, metric=METRICS[rank_by], load=load)
    board = with_half_widths(of_task(leaderboard(runs, rank_by), METRICS[rank_by].task), own)
    recommendation = recommend(store, board, rank_by, earlier_sweeps(store.runs())[runs[0].sweep] if runs else 0)
    return with_noise(board, recommendation.configurations), recommendation


def with_noise(board: pd.DataFrame, configurations: pd.DataFrame) -> pd.DataFrame:
    """Adds to the leaderboard the NOISE columns of each run's configuration; NA where unknown."""
    each = configurations.explode("runs").set_index("runs").reindex(board["run"]).set_axis(board.index)
    return board.assign(**{name: each[source] for name, source in NOISE.items()})


def smallest_within(lora: pd.DataFrame) -> pd.Series:
    """Returns the smallest rank within one standard error of the best; ``lora`` holds LoRA configurations, best first.

    The one-standard-error rule of Breiman et al. 1984, section 3.4.3.
    """
    near = lora[lora["lora_gap"] <= lora["lora_gap_error"]]
    return (near if len(near) else lora.iloc[:1]).sort_values(["rank", "lora_gap"], kind="stable").iloc[0]


def smallest_tied(configurations: pd.DataFrame) -> pd.Series | None:
    """Picks ``smallest_within`` from all configurations; None without LoRA, or if an error is unknown."""
    lora = configurations[configurations["strategy"] == "peft"]
    return None if lora.empty or lora["lora_gap_error"].isna().any() else smallest_within(lora)


def label_of(lora: pd.DataFrame, row: pd.Series) -> str:
    """Names a configuration, for example ``r=8``, with what else differs between those of one rank in brackets."""
    more = ", ".join(WRITTEN[name](row[name]) for name in differing_settings(lora))
    return f"r={row['rank']}" + (f" ({more})" if more else "")


def _why_nothing(comparison: Comparison, lora: pd.DataFrame) -> str:
    if comparison.configurations.empty and comparison.left_out:
        return NO_SEED
    if not comparison.apart or len(lora):
        return ""
    again = "Run what is left out again to its end, with the same steps and rows."
    return f"No LoRA run can be compared. Left out: {'; '.join(comparison.apart)}. {again}"


def _sentences(
    table: pd.DataFrame, claim: Claim, rank_by: str, load: Load, others: Sequence[Rival], earlier: int
) -> Iterator[str]:
    """Yields what was chosen and what the test rows say, the references, the smallest rank within noise, and costs."""
    lora, metric = table[table["strategy"] == "peft"], METRICS[rank_by]
    label, best = partial(label_of, lora), lora.iloc[0]
    leader = _leader(others, table.iloc[0], metric)
    no_better = list(_no_better_than_guessing(claim, metric, load, label(best), float(best["score"])))
    full = list(_full(table, metric, label(best)))
    first = [_beside(leader, metric, label(best), leads=True)] if leader else full
    better = None if leader or no_better else next((one for one in others if beyond_noise(one.ahead) == 1), None)
    advice = ""
    if better:
        advice = _beside(better, metric, label(best))
    elif not leader and not no_better and not _full_is_better(table):
        advice = USE_PRETRAINED if claim.verdict != "better" else ""
        advice = f"Use {label(best)}." if not advice and smallest_within(lora).name == best.name else advice
    yield from first
    among = " among the LoRA runs" if leader or table.iloc[0]["strategy"] == "base-ft" else ""
    yield from _headline(claim, best, metric, label(best) + among, advice)
    yield from _one_of_several(claim, earlier)
    yield from no_better
    yield from (_beside(one, metric, label(best)) for one in others if one not in (leader, better))
    yield from full if leader else []
    if claim.chooses_a_rank:
        yield from _rank(lora, metric, label)
    yield from _memory(table)


def _leader(others: Sequence[Rival], best: pd.Series, metric: Metric) -> Rival | None:
    """Returns the reference with the best validation score; None if the model's best configuration is as good."""
    first = max(others, key=lambda one: metric.sign * one.score, default=None)
    leads = first and metric.better(first.score, best["score"]) and metric.better(first.score, first.ours)
    return first if leads else None


def _beside(other: Rival, metric: Metric, lora: str, *, leads: bool = False) -> str:
    """Compares a reference with the best LoRA on the validation and test rows."""
    over = f" (means over {other.seeds} seeds)" if other.seeds > 1 else ""
    score, ours = (metric.text(score, other.score - other.ours) for score in (other.score, other.ours))
    has = f"has {'the best' if leads else 'a'} validation {metric.written}{':' if leads else ' of'} {score}"
    test = versus(other.name, lora, other.ahead, metric, size=other.ours, part="test")
    advice = f" Use {other.name}." if leads and beyond_noise(other.ahead) == 1 else ""
    name = f"{other.name[0].upper()}{other.name[1:]}, without a foundation model,"
    return f"{name} {has}; the best LoRA ({lora}) has {ours}{over}. {test}{advice}"


def _no_better_than_guessing(claim: Claim, metric: Metric, load: Load, lora: str, size: float) -> Iterator[str]:
    """Warns if the model to use (LoRA if it gained, else zero-shot) scores no better than a constant guess."""
    if metric.name == "ece":  # guessing the shares of the classes is perfectly calibrated
        return
    trained = claim.verdict == "better"
    ahead, part = against_guessing(metric, load, claim.runs, trained=trained)
    if isinstance(ahead, Difference) and ahead.value <= 0:
        how, advice = "guessing with the shares of the classes in its training rows", ""
        if metric.task == "regression":
            how = "always answering with the mean of its training rows"
            advice = " Look, on the Data page, for target values that are far from the others."
        yield versus(lora if trained else "zero-shot", how, ahead, metric, size=size, part=part) + advice


def _headline(claim: Claim, chosen: pd.Series, metric: Metric, name: str, advice: str) -> Iterator[str]:
    """Says what validation chose, what the test rows say about it, and what to use."""
    if claim.verdict == "no gain":
        over = ", on average over its seeds" if len(claim.runs) > 1 else ""
        lora = f"The best LoRA ({name.removesuffix(' among the LoRA runs')})"
        yield f"{lora} is not better than zero-shot on the validation rows{over}. {advice}".rstrip()
        return
    score, gain = chosen["score"], chosen["gain"]
    before = "" if pd.isna(gain) else f", zero-shot has {metric.like(score - metric.sign * gain, score, gain)}"
    yield f"Validation chooses {name}: its {metric.written} there is {metric.text(score, gain)}{before}."
    part = "test" if claim.tested else "validation"
    if not isinstance(claim.difference, Difference):
        unknown = "how much of its gain on these rows is noise is not known"
        yield f"No gain over zero-shot is claimed: {too_few(claim.difference, part) if claim.difference else unknown}."
        return
    yield gain_over_zero_shot(claim.difference, metric, size=score, part=part)
    yield from [advice] * bool(advice)
    if claim.verdict == "unclear" and claim.tested and claim.difference.value > 0:
        yield _what_settles(claim)


def _one_of_several(claim: Claim, earlier: int) -> Iterator[str]:
    """Warns about a claim that would not be one if its interval allowed for earlier sweeps with the same test rows."""
    if claim.verdict != "better" or not claim.tested or not isinstance(claim.difference, Difference):
        return
    if beyond_noise(dataclasses.replace(claim.difference, choices=1 + earlier)) != 1:
        same = f"{counted(earlier, 'earlier sweep')} had the same test rows."
        confirm = "on later rows" if claim.units == "time" else "with another seed of the test rows"
        yield f"{same} Among {earlier + 1} sweeps, such a gain may be chance. Confirm it {confirm}."


def _what_settles(claim: Claim) -> str:
    """Says how many more seeds would show a gain of this size."""
    start = "If LoRA's true gain is as large as this one,"
    if claim.more_seeds is None:
        return f"{start} even {MOST_SEEDS} seeds would probably not show it."
    seen = "" if len(claim.runs) > 1 else " One seed does not tell how much seeds differ, so it may take more."
    return f"{start} {counted(claim.more_seeds, 'more seed')} would show it in 80 % of cases.{seen}"


def _rank(lora: pd.DataFrame, metric: Metric, label: Label) -> Iterator[str]:
    """Says which rank is the smallest within noise, and what another one costs."""
    best = lora.iloc[0]
    if lora["lora_gap_error"].isna().any():
        yield f"{label(best)} has the best validation {metric.written} of the LoRA runs: {metric.text(best['score'])}."
        return
    smallest = smallest_within(lora)
    largest, smaller = lora[lora["rank"] == lora["rank"].max()].iloc[0], lora[lora["rank"] < best["rank"]]
    if smallest.name != best.name:
        of = f"the smallest rank within one standard error of the best ({label(best)})"
        yield f"On the validation rows {label(smallest)} is {of}. {label(best)} {_price(smallest, best, metric)}."
    elif len(smaller):
        head = f"On the validation rows {label(best)} is more than one standard error better than every smaller rank"
        yield f"{head}. Compared with {label(smaller.iloc[0])} it {_price(smaller.iloc[0], best, metric)}."
    elif largest["rank"] > best["rank"]:
        head = f"{label(best)} is the smallest rank, and no larger one is better on the validation rows"
        yield f"{head}. {label(largest)} {_price(best, largest, metric)}."
    else:
        yield f"{label(best)} is the only rank that can be compared; run other ranks, too."


def _price(cheap: pd.Series, other: pd.Series, metric: Metric) -> str:
    """Says what ``other`` costs compared with ``cheap``, and how its score differs; one of them is the best LoRA."""
    half = max(one[half_width("lora_gap")] for one in (cheap, other))
    better_by = float(metric.ahead(other["score"], cheap["score"]))
    parts = []
    for name, (words, (more, less), size) in COSTS.items():
        amount = (other[name] - cheap[name]) / size
        if pd.notna(amount) and round(abs(amount), 1) > 0:
            written = f"{abs(amount):,.{1 if abs(amount) < 100 else 0}f}"
            parts.append(words.format(written, more if amount > 0 else less))
    spent = " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)
    noise = ", which may still be noise" if abs(better_by) <= half else ""
    return f"{spent or 'costs about the same'}, for {change(better_by, half, metric, cheap['score'])}{noise}"


def _memory(table: pd.DataFrame) -> Iterator[str]:
    megabytes = table["growth_memory_bytes"].astype("Float64") / 1e6
    growth = megabytes[table["strategy"] == "peft"].groupby(table["rank"]).mean().dropna()
    full = megabytes[table["strategy"] == "base-ft"].mean()
    if len(growth) > 1 and growth.max() - growth.min() < MEMORY_LEVER * growth.max():
        span = f"{growth.min():,.1f} to {growth.max():,.1f} MB"
        yield f"Rank hardly changes memory here ({span}); the number of context rows does."
    if len(growth) and pd.notna(full) and growth.min() > full:
        span = f"{growth.min():,.1f} MB at least, full fine-tuning {full:,.1f} MB"
        yield f"LoRA saved no memory here ({span}): nearly all of it is activations, which LoRA needs too."


def _full(table: pd.DataFrame, metric: Metric, best: str) -> Iterator[str]:
    """Says whether full fine-tuning is better than LoRA: a claim on test rows, only a lead on validation rows."""
    for _, full in table[table["strategy"] == "base-ft"].iloc[:1].iterrows():
        validation, test = (
            change(-full[gap], full[half_width(gap)], metric, full["score"]) for gap in ("lora_gap", "test_lora_gap")
        )
        if _full_is_better(table):
            advice = " Use full fine-tuning." if full["test_gain"] > full[half_width("test_gain")] else ""
            yield f"Full fine-tuning is better than the best LoRA ({best}) on the test rows: {test}.{advice}"
        elif full["lora_gap"] < 0:
            lead = f"On the validation rows full fine-tuning is ahead of the best LoRA ({best}): {validation}"
            untested = pd.isna(full["test_score"])
            yield f"{lead}. {'No test rows confirm it' if untested else f'The test rows do not confirm it: {test}'}."


def _full_is_better(table: pd.DataFrame) -> bool:
    """Whether full fine-tuning is better than the best LoRA on the test rows, beyond noise."""
    full = table[table["strategy"] == "base-ft"].iloc[:1]
    return bool((-full["test_lora_gap"] > full[half_width("test_lora_gap")]).any())


def _basis(comparison: Comparison, claim: Claim, plan: RunPlanned | None) -> str:
    """Says what ± means and is computed from."""
    named = f"seed{'s' * (len(comparison.seeds) > 1)} {', '.join(map(str, comparison.seeds))}"
    compared = f" Compared on {named}, where every configuration has a score." if comparison.left_out else ""
    errors = comparison.configurations["gap_error"]
    if errors.isna().all() and claim.verdict == "not known":
        return f"How much of this is noise is not known: predictions of its rows are missing.{compared}"
    unit = UNIT[claim.units]
    few = f"Too few {counted(0, unit).removeprefix('0 ')} give no interval."
    missing = few if comparison.too_few else "Runs without predictions for these rows have none."
    rows = f" ({plan.validation_rows:,} validation and {plan.test_rows:,} test rows)" if plan else ""
    alone = "It leaves out what the split and the initialization change; run several seeds to measure that."
    several = f"It includes the noise of the rows and the spread over {len(claim.runs)} seeds."
    parts = (several if len(claim.runs) > 1 else alone, missing if errors.isna().any() else "")
    confirm = "Validation chooses; only the test rows, which were not used for any choice, can confirm an improvement."
    return f"{PLUS_MINUS}, of differences {unit} by {unit}{rows}. {' '.join(filter(None, (*parts, confirm)))}{compared}"
