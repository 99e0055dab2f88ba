"""Sweeps of runs with given scores and predictions, to test the claims about them."""

import dataclasses

import numpy as np
import pandas as pd

from tabtune_core.analysis.recommendation import recommend
from tabtune_core.analysis.runs_table import leaderboard
from tabtune_core.events import RunFinished, RunPlanned
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.store.run_folder import PREDICTIONS_FILE
from tabtune_core.store.runs import RunStore

MEGABYTES = {2: 100.0, 4: 101.0, 32: 104.0}


class Lab:
    """A sweep of runs with given scores."""

    def __init__(self, home):
        self.store = RunStore(home)

    def add(self, *runs, status="finished", stopped=(), **how):
        """Adds and ends ``runs``: (rank, strategy or settings; a score per seed; optionally the right of 20 pairs).

        Given right pairs, predictions are written. Runs with a rank in ``stopped`` end as stopped.
        """
        settings = [
            (self.settings(what, s), score, *right) for what, scores, *right in runs for s, score in enumerate(scores)
        ]
        self.sweep, ids = self.store.add_sweep([one for one, *_ in settings])
        for run_id, (one, score, *right) in zip(ids, settings, strict=True):
            ended = "stopped" if one.strategy == "peft" and one.lora.rank in stopped else status
            self.end(run_id, one, score, right, status=ended, **how)
        return self

    def end(self, run_id, one, score, right=(), *, metric="accuracy", zero_shot=0.5, status="finished", **changes):
        """Ends a queued run, with test scores by ``right``, or else equal to the validation scores."""
        counts = (1, 120, 40, 40, 120, 15, 2, ("no", "yes"), 100, 4)
        self.store.append(run_id, RunPlanned("cpu", *counts, (), {}))
        if right:
            self.predict(run_id, *right)
        result = self.result(one, {metric: score}, {metric: zero_shot})
        if right and metric == "accuracy":
            on_test, before = ({metric: len(list(rows)) / 20} for rows in (*right, range(10))[:2])
            result = dataclasses.replace(result, test=on_test, zero_shot_test=before)
        changes |= {"best_step": 0} if one.strategy == "inference" else {}
        self.store.finish(run_id, status, result=dataclasses.replace(result, **changes))

    def settings(self, what, seed):
        if isinstance(what, LoraSettings):
            return RunSettings(dataset="d", target="y", lora=what, seed=seed)
        if isinstance(what, RunSettings):
            return dataclasses.replace(what, seed=seed)
        if isinstance(what, int):
            return self.settings(LoraSettings(rank=what), seed)
        return RunSettings(dataset="d", target="y", strategy=what, seed=seed)

    def race(self, *runs, metric="accuracy"):
        """Adds a race for each rank and seed: (rank, rate, one score, status; optionally the right pairs) per seed."""
        each = [
            (dataclasses.replace(self.settings(rank, seed), train=TrainSettings(learning_rate=rate)), *of)
            for rank, rate, *of_seeds in runs
            for seed, of in enumerate(of_seeds)
        ]
        self.sweep, ids = self.store.add_sweep([one for one, *_ in each], halving=True)
        for run_id, (one, score, status, *right) in zip(ids, each, strict=True):
            if status == "outrun":
                self.store.claim(1, None, run_id)
                self.store.wait(run_id)
                self.store.advance([], [run_id])
            else:
                self.end(run_id, one, score, right, metric=metric, status=status)
        return self

    def result(self, settings, scores, zero_shot):
        rank = settings.lora.rank
        adapter = (1000 * rank, True) if settings.strategy == "peft" else (None, None)
        cost = (10.0 + rank, 0.1, 10**9, int(1e6 * MEGABYTES.get(rank, 200)), "resident", 4, 100, *adapter)
        return RunFinished("finished", 5, 9, False, scores, scores, zero_shot, zero_shot, *cost)

    def predict(self, run_id, right, before=range(10)):
        """Writes predictions of 40 rows of each part: the pairs in ``right`` are right, before training in ``before``."""
        folder = self.store.run_dir(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        p_N, zero_N = (np.where(right_rows(rows), 0.9, 0.2) for rows in (right, before))
        label_N = np.tile(["no", "yes"], 20)
        predicted = {
            f"{name}prob_{k}": np.where(label_N == label, own_N, 1 - own_N)
            for name, own_N in (("", p_N), ("zero_shot_", zero_N))
            for k, label in enumerate(("no", "yes"))
        }
        parts = {"validation": range(40), "test": range(40, 80)}
        frames = [
            pd.DataFrame({"split": split, "row": rows, "unit": rows, "label": label_N, **predicted})
            for split, rows in parts.items()
        ]
        pd.concat(frames).to_parquet(folder / PREDICTIONS_FILE)

    def board(self, metric="accuracy"):
        return leaderboard(self.store.runs(self.sweep), metric)

    def answer(self, metric="accuracy"):
        return recommend(self.store, self.board(metric), metric)

    def texts(self, metric="accuracy"):
        answer = self.answer(metric)
        return " ".join((*answer.sentences, answer.basis))

    def rows(self, metric="accuracy"):
        table = self.answer(metric).configurations
        return table.set_index(table["rank"].astype("string").fillna(table["strategy"]))


def right_rows(pairs):
    return np.isin(np.arange(40) // 2, list(pairs))
