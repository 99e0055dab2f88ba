"""The recommendation in words: whether LoRA gained anything, the smallest rank as good, what a larger one costs.

In: the leaderboard of one sweep. Out: plain sentences, and the comparison of configurations behind them. Validation
chooses; "better" and "worse" mean beyond a 95 % interval on the test rows.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from tabtune_core.analysis.against_references import CLASSIC, NAMES, Rival, rival
from tabtune_core.analysis.claims import Claim, claim, earlier_sweeps, on_one_page
from tabtune_core.analysis.comparison import (
    Comparison,
    Load,
    at_one_rate,
    compare,
    half_widths,
    label_of,
    near_best,
    smallest_tied,
    with_half_widths,
)
from tabtune_core.analysis.ensemble import Ensemble, ensemble_of
from tabtune_core.analysis.gains import UNIT, beyond_noise, change, gain_over_zero_shot, too_few, versus
from tabtune_core.analysis.intervals import PLUS_MINUS, half_width
from tabtune_core.analysis.jackknife import Difference
from tabtune_core.analysis.pareto import costs_differ
from tabtune_core.analysis.races import race_notes
from tabtune_core.analysis.runs_table import leaderboard, of_task
from tabtune_core.analysis.verdict import NO_BETTER, Verdict, reason, verdict_of
from tabtune_core.events import RunPlanned
from tabtune_core.metrics import METRICS, Metric
from tabtune_core.settings import TRAINED
from tabtune_core.store.predictions import read_predictions
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore
from tabtune_core.training.clock import DISTURBED
from tabtune_core.wording import counted

COSTS = {
    "growth_memory_bytes": ("used {} MB {} memory", ("more", "less"), 1e6),
    "train_seconds": ("trained {} s {}", ("longer", "less"), 1.0),
    "adapter_bytes": ("has an adapter that is {} kB {}", ("larger", "smaller"), 1e3),
}
"""By cost: the template of a difference, the words for more and for less, and the divisor to the unit."""
NO_CONSTANT = (
    "No run beats a constant on the validation rows: the mean or the majority class of the training rows is as good."
)
GAIN_PLACES = 3
"""Decimals of the interval of a gain."""
NO_SEED = (
    "Nothing is compared, because no seed has a score for every configuration. Run the missing configurations "
    "under the same seeds."
)
NOISE = {"tied_with_best": "tied", half_width("lora_gap"): half_width("lora_gap")}
"""Column of the leaderboard -> column of a recommendation's configurations."""


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
    verdict: Verdict | None = None
    """The answer in few words, with the numbers under it."""
    ensemble: Ensemble | None = None
    """All models of the sweep as one."""

    @property
    def in_short(self) -> str:
        """The reason of the verdict, and the interval of LoRA's gain over zero-shot such as ``[+0.161, +0.234]``."""
        verdict, words = self.verdict, list[str]()
        if verdict is None:
            return ""
        reasons = (one.partition(f"{verdict.headline}: ")[2] for one in self.sentences)
        if because := next(filter(None, reasons), ""):
            words.append(f"{because[0].upper()}{because[1:]}")
        if isinstance(gain := verdict.gain, Difference):
            once = " at one rate" * any(" at one rate" in one for one in self.sentences)
            what = f"Gain of LoRA {verdict.lora}{once} over zero-shot on the {verdict.part} rows"
            ends = ", ".join(f"{end:+.{GAIN_PLACES}f}" for end in (gain.low, gain.high))
            words.append(f"{what}: [{ends}] in {METRICS[verdict.metric].written}.")
        return " ".join(words)


