"""How many seconds and how much memory does a table of a million rows take to read, check and train on, compared with a
tenth of it?

``python tests/benchmarks/large_table.py`` prints Markdown; with ``--write`` it goes into the documentation. ``--rows
1000000 100000`` sets the sizes, ``--parts stages steps looks contexts`` chooses parts. Takes about twelve minutes, half
of them for Mitra's steps.

- Stages: a CSV of 20 columns (numbers, categories, dates, a tenth of some missing) is read and stored, its label is
  checked, and LoRA r=4 is trained for 20 steps with TabICL mini, including the adapter package and its check in a fresh
  process. Each of the three is a process of its own and uses the product's own code. Memory is that process's peak
  resident size in a stage, by the kernel (VmHWM).
- Steps: CPU seconds of a training step, optimizer included, by context rows and features, and a least-squares fit with
  a term for a step, its rows, rows x features, and rows x context rows (attention).
- Looks: the evaluations on the validation rows in the first steps of a run with the defaults, and their share of its
  training.
- Contexts: what TabICL saves if it computes the context once for many predicted rows; memory is over the level before.

One thread; medians, for the larger tables of one or two evaluations.
"""

import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from full_size import CLASSES, CPU, Steps, opened
from named_machine import machine
from published import markdown_table, options, publish
from scipy.optimize import nnls

from tabtune_core.data.datasets import add_dataset, list_datasets, load_frame
from tabtune_core.data.leakage import may_leak
from tabtune_core.data.target_checks import check_label
from tabtune_core.engine.experiment import run_experiment
from tabtune_core.events import Event, PhaseDone, PhaseStarted
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.training import loop, train_phase
from tabtune_core.training.episodes import EpisodeSize, draw_episodes
from tabtune_core.training.scoring import Scorer

MODELS = ("tabicl-mini", "tabdpt-mini", "mitra-mini")
CONTEXTS, FEATURES, QUERY = (256, 512, 1024, 2048), (5, 10, 20, 40), 64
SMALLER = {"mitra-mini": ((64, 128, 256, 512), (5, 10, 20))}
"""Context rows and features of the model whose step costs ten times as much."""
LOOKS, LOOK_STEPS = (1_000, 5_000, 20_000), 50
STEPS, RANK = 20, 4


def write_csv(path: Path, rows: int, block: int = 100_000) -> None:
    """Writes a mixed table of 20 columns, three of which determine the label, in blocks, so that this process stays
    small.
    """
    rng = np.random.default_rng(0)
    for start in range(0, rows, block):
        n = min(block, rows - start)
        columns: dict[str, Any] = {f"number_{i}": rng.normal(size=n).round(4) for i in range(10)}
        columns |= {f"count_{i}": rng.integers(0, 1000 * (i + 1), n) for i in range(3)}
        columns |= {
            f"word_{k}": np.char.add("level ", rng.integers(0, k, n).astype(str)).astype(object)
            for k in (2, 8, 50, 400)
        }
        columns |= {
            f"day_{i}": np.datetime_as_string(np.datetime64("2015-01-01") + rng.integers(0, 3650, n)) for i in range(2)
        }
        frame = pd.DataFrame(columns)
        signal = frame["number_0"] + 0.5 * frame["number_1"] + (frame["word_8"] == "level 3") + 0.5 * rng.normal(size=n)
        for name in ("number_2", "number_3", "count_1", "word_50", "day_1"):
            frame[name] = frame[name].astype(object).where(rng.random(n) > 0.1, None)
        frame["label"] = np.select([signal < -0.5, signal < 0.5], ["low", "middle"], "high")
        frame.to_csv(path, index=False, mode="a" if start else "w", header=not start)


