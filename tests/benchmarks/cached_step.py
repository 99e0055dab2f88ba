"""What does a step of LoRA in late layers cost without a cache, with an empty one and with a full one? For the mini of each family.

``python tests/benchmarks/cached_step.py`` prints Markdown; with ``--write`` it goes into the documentation. An episode of noise of three classes,
rank 8, one thread, fp32. The three take turns in one process, and ratios are of CPU seconds within a turn, so that a busy machine moves them
little. "Empty" computes the frozen layers and keeps what they give; "full" reads what "empty" has just kept.
"""

import argparse
import itertools
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import torch
from full_size import Steps, noise, opened
from named_machine import machine
from published import markdown_table, write_block

from tabtune_core.models.catalogue import get_card

CASES = (
    ("tabicl-mini", "icl_predictor"),
    ("tabicl-mini", "late_layers"),
    ("tabdpt-mini", "late_layers"),
    ("mitra-mini", "late_layers"),
)
SIZES = ((256, 10), (512, 30))
"""Rows and columns of an episode."""
WARM_UP = 2


def measure(name: str, target: str, rows: int, features: int, turns: int) -> list[str]:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        without, cached = (Steps(opened(name, folder), (target,), cache=cache) for cache in (None, folder / "cache"))
        episode, seconds, kept = noise(rows, features), dict[str, list[float]](), 0
        for turn in range(WARM_UP + turns):
            shutil.rmtree(folder / "cache")
            (folder / "cache").mkdir()
            for kind, steps in (("without", without), ("empty", cached), ("full", cached)):
                began = time.process_time()
                steps.step(episode)
                if turn >= WARM_UP:
                    seconds.setdefault(kind, []).append(time.process_time() - began)
            kept = sum(file.stat().st_size for file in (folder / "cache").iterdir())
    ratios = {kind: [a / b for a, b in zip(seconds[kind], seconds["without"], strict=True)] for kind in ("empty", "full")}
    said = [f"{statistics.median(of):.2f} ({min(of):.2f} to {max(of):.2f})" for of in ratios.values()]
    return [
        get_card(name).title,
        f"`{target}`",
        f"{rows} x {features}",
        f"{statistics.median(seconds['without']):.3f}",
        *said,
        f"{kept / 1e6:.2f}",
    ]


def main() -> None:
    """Measures, prints, and writes if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--write", action="store_true", help="put the table into the documentation")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(*case, *size, arguments.turns) for case, size in itertools.product(CASES, SIZES)]
    head = ["Model", "LoRA adapts", "Rows x columns", "CPU s without a cache", "Empty cache, ratio", "Full cache, ratio", "MB an episode"]
    text = f"{markdown_table(head, rows)}\n\nMedians, and the range, of {arguments.turns} turns; {machine()}."
    print(text)
    if arguments.write:
        write_block("cached-step", text)


if __name__ == "__main__":
    main()
