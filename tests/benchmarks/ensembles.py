"""Does LoRA add anything to zero-shot, boosting and full fine-tuning together? TabICL mini on real tables.

``python tests/benchmarks/ensembles.py --runs ensembles.jsonl`` prints Markdown; with ``--write`` it goes into the
documentation, whose page says how it is measured. Tables that are already in the file are not repeated.
"""

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from fair_ranks import TABLES
from numpy.typing import NDArray
from published import Kept, markdown_table, options, publish
from real_tables import CLASSIFICATION, REGRESSION

from tabtune_core.analysis.gains import beyond_noise
from tabtune_core.analysis.jackknife import Difference
from tabtune_core.analysis.recommendation import board_and_recommendation
from tabtune_core.analysis.uncertainty import SHARE, Interval, of_held_out
from tabtune_core.metrics import METRICS, SELECTION, Task
from tabtune_core.store.predictions import Predictions, read_predictions
from tabtune_core.store.runs import RunStore

RANKS, STEPS, ROWS = (2, 8), 48, 2000
TEMPERATURES = np.geomspace(0.1, 10, 401)
NAMES = {"breast", "german", "heart", "mammographic", "segment", "titanic"}
"""Beside those of fair_ranks, named before any was run."""
MORE: list[tuple[Task, Any]] = [("classification", one) for one in CLASSIFICATION if one.name in NAMES]
MORE += [("regression", one) for one in REGRESSION[:4]]


def sweep(task: Task, table: Any) -> dict[str, Any]:
    """The sweep's last word on the ensemble, and each member's score on the test rows."""
    x, y = table.load()
    frame = x.assign(**{"the target": y}).sample(min(ROWS, len(y)), random_state=0)
    with tempfile.TemporaryDirectory() as name:
        home, file = Path(name) / "home", Path(name) / "table.csv"
        frame.to_csv(file, index=False)
        command = [sys.executable, "-m", "tabtune_core", "sweep", file, "--target", "the target", "--task", task]
        command += ["--model", "tabicl-mini", "--device", "cpu", "--one-rate", "--steps", STEPS, "--home", home]
        command += ["--set", "context_rows=256", "--set", "batch_size=128", "--ranks", *RANKS]
        subprocess.run([*map(str, command)], check=True, capture_output=True)
        store, metric = RunStore(home), SELECTION[task]
        board, answer = board_and_recommendation(store, store.runs(), metric, partial(read_predictions, store))
        placed = board[board["place"].notna()].groupby("strategy").first()
        sure = {name: how_sure(store, placed.loc[name, "run"]) for name in ("inference", "peft")}
    mixed = answer.ensemble
    assert mixed is not None, table.name
    differences = {"gain": mixed.gain, "added": mixed.added}
    return {
        "task": task,
        "rows": len(frame),
        "name": mixed.name,
        "test": mixed.test,
        "scores": placed[f"test_{metric}"].to_dict(),
        "sure": sure,
        "lora": "LoRA" in mixed.weights,
        **{
            name: [one.value, one.half, beyond_noise(one)] if isinstance(one, Difference) else None
            for name, one in differences.items()
        },
    }


def temperature(validation: Predictions) -> float:
    """Returns the temperature that fits the validation rows best: above 1 where the model was too sure.

    Guo et al. 2017, arXiv 1706.04599: probabilities become proportional to p ** (1 / temperature).
    """
    score = METRICS["log_loss"].score
    losses = [score(validation.y_N, at_temperature(validation.predicted, tried)) for tried in TEMPERATURES]
    return float(TEMPERATURES[np.argmin(losses)])


