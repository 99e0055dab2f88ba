"""Does the product claim a gain when there is none? Sweeps on real tables with shuffled labels.

``python tests/benchmarks/null_claims.py --results null_claims.jsonl --design group`` continues where the file ends, and
prints the number of sweeps of each design and how many of them claim a gain. The tables are those of
``real_tables.py``, which says what to install, with at most 400 rows each and shuffled labels, so that nothing can be
learnt. LoRA with ``tabicl-mini``, chosen and ranked by ROC AUC and by accuracy (log-loss can really improve here, by
becoming less certain). Everything is the product's own code except the check that an adapter package opens in a fresh
process, which does not affect scores.

Designs: ``random``, ranks 2, 4 and 8; ``wide``, 30 configurations; ``seeds``, the ranks under three seeds; ``group``,
similar rows belong to one customer, who has one label, and the split is by customer; ``time``, similar rows follow each
other, the labels come in runs, and the split is by time.
"""

import argparse
import dataclasses
import io
import json
import os
import tempfile
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from real_tables import CLASSIFICATION, RealTable

from tabtune_core.analysis.recommendation import recommend
from tabtune_core.analysis.runs_table import leaderboard
from tabtune_core.data.datasets import add_dataset
from tabtune_core.data.splits import sample_rows
from tabtune_core.engine import experiment
from tabtune_core.errors import LabelError
from tabtune_core.settings import RunSettings, SweepSettings, TrainSettings
from tabtune_core.store.runs import RunStore

ROWS, METRICS = 400, ("roc_auc", "accuracy")
DESIGNS = {
    "random": {"ranks": (2, 4, 8)},
    "wide": {"ranks": (2, 4, 8, 16, 32), "learning_rates": (0.0005, 0.002, 0.008), "dropouts": (0.0, 0.1)},
    "seeds": {"ranks": (2, 4, 8), "seeds": (0, 1, 2)},
    "group": {"ranks": (2, 4, 8)},
    "time": {"ranks": (2, 4, 8)},
}
CUSTOMER, RUN = 6, 8
"""Rows of a customer, and mean rows of a run of one label."""
TRAIN = TrainSettings(steps=30, eval_every=3, patience=0, warmup_steps=3, context_rows=64, learning_rate=0.002)


def shuffled(table: RealTable, design: str) -> bytes:
    """At most ROWS rows of the table as CSV, with a shuffled target."""
    x, target = table.load()
    rng = np.random.default_rng(0)
    rows = np.sort(sample_rows(target.astype(str).to_numpy(), ROWS, rng))
    frame, label_N = x.iloc[rows].reset_index(drop=True), rng.permutation(target.iloc[rows].astype(str))
    if design in ("group", "time"):
        frame = frame.sort_values(list(frame.columns), kind="stable", key=lambda column: column.rank()).reset_index(
            drop=True
        )
        first_N = np.arange(len(frame)) % CUSTOMER == 0 if design == "group" else rng.random(len(frame)) < 1 / RUN
        unit_N = np.cumsum(first_N)
        label_N = label_N[unit_N]
        frame[design] = unit_N if design == "group" else np.arange(len(frame))
    frame["shuffled_target"] = "class " + pd.Series(label_N)
    text = io.StringIO()
    frame.to_csv(text, index=False)
    return text.getvalue().encode()


def sweep(home: Path, table: RealTable, design: str, metric: str) -> dict[str, object]:
    """Runs one sweep and returns the product's claim about it."""
    dataset, train = (
        add_dataset(home, shuffled(table, design), f"{table.name}.csv"),
        dataclasses.replace(TRAIN, selection_metric=metric),
    )
    split = {"split_by": design, "split_column": design} if design in ("group", "time") else {}
    run = RunSettings(dataset=dataset.id, target="shuffled_target", model="tabicl-mini", train=train, **split)
    settings = SweepSettings(run=run, **DESIGNS[design], full_fine_tuning=False).expand()
    store = RunStore(home)
    name, ids = store.add_sweep(settings)
    for run_id, one in zip(ids, settings, strict=True):
        store.claim(os.getpid(), None, run_id)
        folder = store.run_dir(run_id)
        folder.mkdir(parents=True)
        result = experiment.run_experiment(
            one,
            home=home,
            run_dir=folder,
            emit=lambda event, run_id=run_id: store.append(run_id, event),
            stop_request=lambda: None,
            given="cpu",
        )
        store.finish(run_id, result.outcome, result=result)
    found = recommend(store, leaderboard(store.runs(name), metric), metric)
    told = found.claim
    assert told is not None
    return {
        "verdict": told.verdict,
        "gain": told.gain,
        "found": None if told.found is None else dataclasses.asdict(told.found),
        "said": found.sentences[:2],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--results", type=Path, required=True, help="one line per sweep; sweeps in it are not run again"
    )
    parser.add_argument("--design", choices=DESIGNS, action="append", help="designs to run (default: all)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    experiment.verify_in_fresh_process = lambda *_, **__: (True, "Not checked here.")
    lines = [json.loads(line) for line in asked.results.read_text().splitlines()] if asked.results.exists() else []
    done = {(line["table"], line["design"], line["metric"]) for line in lines}
    both = [(table, METRICS[(place + turn) % 2]) for turn in range(2) for place, table in enumerate(CLASSIFICATION)]
    for (table, metric), design in product(both, asked.design or DESIGNS):
        if (table.name, design, metric) in done:
            continue
        what = {"table": table.name, "design": design, "metric": metric}
        with tempfile.TemporaryDirectory() as home:
            try:
                lines.append({**what, **sweep(Path(home), table, design, metric)})
            except LabelError as refused:  # too few labels of a class for this split
                lines.append({**what, "verdict": "refused", "said": [str(refused)]})
        with asked.results.open("a") as file:
            file.write(json.dumps(lines[-1]) + "\n")
        print(lines[-1], flush=True)
    for design, metric in product(DESIGNS, METRICS):
        verdicts = Counter(line["verdict"] for line in lines if (line["design"], line["metric"]) == (design, metric))
        print(f"{design}, {metric}: {verdicts.total()} sweeps; {dict(verdicts)}")


if __name__ == "__main__":
    main()
