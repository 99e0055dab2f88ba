"""Simulated sweeps: predictions of runs whose training only changes predictions at random, or really helps.

Letters: T table rows, E evaluations, R ranks, N held-out rows.
"""

import dataclasses

import numpy as np

from tabtune_core.events import RunFinished
from tabtune_core.metrics import METRICS, ROW_MEANS
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.store.predictions import Predictions
from tabtune_core.store.run_row import Run

TABLE, HELD_OUT, EVALUATIONS, RANKS = 600, 120, 10, (2, 4, 8)
BASE = RunFinished("finished", 1, 9, False, {}, {}, {}, {}, 1.0, 0.1, 1, 1, "resident", 4, 100, 9)


def probabilities(logit_N):
    p_N = 1 / (1 + np.exp(-logit_N))
    return np.column_stack([1 - p_N, p_N])


def sweep(rng, *, metric, name="s", seeds=1, effect=0.0, ranks=RANKS, luck=0.0, noise=0.8):
    """The runs of a board, and ``load``; training chooses its best evaluation on the validation rows, zero-shot
    included.

    The truth is a logit per row. Zero-shot and every trained state have errors of the same size, so neither is better.
    Errors of ranks, of later evaluations and of seeds are correlated. ``effect`` is the share by which training reduces
    its error, ``luck`` its standard deviation between seeds, and ``noise`` the size of the errors in logits.
    """
    truth_T = rng.normal(scale=1.2, size=TABLE)
    y_T = (rng.random(TABLE) < probabilities(truth_T)[:, 1]).astype(int)
    zero_row_T, common_T = rng.normal(size=TABLE), rng.normal(size=TABLE)
    runs, held, test_rows = [], {}, np.arange(HELD_OUT)
    for seed in range(seeds):
        rows = HELD_OUT + rng.permutation(TABLE - HELD_OUT)[:HELD_OUT]
        parts = {"validation": np.sort(rows), "test": test_rows}
        zero_T = np.sqrt(0.8) * zero_row_T + np.sqrt(0.2) * rng.normal(size=TABLE)
        walk_ET = (
            np.cumsum(rng.normal(size=(EVALUATIONS, TABLE)), axis=0) / np.sqrt(np.arange(1, EVALUATIONS + 1))[:, None]
        )
        helped = effect + luck * rng.normal()
        for rank in (0, *ranks):
            own_ET = (
                np.cumsum(rng.normal(size=(EVALUATIONS, TABLE)), axis=0)
                / np.sqrt(np.arange(1, EVALUATIONS + 1))[:, None]
            )
            moved_ET = np.sqrt(0.4) * common_T + np.sqrt(0.4) * walk_ET + np.sqrt(0.2) * own_ET
            error_ET = 0.8 * zero_T + 0.6 * moved_ET
            states = [zero_T, *((1 - helped) * error_ET)] if rank else [zero_T]
            logits = [truth_T + noise * state for state in states]
            sign = 1 if METRICS[metric].higher_is_better else -1

            def of(logit_T, part, parts=parts):
                return probabilities(logit_T[parts[part]])

            def function(y_N, p_NK):
                of_row, of_mean = ROW_MEANS[metric]
                return float(of_mean(of_row(y_N, p_NK).mean()))

            scores = [sign * function(y_T[parts["validation"]], of(logit_T, "validation")) for logit_T in logits]
            best = int(np.argmax(scores))
            run_id = f"{name}-{rank}-{seed}"
            for part, numbers in parts.items():
                held[run_id, part] = Predictions(
                    numbers, y_T[numbers], of(logits[best], part), ("no", "yes"), of(logits[0], part)
                )
            told = {part: {metric: function(held[run_id, part].y_N, held[run_id, part].predicted)} for part in parts}
            before = {part: {metric: function(held[run_id, part].y_N, held[run_id, part].zero_shot)} for part in parts}
            result = dataclasses.replace(
                BASE,
                best_step=best,
                validation=told["validation"],
                test=told["test"],
                zero_shot_validation=before["validation"],
                zero_shot_test=before["test"],
                rows_sha256=str(seed),
            )
            what = {"lora": LoraSettings(rank=rank)} if rank else {"strategy": "inference"}
            settings = RunSettings(dataset="d", target="y", seed=seed, **what)
            runs.append(
                Run(
                    run_id,
                    name,
                    run_id,
                    "finished",
                    settings,
                    0.0,
                    0.0,
                    1.0,
                    None,
                    None,
                    None,
                    None,
                    None,
                    result,
                    None,
                )
            )
    return runs, lambda run, part: held[run, part]
