"""Simulated sweeps: predictions of runs whose training only changes predictions at random, or really helps.

``python tests/null_sweeps.py 400`` prints how many of 400 pages without an effect hold any false "better". Letters:
T table rows, E evaluations, R ranks, N held-out rows.
"""

import dataclasses
import sys

import numpy as np
from random_sweeps import BASE

from tabtune_core.analysis.against_references import rival
from tabtune_core.analysis.claims import claim, on_one_page
from tabtune_core.analysis.comparison import compare
from tabtune_core.analysis.ensemble import ensemble_of
from tabtune_core.analysis.gains import beyond_noise
from tabtune_core.analysis.runs_table import leaderboard
from tabtune_core.metrics import METRICS, ROW_MEANS
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.settings.sweep import RUNGS, going_on
from tabtune_core.store.predictions import Predictions
from tabtune_core.store.run_row import Run

TABLE, HELD_OUT, EVALUATIONS, RANKS = 600, 120, 10, (2, 4, 8)


def probabilities(logit_N):
    p_N = 1 / (1 + np.exp(-logit_N))
    return np.column_stack([1 - p_N, p_N])


def walk(rng):
    """A random walk of every row over the evaluations, with a variance of 1."""
    steps_ET = rng.normal(size=(EVALUATIONS, TABLE))
    return np.cumsum(steps_ET, axis=0) / np.sqrt(np.arange(1, EVALUATIONS + 1))[:, None]


def score(metric, rows, p_NK):
    of_row, of_mean = ROW_MEANS[metric]
    return {metric: float(of_mean(of_row(rows.y_N, p_NK).mean()))}


def winner(metric, states_RST, rows_N, y_T, truth_T, noise):
    """Of one rank's states at each of R rates, those of the rate that halving trains to the end."""

    def best(states_ST, last):
        held = Predictions(rows_N, y_T[rows_N], np.empty(0), ("no", "yes"), np.empty(0))
        each = [probabilities(truth_T[rows_N] + noise * state_T[rows_N]) for state_T in states_ST[:last]]
        return max(METRICS[metric].sign * score(metric, held, p_NK)[metric] for p_NK in each)

    left = list(states_RST)
    for rung, share in enumerate(RUNGS):
        left.sort(key=lambda states_ST: -best(states_ST, 1 + int(share * EVALUATIONS)))
        left = left[: going_on(len(states_RST), rung)]
    return left[0]


