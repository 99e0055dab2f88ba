"""Does the product claim a gain where there is none? Sweeps on real tables with shuffled labels.

``python tests/benchmarks/null_claims.py --results null_claims.jsonl`` takes up where the file ends, and prints how many sweeps there are and
in how many a gain is claimed. The tables are those of ``real_tables.py``, which says what to install; of each at most 400 rows, and their
labels in another order, so that nothing can be learnt. LoRA at ranks 2, 4 and 8 with ``tabicl-mini``, chosen and ranked by ROC AUC and by
accuracy (a log-loss can really gain here, by becoming less sure). Everything is the product's own path but the check that an adapter
package opens in a fresh process, which has no part in a score. ``one_error`` in a line is the rule that the product had before: a gain on
the validation rows of more than one standard error.
"""

import argparse
import dataclasses
import io
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from real_tables import CLASSIFICATION, RealTable

from tabtune_core.analysis.recommendation import recommend
from tabtune_core.analysis.runs_table import leaderboard
from tabtune_core.data.datasets import add_dataset
from tabtune_core.data.splits import sample_rows
from tabtune_core.engine import experiment
from tabtune_core.settings import RunSettings, SweepSettings, TrainSettings
from tabtune_core.store.runs import RunStore

ROWS, RANKS, METRICS = 400, (2, 4, 8), ("roc_auc", "accuracy")
TRAIN = TrainSettings(steps=30, eval_every=3, patience=0, warmup_steps=3, context_rows=64, learning_rate=0.002)


def shuffled(table: RealTable) -> bytes:
    """The table as CSV, at most ROWS of it, the target in another order."""
    x, target = table.load()
    rng = np.random.default_rng(0)
    rows = np.sort(sample_rows(target.astype(str).to_numpy(), ROWS, rng))
    frame = x.iloc[rows].reset_index(drop=True)
    frame["shuffled_target"] = "class " + target.iloc[rows].astype(str).sample(frac=1, random_state=0).reset_index(drop=True)
    text = io.StringIO()
    frame.to_csv(text, index=False)
    return text.getvalue().encode()


def sweep(home: Path, table: RealTable, metric: str) -> dict[str, object]:
    """Runs one sweep and says what the product says about it."""
    dataset, train = add_dataset(home, shuffled(table), f"{table.name}.csv"), dataclasses.replace(TRAIN, selection_metric=metric)
    run = RunSettings(dataset=dataset.id, target="shuffled_target", model="tabicl-mini", train=train)
    settings = SweepSettings(run=run, ranks=RANKS, full_fine_tuning=False).expand()
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
    lora, told = found.configurations[found.configurations["strategy"] == "peft"], found.claim
    assert told is not None
    return {
        "verdict": told.verdict,
        "gain": told.gain,
        "test_gain": told.test.value,
        "half": told.test.half,
        "one_error": bool((lora["gain"] > lora["gain_error"] + 1e-12).any()),
        "said": found.sentences[:2],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, required=True, help="one line a sweep; what is there is not run again")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    experiment.verify_in_fresh_process = lambda *_, **__: (True, "Not checked here.")
    lines = [json.loads(line) for line in asked.results.read_text().splitlines()] if asked.results.exists() else []
    done = {(line["table"], line["metric"]) for line in lines}
    both = [(table, METRICS[(place + turn) % 2]) for turn in range(2) for place, table in enumerate(CLASSIFICATION)]
    for table, metric in both:
        if (table.name, metric) in done:
            continue
        with tempfile.TemporaryDirectory() as home:
            lines.append({"table": table.name, "metric": metric, **sweep(Path(home), table, metric)})
        with asked.results.open("a") as file:
            file.write(json.dumps(lines[-1]) + "\n")
        print(lines[-1], flush=True)
    for metric in METRICS:
        own = [line for line in lines if line["metric"] == metric]
        better, before = sum(line["verdict"] == "better" for line in own), sum(line["one_error"] for line in own)
        print(f"{metric}: {len(own)} sweeps, a gain is claimed in {better}; more than one standard error on validation in {before}")


if __name__ == "__main__":
    main()
