"""Does the product claim a gain when there is none? Sweeps on real tables with shuffled labels.

``python tests/benchmarks/null_claims.py --results null_claims.jsonl`` continues where the file ends, and prints the
number of sweeps and how many of them claim a gain. The tables are those of ``real_tables.py``, which says what to
install, with at most 400 rows each and shuffled labels, so that nothing can be learnt. LoRA of ranks 2, 4 and 8 with
``tabicl-mini``, chosen and ranked by ROC AUC and by accuracy (log-loss can really improve here, by becoming less
certain). Each rank races three learning rates, as by default, with the product's own worker.
"""

import argparse
import dataclasses
import io
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
from published import Kept
from real_tables import CLASSIFICATION, RealTable

from tabtune_core.analysis.recommendation import recommend
from tabtune_core.analysis.runs_table import leaderboard
from tabtune_core.data.datasets import add_dataset
from tabtune_core.data.splits import sample_rows
from tabtune_core.execution.lock import ensure_worker, worker_of
from tabtune_core.settings import RunSettings, SweepSettings, TrainSettings
from tabtune_core.store.run_row import ENDED
from tabtune_core.store.runs import RunStore

ROWS, METRICS = 400, ("roc_auc", "accuracy")
TRAIN = TrainSettings(steps=30, eval_every=3, patience=0, warmup_steps=3, context_rows=64)


def shuffled(table: RealTable) -> bytes:
    """At most ROWS rows of the table as CSV, with a shuffled target."""
    x, target = table.load()
    rng = np.random.default_rng(0)
    rows = np.sort(sample_rows(target.astype(str).to_numpy(), ROWS, rng))
    frame, label_N = x.iloc[rows].reset_index(drop=True), rng.permutation(target.iloc[rows].astype(str))
    frame["shuffled_target"] = "class " + pd.Series(label_N)
    text = io.StringIO()
    frame.to_csv(text, index=False)
    return text.getvalue().encode()


def sweep(home: Path, table: RealTable, metric: str) -> dict[str, object]:
    dataset = add_dataset(home, shuffled(table), f"{table.name}.csv")
    train = dataclasses.replace(TRAIN, selection_metric=metric)
    run = RunSettings(dataset=dataset.id, target="shuffled_target", model="tabicl-mini", device="cpu", train=train)
    store = RunStore(home)
    store.add_sweep(SweepSettings(run=run, ranks=(2, 4, 8), full_fine_tuning=False).expand())
    ensure_worker(home, exit_when_idle=True)
    while any(run.status not in ENDED for run in store.runs()) or worker_of(home) is not None:
        time.sleep(0.2)
    answer = recommend(store, leaderboard(store.runs(), metric), metric)
    claim = answer.claim
    assert claim is not None
    difference = None if claim.difference is None else dataclasses.asdict(claim.difference)
    return {"verdict": claim.verdict, "gain": claim.gain, "difference": difference, "text": answer.sentences[:2]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, required=True, help="a line per sweep, which is not run again")
    asked = parser.parse_args()
    kept = Kept(asked.results, "table", "metric")
    verdicts: dict[str, Counter[str]] = {metric: Counter() for metric in METRICS}
    for turn, (place, table) in product(range(2), enumerate(CLASSIFICATION)):
        metric = METRICS[(place + turn) % 2]
        with tempfile.TemporaryDirectory() as home:
            make = partial(sweep, Path(home), table, metric)
            verdicts[metric][str(kept.get(make, table=table.name, metric=metric)["verdict"])] += 1
    for metric, counts in verdicts.items():
        print(f"{metric}: {counts.total()} sweeps; {dict(counts)}")


if __name__ == "__main__":
    main()
