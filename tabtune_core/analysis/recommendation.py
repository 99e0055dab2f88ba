"""The recommendation in words: whether LoRA gained anything, the smallest rank as good, what a larger one costs.

In: the leaderboard of one sweep. Out: plain sentences, and the comparison of configurations behind them. Validation
chooses; "better" and "worse" mean beyond a 95 % interval on the test rows.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import pandas as pd

from tabtune_core.analysis.against_references import CLASSIC, NAMES, Rival, against_guessing, rival
from tabtune_core.analysis.claims import MOST_SEEDS, Claim, claim, earlier_sweeps, on_one_page
from tabtune_core.analysis.comparison import (
    WRITTEN,
    Comparison,
    Load,
    compare,
    differing_settings,
    half_widths,
    replicates,
    with_half_widths,
)
from tabtune_core.analysis.gains import (
    UNIT,
    between,
    beyond_noise,
    change,
    gain_over_zero_shot,
    too_few,
    versus,
)
from tabtune_core.analysis.intervals import PLUS_MINUS, half_width
from tabtune_core.analysis.jackknife import Difference, difference
from tabtune_core.analysis.pareto import costs_differ
from tabtune_core.analysis.races import race_notes
from tabtune_core.analysis.runs_table import leaderboard, of_task
from tabtune_core.analysis.verdict import (
    NO_BETTER,
    SECOND,
    Verdict,
    constant_score,
    decide,
    headline,
    mean_scores,
    reason,
)
from tabtune_core.data.datasets import load_frame
from tabtune_core.data.splits import SplitName
from tabtune_core.data.target_checks import far_values
from tabtune_core.errors import TabTuneError
from tabtune_core.events import RunPlanned
from tabtune_core.metrics import METRICS, Metric
from tabtune_core.settings import TRAINED
from tabtune_core.store.predictions import read_predictions
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore
from tabtune_core.training.clock import DISTURBED
from tabtune_core.wording import counted

MEMORY_LEVER = 0.1
"""If memory varies by less than this share over the ranks, the rank is said to hardly change it."""
COSTS = {
    "growth_memory_bytes": ("used {} MB {} memory", ("more", "less"), 1e6),
    "train_seconds": ("trained {} s {}", ("longer", "less"), 1.0),
    "adapter_bytes": ("has an adapter that is {} kB {}", ("larger", "smaller"), 1e3),
}
"""By cost: the template of a difference, the words for more and for less, and the divisor to the unit."""
NO_CONSTANT = (
    "No run beats a constant on the validation rows: the mean or the majority class of the training rows is as good."
)
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
    verdict: Verdict | None = None
    """The answer in few words, with the numbers under it."""
    far_values: str = ""
    """Target values far from the others, where no run beats a constant; holds cells of the table."""


def recommend(store: RunStore, board: pd.DataFrame, rank_by: str, earlier: int = 0) -> Recommendation:
    """Writes the recommendation of ``board``, the leaderboard of one sweep of ``store``, ranked by ``rank_by``.

    ``earlier`` is the number of its ``earlier_sweeps``.
    """
    load = partial(read_predictions, store)
    board = _undisturbed(store, board)
    comparison = compare(board, rank_by, load)
    tied = (comparison.configurations["lora_gap"] <= comparison.configurations["lora_gap_error"]).astype("boolean")
    known = comparison.configurations["lora_gap_error"].notna() & (comparison.configurations["strategy"] == "peft")
    table = comparison.configurations.assign(tied=tied.where(known))
    lora = table[table["strategy"] == "peft"]
    if len(table) < 2 or lora.empty:
        why = " ".join(filter(None, (_why_nothing(comparison, lora), *race_notes(board))))
        return Recommendation((), why, table)
    runs = [run for own in lora["runs"] for run in own]
    plan = store.last_event(runs[0], RunPlanned)
    evaluations = len(store.fields(runs, "Evaluated")) if plan and not plan.test_rows else 0
    own_claim = claim(comparison, board, rank_by, load, evaluations=evaluations)
    others = list(_rivals(board, rank_by, load, lora.iloc[0]["own_runs"], trained=own_claim.gain > 0))
    measured, *ahead = on_one_page([own_claim.difference, *(other.ahead for other in others)])
    own_claim = dataclasses.replace(own_claim, difference=measured)
    others = [dataclasses.replace(other, ahead=one) for other, one in zip(others, ahead, strict=True)]
    answer = _verdict(table, board, own_claim, others, rank_by, load)
    far = ""
    if answer.headline == NO_BETTER and METRICS[rank_by].task == "regression":
        far = _far_values(store, board)
    sentences = list(_sentences(table, own_claim, rank_by, load, answer, others, earlier))
    sentences += race_notes(board)
    if comparison.apart:
        sentences.append(f"Left out of the comparison: {'; '.join(comparison.apart)}.")
    return Recommendation(tuple(sentences), _basis(comparison, own_claim, plan), table, own_claim, answer, far)


def _undisturbed(store: RunStore, board: pd.DataFrame) -> pd.DataFrame:
    """Empties the seconds of runs that other programs disturbed: no sentence is made from them."""
    notes = store.fields(list(board["run"]), "Note")
    disturbed = {note["run"] for note in notes if note["text"].startswith(DISTURBED)}
    return board.assign(train_seconds=board["train_seconds"].mask(board["run"].isin(disturbed)))


def _far_values(store: RunStore, board: pd.DataFrame) -> str:
    """Names target values that are far from the others; empty without them, or without the table."""
    dataset, target = board[["dataset", "target"]].iloc[0]
    with suppress(TabTuneError):
        numbers = pd.to_numeric(load_frame(store.home, dataset)[target], errors="coerce").dropna()
        return " ".join(finding.message for finding in far_values(numbers.to_numpy(dtype="float64"), target))
    return ""


def _verdict(
    table: pd.DataFrame, board: pd.DataFrame, claim: Claim, rivals: Sequence[Rival], rank_by: str, load: Load
) -> Verdict:
    """Returns the answer with the numbers of the best LoRA, or of the smallest rank as good if it gains as surely."""
    metric, lora = METRICS[rank_by], table[table["strategy"] == "peft"]
    classic = _classic(rivals)
    full = next((one for one in rivals if one.strategy == "base-ft"), None)
    choice, named, gain = decide(claim, classic, full, metric), lora.iloc[0], claim.difference
    if choice == "peft" and lora["lora_gap_error"].notna().all():
        smaller = smallest_within(lora)
        own_runs = list(smaller["own_runs"])
        seeds = list(board.set_index("run").loc[own_runs, "seed"])
        each = replicates(own_runs, seeds, metric, load, "test") if smaller.name != named.name else []
        own = difference([final for final, _ in each], [before for _, before in each]) if each else None
        if isinstance(own, Difference) and isinstance(gain, Difference):
            own = dataclasses.replace(own, choices=gain.choices)
            named, gain = (smaller, own) if beyond_noise(own) == 1 else (named, gain)
    part: SplitName = "test" if claim.tested else "validation"
    runs = tuple(named["own_runs"])
    before, after = mean_scores(rank_by, load, runs, part)
    second = SECOND[metric.task]
    second_before, second_after = mean_scores(second, load, runs, part)
    constant = constant_score(metric, load, claim.runs)
    scores = [*table["score"], *(one.score for one in rivals)]
    beaten = (
        math.isfinite(constant) and metric.name != "ece" and not any(metric.better(one, constant) for one in scores)
    )
    name = label_of(lora, named)
    return Verdict(
        headline=NO_BETTER if beaten else headline(choice, name),
        choice=None if beaten else choice,
        lora=name,
        run=runs[0],
        gain=(gain.low, gain.high) if isinstance(gain, Difference) else None,
        part=part,
        metric=rank_by,
        before=before,
        after=after,
        second=second,
        second_before=second_before,
        second_after=second_after,
        memory_bytes=float(named["growth_memory_bytes"]),
        train_seconds=float(named["train_seconds"]),
        adapter_bytes=float(named["adapter_bytes"]),
        classic=classic.strategy if classic else None,
        classic_validation=classic.score if classic else math.nan,
        ours_validation=classic.ours if classic else math.nan,
    )


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
    return _near(lora).sort_values(["rank", "lora_gap"], kind="stable").iloc[0]


def _near(lora: pd.DataFrame) -> pd.DataFrame:
    near = lora[lora["lora_gap"] <= lora["lora_gap_error"]]
    return near if len(near) else lora.iloc[:1]


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
    table: pd.DataFrame, claim: Claim, rank_by: str, load: Load, answer: Verdict, rivals: Sequence[Rival], earlier: int
) -> Iterator[str]:
    """Yields what was chosen and what the test rows say, what to use, the rivals, the smallest rank, and costs."""
    lora, metric = table[table["strategy"] == "peft"], METRICS[rank_by]
    label = partial(label_of, lora)
    best = lora.iloc[0]
    advice = (
        NO_CONSTANT if answer.headline == NO_BETTER else reason(answer.choice, claim, _classic(rivals), answer.lora)
    )
    first = max(rivals, key=lambda one: metric.sign * one.score, default=None)
    ahead = first is not None and bool(metric.better(first.score, best["score"]))
    yield from _headline(claim, best, metric, label(best) + " among the LoRA runs" * ahead, advice)
    yield from _one_of_several(claim, earlier)
    yield from _no_better_than_guessing(claim, metric, load, label(best), float(best["score"]))
    ours = label(best) if claim.gain > 0 else NAMES["inference"]
    yield from (_beside(one, metric, ours, tested=claim.tested) for one in rivals)
    if claim.chooses_a_rank:
        yield from _rank(lora, metric, label)
    yield from _memory(table)


def _classic(rivals: Sequence[Rival]) -> Rival | None:
    return next((one for one in rivals if one.strategy in CLASSIC), None)


def _rivals(
    board: pd.DataFrame, rank_by: str, load: Load, own_runs: Sequence[str], *, trained: bool
) -> Iterator[Rival]:
    """Yields the reference with the best validation score, and full fine-tuning."""
    sign = METRICS[rank_by].sign
    made = [rival(board, rank_by, load, one, own_runs, trained=trained) for one in (*CLASSIC, "base-ft")]
    known = sorted(filter(None, made), key=lambda one: -sign * one.score)
    for group in (CLASSIC, TRAINED):
        yield from [one for one in known if one.strategy in group][:1]


def _beside(other: Rival, metric: Metric, ours: str, *, tested: bool) -> str:
    """Compares a rival with the best LoRA, or zero-shot, on the validation and test rows."""
    over = f" (means over {other.seeds} seeds)" if other.seeds > 1 else ""
    score, own = (metric.text(score, other.score - other.ours) for score in (other.score, other.ours))
    test = versus(other.name, ours, other.ahead, metric, size=other.ours, part="test") if tested else ""
    name = f"{other.name[0].upper()}{other.name[1:]}{', without a foundation model,' * (other.strategy in CLASSIC)}"
    return f"{name} has a validation {metric.written} of {score}, {ours} has {own}{over}. {test}".rstrip()


def _no_better_than_guessing(claim: Claim, metric: Metric, load: Load, lora: str, size: float) -> Iterator[str]:
    """Warns if the model to use (LoRA if it gained, else zero-shot) is not ahead of a constant guess."""
    if metric.name == "ece":  # guessing the shares of the classes is perfectly calibrated
        return
    trained = claim.verdict == "better"
    ahead, part = against_guessing(metric, load, claim.runs, trained=trained)
    if isinstance(ahead, Difference) and ahead.value <= 0:
        how = "the shares of the classes in its training rows"
        if metric.task == "regression":
            how = "the mean of its training rows"
        shown = between(ahead.low, ahead.high, metric, size)
        name = lora if trained else "zero-shot"
        yield f"On the {part} rows {name} is not shown to be better than always answering with {how}: {shown}."


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
    else:
        yield gain_over_zero_shot(claim.difference, metric, size=score, part=part)
    yield advice
    if claim.verdict == "unclear" and claim.tested and isinstance(claim.difference, Difference):
        yield from [_what_settles(claim)] * (claim.difference.value > 0)


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
    near, smallest = _near(lora), smallest_within(lora)
    largest, smaller = lora[lora["rank"] == lora["rank"].max()].iloc[0], lora[lora["rank"] < best["rank"]]
    once = " at one rate" if lora["fixed_rate"].nunique() == 1 else ""
    own = " with their best rates" if lora["fixed_rate"].isna().all() else ""
    if near["rank"].nunique() > 1:
        ranks = [f"{rank}" for rank in sorted(near["rank"].unique())]
        named = f"{', '.join(ranks[:-1])} and {ranks[-1]}" if len(ranks) < 3 else f"{ranks[0]} to {ranks[-1]}"
        half = float(near[half_width("lora_gap")].max())
        [noise] = metric.alike([half], best["score"], half)
        other = best if smallest["rank"] < best["rank"] else near[near["rank"] == near["rank"].max()].iloc[0]
        tie = f"ranks {named} are within noise (±{noise}) on the validation rows{once}"
        yield f"Rank {smallest['rank']} is enough:{own} {tie}.{_size(smallest)}"
        yield f"{label(other)} {_price(smallest, other, metric)}."
    elif len(smaller):
        head = f"On the validation rows{once or own} {label(best)} is more than one standard error ahead"
        price = _price(smaller.iloc[0], best, metric)
        yield f"{head} of every smaller rank. Compared with {label(smaller.iloc[0])} it {price}."
    elif largest["rank"] > best["rank"]:
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
    memory = table["growth_memory_bytes"].astype("float64")
    growth = memory[table["strategy"] == "peft"].groupby(table["rank"]).mean().dropna()
    full = memory[table["strategy"] == "base-ft"].mean()
    if len(growth) > 1 and growth.max() - growth.min() < MEMORY_LEVER * growth.max():
        yield f"Memory hardly depends on rank here ({growth.min() / 1e6:,.1f} to {growth.max() / 1e6:,.1f} MB)."
    if len(growth) and growth.min() > full and costs_differ("growth_memory_bytes", growth.min(), full):
        span = f"{growth.min() / 1e6:,.1f} MB at least, full fine-tuning {full / 1e6:,.1f} MB"
        yield f"LoRA saved no memory here ({span})."


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
    several_claims = isinstance(claim.difference, Difference) and claim.tested and claim.difference.choices > 1
    together = "The intervals on the test rows allow for all comparisons of this page (Holm)." * several_claims
    parts = (several if len(claim.runs) > 1 else alone, together, missing if errors.isna().any() else "")
    confirm = "Validation chooses; only the test rows, which were not used for any choice, can confirm an improvement."
    return f"{PLUS_MINUS}, of differences {unit} by {unit}{rows}. {' '.join(filter(None, (*parts, confirm)))}{compared}"