def recommend(store: RunStore, board: pd.DataFrame, rank_by: str, earlier: int = 0) -> Recommendation:
    """Writes the recommendation of ``board``, the leaderboard of one sweep of ``store``, ranked by ``rank_by``.

    ``earlier`` is the number of its ``earlier_sweeps``.
    """
    load, metric = partial(read_predictions, store), METRICS[rank_by]
    board = _undisturbed(store, board)
    comparison = compare(board, rank_by, load)
    table = comparison.configurations
    known = table["lora_gap_error"].notna() & (table["strategy"] == "peft")
    table = table.assign(tied=(table["lora_gap"] <= table["lora_gap_error"]).astype("boolean").where(known))
    lora, notes = table[table["strategy"] == "peft"], list(race_notes(board))
    if len(table) < 2 or lora.empty:
        return Recommendation((), " ".join(filter(None, (_why_nothing(comparison, lora), *notes))), table)
    runs = [run for own in lora["runs"] for run in own]
    plan = store.last_event(runs[0], RunPlanned)
    tried = board.loc[(board["strategy"] == "peft") & ~board["archived"], "run"]  # also what stopped at a rung
    evaluations = len(store.fields(list(tried), "Evaluated")) if plan and not plan.test_rows else 0
    claimed = claim(comparison, board, rank_by, load, evaluations=evaluations)
    against = partial(rival, board, rank_by, load, own_runs=claimed.runs, trained=claimed.gain > 0)
    rivals = sorted(filter(None, map(against, (*CLASSIC, "base-ft"))), key=lambda one: -metric.sign * one.score)
    rivals = [one for group in (CLASSIC, TRAINED) for one in [one for one in rivals if one.strategy in group][:1]]
    mixed = ensemble_of(board, claimed.runs, rank_by, load)
    page = [claimed.difference, *(one.ahead for one in rivals), mixed.added if mixed else None]
    measured, *ahead, added = on_one_page(page)
    mixed = dataclasses.replace(mixed, added=added) if mixed else None
    claimed = dataclasses.replace(claimed, difference=measured)
    rivals = [dataclasses.replace(other, ahead=one) for other, one in zip(rivals, ahead, strict=True)]
    constant = None if rank_by == "ece" else against("constant")  # shares of classes are perfectly calibrated
    answer = verdict_of(table, claimed, rivals, constant, rank_by, load)
    notes[:0] = [mixed.sentence(metric)] if mixed and mixed.sentence(metric) else []
    notes += [f"Left out of the comparison: {'; '.join(comparison.not_compared)}."] if comparison.not_compared else []
    named = partial(_at_one_rate, once=at_one_rate(lora))
    sentences = (*map(named, _sentences(table, claimed, rank_by, answer, rivals, constant, earlier)), *notes)
    return Recommendation(sentences, _basis(comparison, claimed, plan), table, claimed, answer, mixed)


def _at_one_rate(sentence: str, once: str) -> str:
    """Returns the sentence with `` at one rate`` behind the first rank that it names, if all ranks had that rate."""
    named = re.search(r"r=\d+(?: \([^)]*\))?", sentence)
    return sentence if not named or once in sentence else f"{sentence[: named.end()]}{once}{sentence[named.end() :]}"


def _undisturbed(store: RunStore, board: pd.DataFrame) -> pd.DataFrame:
    """Empties the seconds of runs that other programs disturbed: no sentence is made from them."""
    notes = store.fields(list(board["run"]), "Note")
    disturbed = {note["run"] for note in notes if note["text"].startswith(DISTURBED)}
    return board.assign(train_seconds=board["train_seconds"].mask(board["run"].isin(disturbed)))


def board_and_recommendation(
    store: RunStore, runs: Sequence[Run], rank_by: str, load: Load
) -> tuple[pd.DataFrame, Recommendation]:
    """Returns the leaderboard of a sweep's runs, with the ± of each gain and with NOISE; and its recommendation."""
    own = partial(half_widths, metric=METRICS[rank_by], load=load)
    board = with_half_widths(of_task(leaderboard(runs, rank_by), METRICS[rank_by].task), own)
    advice = recommend(store, board, rank_by, earlier_sweeps(store.runs(), runs[0].sweep) if runs else 0)
    return with_noise(board, advice.configurations), advice


