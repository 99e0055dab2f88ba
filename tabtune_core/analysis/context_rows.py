"""The curve over context rows: whether more of them, training or both improve the score, and which runs it compares.

In: the rows that the job ``context_curve`` returned, or runs. Out: frames, sentences, runs. Loads no torch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabtune_core.analysis.gains import effect
from tabtune_core.analysis.intervals import half_width
from tabtune_core.analysis.jackknife import Difference, difference
from tabtune_core.analysis.row_groups import RowGroups
from tabtune_core.data.splits import SplitName
from tabtune_core.metrics import METRICS, metrics_of
from tabtune_core.settings import MODELS, STRATEGY_NAMES, TRAINED, RunSettings
from tabtune_core.store.predictions import Predictions
from tabtune_core.store.run_folder import WEIGHTS_FILE
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore

_OF_A_STRATEGY = ("strategy", "lora", "train", "device")
"""Settings that determine neither the rows nor the model of a run."""
LEAST, FEW = 64, 256
"""The smallest number of context rows of the curve, and the number that its sentence starts from."""


def sizes_up_to(most: int, *, classes: int = 0) -> list[int]:
    """Returns 64, 128, ... below ``most``, and ``most``, without sizes that are smaller than the number of classes.

    >>> sizes_up_to(500), sizes_up_to(50), sizes_up_to(300, classes=100)
    ([64, 128, 256, 500], [50], [128, 256, 300])
    """
    powers = [LEAST * 2**i for i in range(most.bit_length())]
    return [*(rows for rows in powers if classes <= rows < most), most]


def same_split(runs: Sequence[RunSettings]) -> bool:
    """Whether runs share table, target, model, seed and held-out rows, so that their scores can be compared."""
    return len({_split(run) for run in runs}) == 1


def _split(run: RunSettings) -> tuple[Any, ...]:
    own = tuple(getattr(run, field.name) for field in fields(run) if field.name not in _OF_A_STRATEGY)
    return (*own, run.train.validation_rows, run.train.test_rows, run.train.views)


def runs_of_curve(store: RunStore, runs: Sequence[Run], metric: str, seed: int | None = None) -> list[Run]:
    """Returns the runs of a sweep that a curve compares: the best full fine-tuning and LoRA, else zero-shot.

    They have one seed (by default the smallest) and the split of its best LoRA.
    """
    known = [run for run in runs if run.status == "finished" and not run.archived and _is_kept(store, run)]
    seed = min((run.settings.seed for run in known), default=None) if seed is None else seed
    ranked = sorted((run for run in known if run.settings.seed == seed), key=lambda run: _cost(run, metric))
    by_strategy = {strategy: [run for run in ranked if run.settings.strategy == strategy] for strategy in MODELS}
    first = next((by_strategy[name][0] for name in ("peft", "base-ft", "inference") if by_strategy[name]), None)
    if first is None:
        return []
    alike = [[run for run in by_strategy[name] if same_split([run.settings, first.settings])] for name in TRAINED]
    return [run for own in alike for run in own[:1]] or [first]


def _is_kept(store: RunStore, run: Run) -> bool:
    """Whether the state that a run returned can be loaded again."""
    trained = run.result is not None and run.result.best_step > 0
    return run.settings.strategy != "base-ft" or not trained or (store.home / "runs" / run.id / WEIGHTS_FILE).is_file()


def _cost(run: Run, metric: str) -> float:
    """A sort key: smaller means a better validation score."""
    value = -METRICS[metric].sign * (run.result.validation.get(metric, np.nan) if run.result else np.nan)
    return value if np.isfinite(value) else np.inf


Predicted = Mapping[SplitName, NDArray[np.float64]]


def score_curve(
    predicted: Sequence[Sequence[Predicted]],
    sizes: Sequence[int],
    held_out: Mapping[SplitName, Predictions],
    decides: str,
) -> list[dict[int, dict[str, dict[str, dict[str, float]]]]]:
    """Scores each state at each number of context rows, with intervals for the held-out and the context rows.

    If a trained state does not beat zero-shot on the validation rows, zero-shot takes its place, as in a run.

    Args:
        predicted: predictions of each part, by state (zero-shot first) and by set of context rows.
        sizes: the size of each set; several sets may have the same size.
        held_out: the rows of each part; the predictions in it are not used.
        decides: the metric that chooses between a trained state and zero-shot.

    Returns:
        For each state, by number of context rows, part and metric: ``score``, the mean over the sets; ``gain`` over
        zero-shot with as many context rows; ``more`` over zero-shot with ``few_of(sizes)``; each with its ± in
        ``<name>_half_width``; and ``first``, the score with the first set.
    """
    rows, chosen_by = held_out["validation"], METRICS[decides]
    by_choice = [
        [chosen_by.score(rows.y_N, one["validation"], rarer=rows.rarer) for one in state] for state in predicted
    ]
    used = [
        [
            one if chosen_by.better(score, base) else zero
            for one, score, zero, base in zip(state, scores, predicted[0], by_choice[0], strict=True)
        ]
        for state, scores in zip(predicted, by_choice, strict=True)
    ]
    curve: list[dict[int, dict[str, dict[str, dict[str, float]]]]] = [{size: {} for size in sizes} for _ in used]
    for part, rows in held_out.items():
        for name in metrics_of("classification" if used[0][0][part].ndim == 2 else "regression"):
            metric = METRICS[name]
            groups = RowGroups([rows], metric)
            made = [[groups.leave_out(rows, one[part]) for one in state] for state in used]
            by_size = [
                {size: [one for one, of in zip(state, sizes, strict=True) if of == size] for size in sizes}
                for state in made
            ]
            few = by_size[0][few_of(sizes)]
            for state, of_state in zip(curve, by_size, strict=True):
                for size, drawn in of_state.items():
                    pairs = max(len(drawn), len(few))
                    differences = {
                        "score": difference(drawn, [one.of_nothing() for one in drawn]),
                        "gain": difference(drawn, by_size[0][size]),
                        "more": difference((drawn * pairs)[:pairs], (few * pairs)[:pairs]),
                    }
                    scores = state[size].setdefault(part, {})[name] = {"first": drawn[0].score}
                    for what, one in differences.items():
                        value = (one.value, one.half) if isinstance(one, Difference) else (math.nan, math.nan)
                        scores |= dict(zip((what, half_width(what)), value, strict=True))
                    scores["score"] = float(np.mean([one.score for one in drawn]))
    return curve


def few_of(sizes: Iterable[int]) -> int:
    """Returns the number that more context rows are compared with: 256, or the smallest if none is larger."""
    known = set(sizes)
    return FEW if FEW in known and max(known) > FEW else min(known)


def curve_frame(result: dict[str, Any]) -> pd.DataFrame:
    """One row per state and number of rows: name, strategy, rank, run, context_rows, seconds, bytes,
    ``<part>_<metric>`` and the other results of ``score_curve`` as ``<part>_<metric>_<what>``.
    """
    rows = []
    for point in result["rows"]:
        plain = {name: value for name, value in point.items() if name not in ("validation", "test")}
        rank = "" if point["rank"] is None else f" r={point['rank']}"
        scores = {
            f"{part}_{name}" + ("" if what == "score" else f"_{what.removeprefix('score_')}"): value
            for part in ("validation", "test")
            for name, of_metric in point.get(part, {}).items()
            for what, value in of_metric.items()
        }
        rows.append({"name": STRATEGY_NAMES[point["strategy"]] + rank, **plain, **scores})
    return pd.DataFrame(rows).astype({"rank": "Int64", "growth_memory_bytes": "float64"})


def part_of(frame: pd.DataFrame, metric: str) -> str:
    """Returns the part to report: test if there are test rows, which were not used for any choice, else validation."""
    return "test" if f"test_{metric}" in frame and frame[f"test_{metric}"].notna().any() else "validation"


def in_words(frame: pd.DataFrame, metric: str) -> str:
    """Says what more context rows change, what training changes with all of them, and what both change.

    ``frame`` comes from ``curve_frame``. Training is LoRA, or full fine-tuning if there is no LoRA.
    """
    meaning, part = METRICS[metric], part_of(frame, metric)
    by_state = {strategy: rows.set_index("context_rows") for strategy, rows in frame.groupby("strategy")}
    base = by_state["inference"]
    few, many = few_of(base.index), base.index.max()

    def of(what: str, strategy: str, against: str) -> str:
        point, name = by_state[strategy].loc[many], f"{part}_{metric}"
        gain, half = point[f"{name}_{against}"], point[half_width(f"{name}_{against}")]
        return effect(what, gain, half, meaning, size=point[name], part=part)

    start = f"All {many:,} training rows are context rows."
    if few < many:
        start = of(f"Using {many:,} context rows instead of {few:,}", "inference", "more")
    trained = next((strategy for strategy in ("peft", "base-ft") if strategy in by_state), None)
    if trained is None:
        return f"{start} There is no trained run of this seed to compare with."
    full = trained == "base-ft"
    name = "Full fine-tuning" if full else f"Rank {frame.loc[frame['strategy'] == 'peft', 'rank'].iloc[0]}"
    own = of(f"{name} with {many:,} context rows", trained, "gain")
    both = of("Adding both", trained, "more")
    return f"{start} {own}" + (f" {both}" if few < many else "")
