"""Random sweeps in which runs, seeds, results, metrics or numbers may be missing or repeated."""

import dataclasses
import math

import numpy as np
import pandas as pd

from tabtune_core.events import RunFinished, RunPlanned
from tabtune_core.metrics import metrics_of, score_all
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.store.run_folder import PREDICTIONS_FILE
from tabtune_core.store.run_row import ENDED, RANKED

BASE = RunFinished("finished", 1, 9, False, {}, {}, {}, {}, 1.0, 0.1, 1, 1, "resident", 4, 100, 9)
PARTS = ("validation", "test")
STRATEGIES = ("inference", "base-ft", "linear", "boosting", 2, 8)
COMPARED = ("inference", "base-ft", "linear", 2, 8)


def settings_of(what, seed, task):
    more = {"lora": LoraSettings(rank=what)} if isinstance(what, int) else {"strategy": what}
    return RunSettings(dataset="d", target="y", task=task, seed=seed, **more)


def scores(rng, metrics):
    """Some of the metrics, some of them NaN or missing."""
    kept = [name for name in metrics if rng.random() < 0.8]
    return {name: float(rng.choice([rng.random(), math.nan, math.inf, 0.5], p=[0.7, 0.1, 0.1, 0.1])) for name in kept}


def result_of(rng, metrics):
    of_part = {name: scores(rng, metrics) for name in ("validation", "test", "zero_shot_validation", "zero_shot_test")}
    absent = [name for name in ("peak_memory_bytes", "growth_memory_bytes", "adapter_bytes") if rng.random() < 0.3]
    drawn = {"best_step": int(rng.integers(0, 3)), "train_seconds": float(rng.choice([1.0, math.nan]))}
    drawn["rows_sha256"] = str(rng.integers(0, 2)) if rng.random() < 0.5 else None
    drawn["context_rows"] = int(rng.integers(10, 12)) if rng.random() < 0.5 else None
    return dataclasses.replace(BASE, **drawn, **of_part, **dict.fromkeys(absent))


def random_sweep(store, rng, task, *, whole=0.0):
    """A sweep of some strategies and seeds whose runs have any status; the share ``whole`` of them is complete."""
    wanted = [(what, seed) for what in STRATEGIES for seed in range(3) if rng.random() < 0.5] or [("inference", 0)]
    sweep, ids = store.add_sweep([settings_of(what, seed, task) for what, seed in wanted])
    ids += [store.duplicate(run_id, store.run(run_id).settings) for run_id in ids if rng.random() < 0.2]
    for run_id in ids:
        if rng.random() < whole:
            names = [f"{part}{name}" for part in ("", "zero_shot_") for name in PARTS]
            of_part = {name: dict.fromkeys(metrics_of(task), rng.random()) for name in names}
            store.finish(run_id, "finished", result=dataclasses.replace(BASE, **of_part))
            continue
        status = str(rng.choice([*sorted(ENDED), "queued"]))
        if status != "queued":
            result = result_of(rng, metrics_of(task)) if status in RANKED else None
            store.finish(run_id, status, result=result, error=None if result else "It ended.")
        if rng.random() < 0.1:
            store.archive(run_id)
    return sweep


def two_halves(store):
    """A sweep in which no seed has a score of every configuration."""
    wanted = [("inference", 0), ("inference", 1), (2, 0), (2, 1)]
    sweep, ids = store.add_sweep([settings_of(*one, "classification") for one in wanted])
    done = dataclasses.replace(BASE, validation={"log_loss": 0.5}, zero_shot_validation={"log_loss": 0.6})
    for run_id, status in zip(ids, ("finished", "cancelled", "cancelled", "finished"), strict=True):
        store.finish(run_id, status, result=done if status == "finished" else None)
    return sweep


def regression_sweep(store, seed, unit=1.0, validation_rows=60, rows=120):
    """A sweep with predictions of a target in another unit; some runs are as good as zero-shot, or equal."""
    rng = np.random.default_rng(seed)
    seeds = range(int(rng.choice([1, 3])))
    effect, luck, same = rng.choice([0.0, 0.05, 0.4]), rng.choice([0.0, 0.1]), rng.random() < 0.3
    truth, error = rng.normal(size=(2, rows))
    sweep, ids = store.add_sweep([settings_of(what, one, "regression") for what in COMPARED for one in seeds])
    helped = {one: effect + luck * rng.normal() for one in seeds}
    for place, run_id in enumerate(ids):
        what, one = COMPARED[place // len(seeds)], place % len(seeds)
        wrong = error + 0.05 * rng.normal(size=error.shape) * (not same)
        own = {"inference": error, "linear": 1.2 * wrong}.get(what, (1 - helped[one]) * wrong)
        y, p, z = (unit * part for part in (truth, truth + own, truth + error))
        parts = {"validation": slice(0, validation_rows), "test": slice(validation_rows, None)}
        counts = (1, 120, validation_rows, rows - validation_rows, 120, 15, 2)
        store.append(run_id, RunPlanned("cpu", *counts, (), 100, 4, (), {}))
        store.run_dir(run_id).mkdir(parents=True)
        numbers = np.arange(rows)
        split = np.where(numbers < validation_rows, "validation", "test")
        frame = pd.DataFrame({"split": split, "row": numbers, "unit": numbers, "label": y, "predicted": p})
        frame.assign(zero_shot_predicted=z).to_parquet(store.run_dir(run_id) / PREDICTIONS_FILE)
        after, before = ({part: score_all(y[at], own[at]) for part, at in parts.items()} for own in (p, z))
        scores = {"zero_shot_validation": before["validation"], "zero_shot_test": before["test"], **after}
        store.finish(run_id, "finished", result=dataclasses.replace(BASE, rows_sha256=str(one), **scores))
    return sweep