def at_temperature(predicted_NK: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Returns the probabilities ``(N, K)`` at a temperature."""
    log_NK = np.log(np.clip(predicted_NK, 1e-15, 1.0)) / temperature
    raised_NK = np.exp(log_NK - log_NK.max(axis=1, keepdims=True))
    return np.asarray(raised_NK / raised_NK.sum(axis=1, keepdims=True))


def how_sure(store: RunStore, run: str) -> dict[str, float]:
    """What the validation rows say of a run's predictions, and whether the test rows agree."""
    validation, test = read_predictions(store, run, "validation"), read_predictions(store, run, "test")
    assert validation is not None and test is not None
    made = of_held_out(validation, test)
    assert made is not None and made.held is not None
    if isinstance(made, Interval):
        return {"rows": len(test.y_N), "held": made.held, "size": (made.below + made.above) / float(np.std(test.y_N))}
    score, fitted = METRICS["log_loss"].score, temperature(validation)
    losses = [score(test.y_N, one) for one in (test.predicted, at_temperature(test.predicted, fitted))]
    inside = np.maximum((test.predicted >= made.least).sum(axis=1), 1)
    return {"rows": len(test.y_N), "held": made.held, "size": float(inside.mean()), "temperature": fitted} | dict(
        zip(("before", "after"), losses, strict=True)
    )


def surely(tables: list[dict[str, Any]]) -> str:
    lines, runs = [], [(one, one["sure"][name]) for one in tables for name in ("inference", "peft")]
    for one in tables:
        line = [f"{one['table']} ({one['sure']['peft']['rows']:,})"]
        for sure in one["sure"].values():
            line += [f"{100 * sure['held']:.1f} %", f"{sure['size']:.2f}"]
            known = "temperature" in sure
            line.append(f"{sure['temperature']:.2f}: {sure['after'] - sure['before']:+.4f}" if known else "")
        lines.append(line)
    kinds = [f"{name}, {what}" for name in ("zero-shot", "LoRA") for what in ("held", "size", "temperature")]
    share = sum(sure["held"] * sure["rows"] for _, sure in runs) / sum(sure["rows"] for _, sure in runs)
    warmed = [sure["after"] - sure["before"] for _, sure in runs if "temperature" in sure]
    summary = f"""Of all test rows {100 * share:.1f} % were inside, where {100 * SHARE:.0f} % were asked for. The temperature lowers the log-loss of the test
rows in {sum(one < 0 for one in warmed)} of {len(warmed)} runs, by {-float(np.median(warmed)):.4f} nats in the median."""
    return f"{markdown_table(['table (test rows)', *kinds], lines)}\n\n{summary}"


def report(tables: list[dict[str, Any]]) -> str:
    lines, wins = [], []
    for one in tables:
        metric = METRICS[SELECTION[one["task"]]]
        written = [metric.text(one["scores"][name]) for name in ("inference", "peft", "base-ft", "boosting")]
        differences = [one[name] for name in ("gain", "added")]
        said = ["" if pair is None else f"{pair[0]:+.4g} ± {pair[1]:.2g}" for pair in differences]
        lines.append([f"{one['table']} ({one['rows']:,})", *written, metric.text(one["test"]), *said, one["name"]])
        wins.append(all(not metric.better(score, one["test"]) for score in one["scores"].values()))
    head = [
        "table (rows)",
        "zero-shot",
        "LoRA",
        "full",
        "boosting",
        "together",
        "over zero-shot",
        "LoRA adds",
        "weights",
    ]
    added, used = [one["added"] for one in tables if one["added"]], sum(one["lora"] for one in tables)
    better, worse = (sum(one[2] == sign for one in added) for sign in (1, -1))
    summary = f"""On {sum(wins)} of {len(tables)} tables no single model has a better test score than all together. LoRA has a weight on {used}.
What it adds to the others is beyond the 95 % interval (of a page, Holm) on {better}, and what it takes from them on {worse}."""
    return f"{markdown_table(head, lines)}\n\n{summary}"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="JSONL file that the tables' results are appended to")
    asked = parser.parse_args()
    kept = Kept(asked.runs, "table")
    made = [kept.get(partial(sweep, task, one), table=one.name) for task, one in (*TABLES, *MORE)]
    publish("ensembles", report(made), write=asked.write)
    publish("uncertainty", surely(made), write=asked.write)


if __name__ == "__main__":
    main()
