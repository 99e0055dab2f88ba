"""How the cost of a workspace grows with its runs and events, measured where this machine can and fitted where it
cannot.

``python tests/benchmarks/growth.py`` prints Markdown; with ``--write`` it goes into the documentation. ``--events
1000000`` sets the largest measured number of events, ``--runs 4000`` that of runs. Takes minutes.

Times are CPU seconds of this process, medians of several. A fit is a straight line through the logarithms; its exponent
says how a cost grows: 0 not at all, 1 in proportion. Figures beyond the largest measured size extrapolate that line.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from named_machine import machine
from published import markdown_table, options, publish

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import seeding  # noqa: E402

from tabtune_core.analysis.runs_table import leaderboard  # noqa: E402
from tabtune_core.events import StepDone  # noqa: E402
from tabtune_core.settings import RunSettings  # noqa: E402
from tabtune_core.store.runs import RunStore  # noqa: E402

FAR = {"events": 10_000_000, "runs": 100_000}
"""The sizes to extrapolate to."""
TRIES = 5
STEP = StepDone(step=1, loss=0.5, gradient_norm=1.0, learning_rate=1e-3, seconds=0.3)
EVENTS_A_SECOND = 4.0
"""Of a run on a GPU, with steps of a third of a second and a memory sample each second."""


def median_seconds(work: Callable[[], object], tries: int = TRIES) -> float:
    """CPU seconds of one call in this process."""
    taken = []
    for _ in range(tries):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def fill(store: RunStore, run_id: str, number: int) -> None:
    """Writes events of a run in one transaction."""
    with store._together():
        for _ in range(number):
            store.append(run_id, STEP)


def of_events(sizes: Sequence[int]) -> dict[str, list[float]]:
    """Seconds by operation, at each number of events in one workspace."""
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = RunStore(Path(folder))
        _, ids = store.add_sweep([RunSettings(dataset="d", target="y", seed=seed) for seed in range(20)])
        there = 0
        for size in sizes:
            for run_id in ids:
                fill(store, run_id, (size - there) // len(ids))
            there = size
            last = store.last(ids[-1], "StepDone").seq
            work = {
                "append an event": lambda: [store.append(ids[0], STEP) for _ in range(50)],
                "read a run's new events": lambda last=last: [store.events(ids[-1], after=last) for _ in range(50)],
                "find a run's last step": lambda: [store.last(ids[3], "StepDone") for _ in range(50)],
            }
            for name, what in work.items():
                taken.setdefault(name, []).append(median_seconds(what) / 50)
            taken.setdefault("bytes on disk", []).append(float((store.home / "runs.sqlite").stat().st_size))
    return taken


def of_runs(sizes: Sequence[int]) -> dict[str, list[float]]:
    """Seconds by operation, at each number of ended runs, with 50 queued ones."""
    taken: dict[str, list[float]] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            store = RunStore(Path(folder))
            newest, *_ = seeding.many_runs(store, sweeps=size // 50, per_sweep=50, looks=10)
            store.add_sweep([RunSettings(dataset="d", target="y", seed=seed) for seed in range(50)])
            work = {
                "the worker checks its queue": lambda store=store: (
                    store.runs(status="running"),
                    store.runs(status="queued"),
                ),
                "a sweep's board": lambda store=store, newest=newest: leaderboard(store.runs(newest)),
                "the board of all runs": lambda store=store: leaderboard(store.runs()),
                "what changed (each page, each refresh)": lambda store=store: store.marks(),
                "the list of sweeps": store.sweeps,
            }
            for name, what in work.items():
                taken.setdefault(name, []).append(median_seconds(what, 3))
    return taken


def table(kind: str, sizes: Sequence[int], taken: dict[str, list[float]]) -> str:
    """One row per operation: its cost at each size, the exponent, and the extrapolated cost."""
    lines = []
    for name, values in taken.items():
        exponent, offset = np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-7)), 1)
        far = float(np.exp(offset + exponent * np.log(FAR[kind])))
        lines.append([name, *(shown(name, value) for value in values), f"{exponent:.2f}", shown(name, far)])
    return markdown_table(["", *(f"{size:,} {kind}" for size in sizes), "Exponent", f"{FAR[kind]:,} (fitted)"], lines)


def shown(name: str, value: float) -> str:
    """A value in milliseconds, or in MB."""
    return f"{value / 1e6:,.1f} MB" if "bytes" in name else f"{1000 * value:,.2f} ms"


def main() -> None:
    """Measures, prints, and writes with ``--write``."""
    parser = options(__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="the largest measured number of events")
    parser.add_argument("--runs", type=int, default=4_000, help="the largest measured number of runs")
    asked = parser.parse_args()
    os.environ["TABTUNE_HOME"] = tempfile.gettempdir()
    events, runs = (
        [asked.events // 100, asked.events // 10, asked.events],
        [asked.runs // 16, asked.runs // 4, asked.runs],
    )
    written = of_events(events)
    append = written["append an event"][-1]
    text = "\n\n".join(
        [
            table("events", events, written),
            table("runs", runs, of_runs(runs)),
            f"One writer appends {1 / append:,.0f} events a second on one core: as many as "
            f"{1 / append / EVENTS_A_SECOND:,.0f} runs that train at once write, with {EVENTS_A_SECOND:g} events a "
            "second each.",
            f"{machine()}.",
        ]
    )
    publish("growth", text, write=asked.write)


if __name__ == "__main__":
    main()
