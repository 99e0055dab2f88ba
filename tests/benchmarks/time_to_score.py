"""How long until the best validation score: LoRA, full fine-tuning, and tabicl's own fine-tuning, of TabICL mini on four real tables.

``python tests/benchmarks/time_to_score.py --runs trails.jsonl`` prints Markdown; with ``--write`` it goes into the documentation. Runs that are in the
file already are not repeated. Tables, rates and seeds were named here before the first run.

Each table gives at most 2,000 rows, a fifth of them validation. All train for 60 steps on one thread, 256 rows a step (tabicl's 229, which share
its epoch evenly), a cosine of the rate with a tenth of warm-up, AdamW; the validation rows are scored every five steps, tabicl's at the end of
each of its epochs (about as often). Its step has two views of the rows, which is its default; ours has one. Time counts from the first step
and has the looks in it, which cost all the same. Under seed 0 each way is trained at three rates, and the one with the lowest validation
log-loss goes on under the other seeds.

Then what a prediction costs with the base alone, with LoRA beside the weights and with LoRA in them, and what a step costs in bf16 (autocast)
against fp32: on the CPU through the code that a card would use, since 16 bits are offered on a card alone.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from full_size import noise, random_weights
from named_machine import machine
from published import markdown_table, write_block
from score_trail import CPU, TABICL, TARGETS, settings_of, trail

from tabtune_core.lora.adapter_set import AdapterSet
from tabtune_core.models.adaptation import put_on
from tabtune_core.models.base import BaseModel, load_model, with_module
from tabtune_core.models.catalogue import get_card
from tabtune_core.training.optimizer import make_optimizer
from tabtune_core.training.precision import Precision
from tabtune_core.training.scoring import Scorer
from tabtune_core.training.step import episode_loss, take_step

TABLES = ("banana", "segment", "penbased", "ring")
SEEDS = (0, 1, 2)
FULL, LORA = "full fine-tuning", ("LoRA, all layers", "LoRA, late layers")
RATES = {**dict.fromkeys(LORA, (5e-4, 2e-3, 8e-3)), FULL: (5e-5, 2e-4, 8e-4), TABICL: (5e-5, 2e-4, 8e-4)}
ROUNDS = 9

Looks = list[dict[str, float]]


class Trails:
    """The runs of a file, each made only once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.known: dict[tuple[Any, ...], Looks] = {}
        for run in map(json.loads, lines):
            self.known[run["table"], run["way"], run["rate"], run["seed"]] = run["looks"]

    def get(self, table: str, way: str, rate: float, seed: int) -> Looks:
        """The looks of a run."""
        key = (table, way, rate, seed)
        if key not in self.known:
            started = time.monotonic()
            looks = self.known[key] = trail(*key)
            with self.path.open("a") as file:
                file.write(json.dumps(dict(zip(("table", "way", "rate", "seed"), key, strict=True)) | {"looks": looks}) + "\n")
            print(*key, f"{best(looks)['log_loss']:.4f} ({time.monotonic() - started:.0f} s)", file=sys.stderr, flush=True)
        return self.known[key]


def best(looks: Looks) -> dict[str, float]:
    """The look with the lowest log-loss, the first of equal ones; the base counts."""
    return min(looks, key=lambda look: look["log_loss"])


def reached(looks: Looks, log_loss: float, clock: str) -> float:
    """Seconds until a score is there."""
    return next(look[clock] for look in looks if look["log_loss"] <= log_loss)


def chosen(trails: Trails, table: str, way: str) -> float:
    """The rate with the lowest validation log-loss under the first seed."""
    return min(RATES[way], key=lambda rate: best(trails.get(table, way, rate, SEEDS[0]))["log_loss"])


def scores(trails: Trails) -> str:
    """How low each way comes, and when."""
    rows, ratios = [], []
    for table in TABLES:
        rates = {way: chosen(trails, table, way) for way in RATES}
        runs = {way: [trails.get(table, way, rates[way], seed) for seed in SEEDS] for way in RATES}
        zero = np.mean([looks[0]["log_loss"] for looks in runs[FULL]])
        for way, of_way in runs.items():
            tops = [best(looks) for looks in of_way]
            numbers = [f"{zero:.4f}", *(f"{np.mean([top[s] for top in tops]):.4f}" for s in ("log_loss", "accuracy"))]
            rows.append([table, way, f"{rates[way]:g}", *numbers, *(f"{np.median([top[c] for top in tops]):.1f}" for c in ("wall", "cpu"))])
        for way in LORA:
            cells = []
            for other in (FULL, TABICL):
                for clock in ("wall", "cpu"):
                    each = []
                    for mine, theirs in zip(runs[way], runs[other], strict=True):
                        target = max(best(mine)["log_loss"], best(theirs)["log_loss"])
                        times = [reached(looks, target, clock) for looks in (mine, theirs)]
                        each += [times[0] / times[1]] if times[1] else []
                    cells.append(f"{np.median(each):.2f}" if each else "")
                gains = [best(b)["log_loss"] - best(a)["log_loss"] for a, b in zip(runs[way], runs[other], strict=True)]
                cells.append(f"{np.mean(gains):+.4f}")
            ratios.append([table, way, *cells])
    head = ["Table", "Way", "Rate", "Zero-shot log-loss", "Best log-loss", "Accuracy there", "Seconds to it", "CPU seconds"]
    parts = ["to full fine-tuning's time", "CPU", "log-loss lower by", "to tabicl's time", "CPU", "log-loss lower by"]
    return (
        f"Validation rows, mean (scores) and median (seconds) of {len(SEEDS)} seeds:\n\n{markdown_table(head, rows)}\n\n"
        f"Time until the worse of two bests is there, LoRA's as a share of the other's (median of seeds), and by how much LoRA's best is "
        f"lower in the end:\n\n{markdown_table(['Table', 'Way', *parts], ratios)}"
    )