def resident(what: str) -> int:
    """Resident bytes: VmRSS for now, VmHWM for the peak since its last reset."""
    return 1024 * int(re.search(rf"^{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)[1])


def cpu_seconds() -> float:
    """CPU seconds of this process and of the children that it waited for."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


@contextmanager
def stage(found: dict[str, Any], name: str) -> Iterator[None]:
    """Records CPU seconds, wall seconds and the peak resident bytes of the block."""
    Path("/proc/self/clear_refs").write_text("5")
    cpu, wall = cpu_seconds(), time.perf_counter()
    yield
    found[name] = [cpu_seconds() - cpu, time.perf_counter() - wall, resident("VmHWM")]


def read(home: Path, csv: Path) -> dict[str, Any]:
    """Adds the file to the workspace as a table."""
    found: dict[str, Any] = {}
    with stage(found, "the program itself"):
        pass
    with stage(found, "read and keep the CSV"):
        add_dataset(home, csv, csv.name)
    return found


def check(home: Path, csv: Path) -> dict[str, Any]:
    """Makes the checks that the pages make before a run."""
    found: dict[str, Any] = {}
    (dataset,) = list_datasets(home)
    with stage(found, "open the table"):
        frame = load_frame(home, dataset.id)
    with stage(found, "check the label, look for leaks"):
        check_label(frame, "label", max_classes=None)
        may_leak(frame, {column.name: column.kind for column in dataset.columns}, "label", "classification")
    return found


def train(home: Path, csv: Path) -> dict[str, Any]:
    """Trains a run and measures each phase."""
    (dataset,) = list_datasets(home)
    settings = RunSettings(
        dataset=dataset.id, target="label", lora=LoraSettings(rank=RANK), train=TrainSettings(steps=STEPS), device="cpu"
    )
    found: dict[str, Any] = {}
    began: list[float] = []

    def emit(event: Event) -> None:
        if isinstance(event, PhaseStarted):
            began[:] = [cpu_seconds()]
        elif isinstance(event, PhaseDone):
            found[f"run: {event.phase}"] = [cpu_seconds() - began[0], event.seconds, event.peak_bytes["resident"]]

    folder = home / "run"
    folder.mkdir()
    run_experiment(settings, home=home, run_dir=folder, emit=emit, stop_request=lambda: None)
    return found


def in_fresh_process(what: str, home: Path, csv: Path) -> dict[str, Any]:
    """Runs ``read``, ``check`` or ``train`` in a process of its own."""
    command = [sys.executable, __file__, "--cell", what, str(home), str(csv)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def stages(sizes: list[int]) -> str:
    """A table with one row per stage: each size, and the ratio of the first to the last."""
    found: list[dict[str, Any]] = []
    for rows in sizes:
        with tempfile.TemporaryDirectory() as name:
            csv, home = Path(name) / "table.csv", Path(name) / "home"
            write_csv(csv, rows)
            found.append({})
            for what in ("read", "check", "train"):
                found[-1] |= in_fresh_process(what, home, csv)
                print(rows, what, found[-1], file=sys.stderr)
    head = [
        "Stage",
        *(f"{rows:,} rows: {unit}" for rows in sizes for unit in ("CPU s (wall)", "MB")),
        "CPU ratio",
        "MB ratio",
    ]
    lines = []
    for name in found[0]:
        cells = [one[name] for one in found]
        line = [text for cpu, wall, peak in cells for text in (f"{cpu:.2f} ({wall:.2f})", f"{peak / 1e6:,.0f}")]
        (cpu, _, peak), (small_cpu, _, small_peak) = cells[0], cells[-1]
        lines.append([name, *line, f"{cpu / max(small_cpu, 0.01):.1f}", f"{peak / small_peak:.2f}"])
    return markdown_table(head, lines)


def median_seconds(run: Callable[[], Any], times: int = 3) -> float:
    """CPU seconds of ``run``, after one call that is not counted."""
    run()
    found = []
    for _ in range(times):
        began = time.process_time()
        run()
        found.append(time.process_time() - began)
    return statistics.median(found)


def linear(name: str) -> list[str]:
    """A model's row: a step at the smallest and the largest size, the shares of the largest by term, and the error of
    the fit.
    """
    contexts, widths = SMALLER.get(name, (CONTEXTS, FEATURES))
    step = Steps(load_model(CATALOGUE[name], "classification", CPU), (), rank=RANK, dropout=LoraSettings().dropout).step
    rng, found, sizes = np.random.default_rng(0), [], list(product(contexts, widths))
    for context, features in sizes:
        x, y = rng.normal(size=(context + QUERY, features)).astype(np.float32), np.arange(context + QUERY) % 3
        episode = next(draw_episodes(x, y, 3, EpisodeSize(context, QUERY), rng))
        found.append(median_seconds(lambda episode=episode: step(episode)))
    seconds = np.array(found)
    context, features = np.array(sizes, float).T
    rows = context + QUERY
    terms = np.stack([np.ones_like(rows), rows, rows * features, rows * context], axis=1)
    weights, _ = nnls(terms / seconds[:, None], np.ones_like(seconds))
    fitted = terms @ weights
    off, shares = np.abs(fitted / seconds - 1), terms[-1] * weights / fitted[-1]
    share = " / ".join(f"{one:.0%}" for one in shares)
    ends = f"{seconds[0] * 1e3:,.0f} to {seconds[-1] * 1e3:,.0f}"
    return [
        CATALOGUE[name].title,
        ends,
        f"{contexts[-1]:,} x {widths[-1]}",
        share,
        f"{np.median(off):.0%}, {off.max():.0%}",
    ]


def steps() -> str:
    """A table with one row per model."""
    head = [
        "Model",
        "ms per step",
        "Largest size",
        "Step / rows / rows x features / attention",
        "Error of the fit (median, largest)",
    ]
    return markdown_table(head, [linear(name) for name in MODELS])


def look(name: str, rows: int) -> list[str]:
    """Compares evaluations on the validation rows with the steps between them, in the first steps of a run with the
    defaults.
    """
    rng, found = np.random.default_rng(0), {"step": [0.0], "look": [0.0]}
    frame = (
        pd.DataFrame(rng.normal(size=(rows, 20)))
        .add_prefix("x")
        .assign(y=np.char.add("class ", (np.arange(rows) % 3).astype(str)))
    )
    every = list[int]()

    def timed(what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*given: Any) -> Any:
            began = time.process_time()
            answer = call(*given)
            found[what].append(time.process_time() - began)
            return answer

        return measured

    def train_timed(
        module: Any, episodes: Any, optimizer: Any, take_step: Any, plan: Any, **more: Any
    ) -> Iterator[Event]:
        every.append(plan.eval_every)
        more["score_validation"] = timed("look", more["score_validation"])
        yield from loop.train(module, episodes, optimizer, timed("step", take_step), plan, **more)

    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        home = Path(place)
        patch.setattr(train_phase, "train", train_timed)
        frame.to_csv(home / "table.csv", index=False)
        table = add_dataset(home, home / "table.csv", "table.csv").id
        (home / "run").mkdir()
        run = RunSettings(dataset=table, target="y", model=name, lora=LoraSettings(rank=RANK), device="cpu")
        done = lambda: "stop" if len(found["step"]) > LOOK_STEPS else None  # noqa: E731
        run_experiment(run, home=home, run_dir=home / "run", emit=lambda event: None, stop_request=done)
    steps, looks = found["step"][1:], found["look"][1:]
    one_step, one_look = statistics.median(steps), statistics.median(looks)
    share = one_look / (one_look + every[0] * one_step)
    return [
        CATALOGUE[name].title,
        f"{rows:,}",
        f"{one_step:.2f}",
        f"{one_look:.2f}",
        f"{one_look / one_step:.2f}",
        f"{every[0]}",
        f"{share:.1%}",
    ]


def looks() -> str:
    """A table with one row per model and table size."""
    head = [
        "Model",
        "Rows",
        "Step, CPU s",
        "Evaluation, CPU s",
        "An evaluation, in steps",
        "Steps between two",
        "Share of training",
    ]
    return markdown_table(head, [look(name, rows) for name in MODELS for rows in LOOKS])


def kept_context(name: str, rows: int) -> list[str]:
    """Predicts many rows with a context that is kept, as the product does, and with one that is computed for each lot;
    the two alternate.
    """
    rng, context, lot = np.random.default_rng(0), 1024, 2048
    x_CF, x_NF = (rng.normal(size=(number, 10)).astype(np.float32) for number in (context, rows))
    y_C, taken, answers = np.arange(context) % CLASSES, {"kept": [], "again": []}, {}
    with tempfile.TemporaryDirectory() as folder:
        model = opened(name, Path(folder))
    model.module.eval()
    ways = {
        "kept": lambda: Scorer(x_CF, y_C, CLASSES, rows_at_once=lot).predict(model, x_NF),
        "again": lambda: np.concatenate(
            [model.predict(x_CF, y_C, x_NF[i : i + lot], CLASSES) for i in range(0, rows, lot)]
        ),
    }
    for _ in range(3):
        for way, predict in ways.items():
            found, before = dict[str, Any](), resident("VmRSS")
            with stage(found, way):
                answers[way] = predict()
            taken[way].append([found[way][0], found[way][2] - before])
    (kept, kept_bytes), (again, again_bytes) = (np.median(taken[way], axis=0) for way in ways)
    difference = f"{np.abs(answers['kept'] - answers['again']).max():.0e}"
    cells = [
        f"{kept:.1f} / {again:.1f}",
        f"{kept / again:.2f}",
        difference,
        f"{kept_bytes / 1e6:,.0f} / {again_bytes / 1e6:,.0f}",
    ]
    return [CATALOGUE[name].title, f"{rows:,} with {context:,}", *cells]


def contexts() -> str:
    """A table with one row per TabICL model; the other models cannot keep a context."""
    head = [
        "Model",
        "Predicted with context rows",
        "Context kept / read again (CPU s)",
        "Ratio",
        "Largest difference of a probability",
        "MB, kept / again",
    ]
    return markdown_table(head, [kept_context("tabicl-v2", 20_000), kept_context("tabicl-mini", 8_192)])


def main() -> None:
    """Measures, prints, and writes with ``--write``."""
    parser = options(__doc__)
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[1_000_000, 100_000], help="the last is what the first is compared with"
    )
    parts = {"stages": lambda: stages(asked.rows), "steps": steps, "looks": looks}
    parser.add_argument("--parts", nargs="+", choices=[*parts, "contexts"], default=[*parts, "contexts"])
    asked = parser.parse_args()
    if "contexts" in asked.parts:
        publish("cached-context", f"{contexts()}\n\n{machine()}.", write=asked.write)
    if chosen := [measure() for part, measure in parts.items() if part in asked.parts]:
        publish("large-table", "\n\n".join([*chosen, f"{machine()}."]), write=asked.write)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--cell"]:
        print(
            json.dumps(
                {"read": read, "check": check, "train": train}[sys.argv[2]](Path(sys.argv[3]), Path(sys.argv[4]))
            )
        )
    else:
        main()