def with_noise(board: pd.DataFrame, configurations: pd.DataFrame) -> pd.DataFrame:
    """Adds to the leaderboard the NOISE columns of each run's configuration; NA where unknown."""
    each = configurations.explode("runs").set_index("runs").reindex(board["run"]).set_axis(board.index)
    return board.assign(**{name: each[source] for name, source in NOISE.items()})


def _why_nothing(comparison: Comparison, lora: pd.DataFrame) -> str:
    if comparison.configurations.empty and comparison.left_out:
        return NO_SEED
    if not comparison.not_compared or len(lora):
        return ""
    again = "Run what is left out again to its end, with the same steps and rows."
    return f"No LoRA run can be compared. Left out: {'; '.join(comparison.not_compared)}. {again}"


def _sentences(
    table: pd.DataFrame,
    claim: Claim,
    rank_by: str,
    answer: Verdict,
    rivals: Sequence[Rival],
    constant: Rival | None,
    earlier: int,
) -> Iterator[str]:
    """Yields what was chosen and what the test rows say, what to use, the rivals, the smallest rank, and costs."""
    lora, metric = table[table["strategy"] == "peft"], METRICS[rank_by]
    best, name = lora.iloc[0], label_of(lora, lora.iloc[0])
    classic = next((one for one in rivals if one.strategy in CLASSIC), None)
    advice = NO_CONSTANT if answer.headline == NO_BETTER else reason(answer.choice, claim, classic, answer.lora)
    score, gain = best["score"], best["gain"]
    if claim.verdict == "no gain":
        over = ", on average over its seeds" if len(claim.runs) > 1 else ""
        yield f"The best LoRA ({name}) is not better than zero-shot on the validation rows{over}. {advice}"
    else:
        among = " among the LoRA runs" * any(metric.better(one.score, score) for one in rivals)
        before = "" if pd.isna(gain) else f", zero-shot has {metric.like(score - metric.sign * gain, score, gain)}"
        yield f"Validation chooses {name}{among}: its {metric.written} there is {metric.text(score, gain)}{before}."
        part, shown = "test" if claim.tested else "validation", claim.difference
        if isinstance(shown, Difference):
            yield gain_over_zero_shot(shown, metric, size=score, part=part)
            if beyond_noise(shown) == 1 and beyond_noise(dataclasses.replace(shown, choices=1 + earlier)) != 1:
                confirm = "on later rows" if claim.units == "time" else "with another seed of the test rows"
                same = f"{counted(earlier, 'earlier sweep')} had the same test rows"
                yield f"{same}: among {earlier + 1} sweeps, such a gain may be chance. Confirm it {confirm}."
        else:
            unknown = "how much of its gain on these rows is noise is not known"
            yield f"No gain over zero-shot is claimed: {too_few(shown, part) if shown else unknown}."
        yield advice
    ours = name if claim.gain > 0 else NAMES["inference"]
    if constant is not None and isinstance(constant.ahead, Difference) and constant.ahead.value >= 0:
        yield _beside(constant, metric, ours, tested=claim.tested)
    yield from (_beside(one, metric, ours, tested=claim.tested) for one in rivals)
    if claim.chooses_a_rank:
        yield from _rank(table, lora, metric)
    yield from _memory(table)


def _beside(other: Rival, metric: Metric, ours: str, *, tested: bool) -> str:
    """Compares a rival with the best LoRA, or zero-shot, on the validation and test rows."""
    over = f" (means over {other.seeds} seeds)" if other.seeds > 1 else ""
    score, own = (metric.text(score, other.score - other.ours) for score in (other.score, other.ours))
    test = versus(other.name, ours, other.ahead, metric, size=other.ours, part="test") if tested else ""
    name = f"{other.name[0].upper()}{other.name[1:]}{', without a foundation model,' * (other.strategy in CLASSIC)}"
    return f"{name} has a validation {metric.written} of {score}, {ours} has {own}{over}. {test}".rstrip()