def sweep(rng, *, metric, name="s", seeds=1, effect=0.0, ranks=RANKS, luck=0.0, noise=0.8, rates=1):
    """The runs of a board, and ``load``; training chooses its best evaluation on the validation rows, zero-shot
    included.

    The truth is a logit per row. Zero-shot and every trained state have errors of the same size, so neither is better.
    Errors of ranks, of later evaluations and of seeds are correlated. ``effect`` is the share by which training reduces
    its error, ``luck`` its standard deviation between seeds, and ``noise`` the size of the errors in logits. Each rank
    races so many ``rates``; halving ends all but one.
    """
    truth_T = rng.normal(scale=1.2, size=TABLE)
    y_T = (rng.random(TABLE) < probabilities(truth_T)[:, 1]).astype(int)
    zero_row_T, common_T = rng.normal(size=TABLE), rng.normal(size=TABLE)
    runs, held = [], {}
    for seed in range(seeds):
        rows = HELD_OUT + rng.permutation(TABLE - HELD_OUT)[:HELD_OUT]
        parts = {"validation": np.sort(rows), "test": np.arange(HELD_OUT)}
        zero_T = np.sqrt(0.8) * zero_row_T + np.sqrt(0.2) * rng.normal(size=TABLE)
        walk_ET = walk(rng)
        helped = effect + luck * rng.normal()
        for rank in (0, *ranks):
            states_RST = []
            for _ in range(rates if rank else 1):
                moved_ET = np.sqrt(0.4) * common_T + np.sqrt(0.4) * walk_ET + np.sqrt(0.2) * walk(rng)
                states_RST.append([zero_T, *((1 - helped) * (0.8 * zero_T + 0.6 * moved_ET))] if rank else [zero_T])
            states = (
                winner(metric, states_RST, parts["validation"], y_T, truth_T, noise) if rates > 1 else states_RST[0]
            )
            p_STK = [probabilities(truth_T + noise * state) for state in states]
            after, before = {}, {}
            for part, rows_N in parts.items():
                each = [
                    Predictions(rows_N, y_T[rows_N], p_TK[rows_N], ("no", "yes"), p_STK[0][rows_N]) for p_TK in p_STK
                ]
                if part == "validation":
                    scores = [score(metric, rows, rows.predicted)[metric] for rows in each]
                    best = int(np.argmax(scores if METRICS[metric].higher_is_better else np.negative(scores)))
                rows = held[f"{name}-{rank}-{seed}", part] = each[best]
                after[part], before[part] = (score(metric, rows, p_NK) for p_NK in (rows.predicted, rows.zero_shot))
            scores = {**after, **{f"zero_shot_{part}": of_part for part, of_part in before.items()}}
            result = dataclasses.replace(BASE, best_step=best, rows_sha256=str(seed), **scores)
            what = {"lora": LoraSettings(rank=rank)} if rank else {"strategy": "inference"}
            settings, run_id = RunSettings(dataset="d", target="y", seed=seed, **what), f"{name}-{rank}-{seed}"
            times = (0.0, 0.0, 1.0, *[None] * 5)
            runs.append(Run(run_id, name, run_id, "finished", settings, *times, result, None))
    return runs, lambda run, part: held[run, part]


RIVALS = {101: "base-ft", 102: "linear", 103: "boosting"}


def false_page(rng, metric, seeds=1, rates=1, tries=RANKS):
    """Whether a page claims anything better where all are equal, without and with what ``on_one_page`` adds.

    ``tries`` are ranks, or numbers of the tries of a search that all reach their end: the most to choose from.
    """
    runs, load = sweep(rng, metric=metric, seeds=seeds, ranks=(*tries, *RIVALS), rates=rates)
    for place, run in enumerate(runs):
        if strategy := RIVALS.get(run.settings.lora.rank):
            settings = RunSettings(dataset="d", target="y", seed=run.settings.seed, strategy=strategy)
            runs[place] = dataclasses.replace(run, settings=settings)
    board = leaderboard(runs, metric)
    told = claim(compare(board, metric, load), board, metric, load)
    others = [rival(board, metric, load, name, told.runs, trained=told.gain > 0) for name in RIVALS.values()]
    classic = max(others[1:], key=lambda one: METRICS[metric].sign * one.score)
    mixed = ensemble_of(board, told.runs, metric, load)
    alone = [told.difference, others[0].ahead, classic.ahead, mixed.added]
    return [any(beyond_noise(one) for one in page) for page in (alone, on_one_page(alone))]


if __name__ == "__main__":
    search = {number: range(1, number + 1) for number in (8, 16)}
    for metric, seeds, rates, tries in (
        ("log_loss", 1, 1, RANKS),
        ("accuracy", 1, 1, RANKS),
        ("log_loss", 3, 1, RANKS),
        ("log_loss", 1, 3, RANKS),
        ("accuracy", 1, 3, RANKS),
        ("log_loss", 1, 1, search[8]),
        ("accuracy", 1, 1, search[8]),
        ("log_loss", 1, 1, search[16]),
        ("accuracy", 1, 1, search[16]),
    ):
        draws = [np.random.default_rng(k) for k in range(int(sys.argv[1]))]
        alone, together = np.mean([false_page(rng, metric, seeds, rates, tries) for rng in draws], axis=0)
        pages = f"{metric}, {seeds} seeds, {len(tries)} ranks or tries, {rates} rates each"
        print(f"{pages}: {alone:.1%} of pages with single intervals, {together:.1%} with Holm's")