def in_turn(ways: dict[str, Callable[[], Any]]) -> dict[str, tuple[float, float]]:
    """Median wall and CPU seconds of each way, taken in turn after a first round that does not count."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS + 1):
        for name, do in ways.items():
            wall, cpu = time.monotonic(), time.process_time()
            do()
            seen[name].append((time.monotonic() - wall, time.process_time() - cpu))
    return {name: tuple(np.median(times[1:], axis=0)) for name, times in seen.items()}


def opened(name: str, folder: Path) -> tuple[BaseModel, AdapterSet]:
    """A model with an adapter of rank 8 that changes what it says."""
    model = load_model(get_card(name), "classification", CPU, None if "mini" in name else random_weights(name, folder))
    model.module.requires_grad_(False)
    adapters = AdapterSet(model.module)
    torch.manual_seed(0)
    put_on(adapters, model, settings_of(LORA[0], 1e-3, 0).lora, name="lora")
    with torch.no_grad():
        for parameter in adapters.module.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.01)
    return model, adapters


def predictions(name: str, folder: Path) -> list[list[str]]:
    """Rows of the table of what a prediction costs."""
    model, adapters = opened(name, folder)
    shown, asked = noise(320, 10), np.random.default_rng(1).normal(size=(1024, 10)).astype(np.float32)
    scorer = Scorer(shown.x_TF[: len(shown.y_C)], shown.y_C, 3)

    modules = {"base": adapters.base, "unmerged": adapters.module}
    adapters.merge()
    modules["merged"] = adapters.module
    ways = {way: partial(scorer.predict, with_module(model, module), asked) for way, module in modules.items()}
    found = in_turn(ways)
    difference = np.abs(ways["unmerged"]() - ways["merged"]()).max()
    return [
        [name, way, f"{wall:.3f}", f"{cpu:.3f}", f"{cpu / found['base'][1]:.2f}", f"{difference:.0e}" if way == "merged" else ""]
        for way, (wall, cpu) in found.items()
    ]


def autocast_steps(name: str, folder: Path) -> list[list[str]]:
    """Rows of the table of what a step costs in 16 bits."""
    model, _ = opened(name, folder)
    model.module.train()
    named = [(n, p) for n, p in model.module.named_parameters() if p.requires_grad]
    optimizer = make_optimizer(named, optimizer="adamw", learning_rate=1e-4, weight_decay=0.01, betas=(0.9, 0.999), eps=1e-8)
    of, losses = noise(256, 10), dict[str, float]()

    def step(kind: str, dtype: torch.dtype | None) -> None:
        precision = Precision("cpu", dtype, torch.amp.GradScaler("cpu", enabled=False))
        optimizer.zero_grad(set_to_none=True)
        with precision.autocast():
            loss = episode_loss(model, of, 3, CPU)
        losses[kind] = take_step(loss, optimizer, clip_norm=1.0, precision=precision)[0]

    found = in_turn({"fp32": lambda: step("fp32", None), "bf16": lambda: step("bf16", torch.bfloat16)})
    return [[name, kind, f"{wall:.3f}", f"{cpu:.3f}", f"{cpu / found['fp32'][1]:.2f}"] for kind, (wall, cpu) in found.items()]


def costs() -> str:
    """What predictions and steps cost."""
    with tempfile.TemporaryDirectory() as folder:
        predicted = [row for name in ("tabicl-mini", "tabicl-v2") for row in predictions(name, Path(folder))]
        steps = [row for name in ("tabicl-mini", "tabicl-v2") for row in autocast_steps(name, Path(folder))]
    head = ["Model", "LoRA", "Seconds", "CPU seconds", "to the base", "largest difference of a probability"]
    return (
        f"1,024 rows predicted from 256, 10 columns; LoRA of rank 8 on all layers:\n\n{markdown_table(head, predicted)}\n\n"
        f"A step of LoRA (256 x 10) on the CPU:\n\n{markdown_table(['Model', 'Numbers', 'Seconds', 'CPU seconds', 'to fp32'], steps)}"
    )


def main() -> None:
    """Trains what is missing, prints, and writes if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=Path, required=True, help="JSON lines; what is in it is not trained again")
    parser.add_argument("--write", action="store_true", help="put the tables into the documentation")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    assert set(RATES) == {*TARGETS, TABICL}
    text = f"{scores(Trails(arguments.runs))}\n\n{costs()}\n\n{machine()}."
    print(text)
    if arguments.write:
        write_block("time-to-score", text)


if __name__ == "__main__":
    main()