def _rank(table: pd.DataFrame, lora: pd.DataFrame, metric: Metric) -> Iterator[str]:
    """Says which rank is the smallest within noise, and what another one costs."""
    best, smallest, label = lora.iloc[0], smallest_tied(table), partial(label_of, lora)
    if smallest is None:
        yield f"{label(best)} has the best validation {metric.written} of the LoRA runs: {metric.text(best['score'])}."
        return
    near, smaller = near_best(lora), lora[lora["rank"] < best["rank"]]
    once = at_one_rate(lora)
    own = " with their best rates" if lora["fixed_rate"].isna().all() else ""
    if near["rank"].nunique() > 1:
        ranks = [f"{rank}" for rank in sorted(near["rank"].unique())]
        named = " and ".join(ranks) if len(ranks) < 3 else f"{ranks[0]} to {ranks[-1]}"
        half = float(near[half_width("lora_gap")].max())
        [noise] = metric.same_digits([half], best["score"], half)
        other = best if smallest["rank"] < best["rank"] else near[near["rank"] == near["rank"].max()].iloc[0]
        tie = f"ranks {named} are within noise (±{noise}) on the validation rows{once}"
        yield f"Rank {smallest['rank']} is enough:{own} {tie}.{_size(smallest)}"
        yield f"{label(other)} {_price(smallest, other, metric)}."
    elif len(smaller):
        head = f"On the validation rows{own} {label(best)} is more than one standard error ahead"
        price = _price(smaller.iloc[0], best, metric)
        yield f"{head} of every smaller rank. Compared with {label(smaller.iloc[0])} it {price}."
    elif lora["rank"].max() > best["rank"]:
        largest = lora[lora["rank"] == lora["rank"].max()].iloc[0]
        head = f"Rank {best['rank']} is enough: no larger rank is better on the validation rows{once or own}"
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
        if costs_differ(name, other[name], cheap[name]) and round(abs(amount), 1) > 0:
            written = f"{abs(amount):,.{1 if abs(amount) < 100 else 0}f}"
            parts.append(words.format(written, more if amount > 0 else less))
    spent = " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)
    noise = ", which may still be noise" if abs(better_by) <= half else ""
    return f"{spent or 'costs about the same'}, for {change(better_by, half, metric, cheap['score'])}{noise}"


def _size(row: pd.Series) -> str:
    """Says how much of the weights a configuration trains, and the size of its adapter."""
    if pd.isna(row["trainable_percent"]) or pd.isna(row["adapter_bytes"]):
        return ""
    return f" It trains {row['trainable_percent']:.2g} % of the weights, {row['adapter_bytes'] / 1e3:,.0f} kB."


def _memory(table: pd.DataFrame) -> Iterator[str]:
    memory = table["growth_memory_bytes"].astype("float64") / 1e6
    growth = memory[table["strategy"] == "peft"].groupby(table["rank"]).mean().dropna()
    full = memory[table["strategy"] == "base-ft"].mean()
    if len(growth) and growth.min() > full and costs_differ("growth_memory_bytes", 1e6 * growth.min(), 1e6 * full):
        yield f"LoRA saved no memory here ({growth.min():,.1f} MB at least, full fine-tuning {full:,.1f} MB)."


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
    wide = isinstance(claim.difference, Difference) and claim.tested and claim.difference.choices > 1
    together = "Intervals here on the test rows are wider: they allow for all comparisons of the page (Holm)." * wide
    parts = (several if len(claim.runs) > 1 else alone, together, missing if errors.isna().any() else "")
    confirm = "Validation chooses; only the test rows, which were not used for any choice, can confirm an improvement."
    return f"{PLUS_MINUS}, of differences {unit} by {unit}{rows}. {' '.join(filter(None, (*parts, confirm)))}{compared}"
