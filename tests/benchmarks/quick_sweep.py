"""What does a quick sweep save: LoRA of five ranks in one pass against one after the other?

``python tests/benchmarks/quick_sweep.py`` prints Markdown: CPU seconds and kernels of five steps against one packed step, and with ``--sweeps``
whole sweeps of five ranks on scikit-learn's breast cancer (569 x 30), by ``loralab sweep``, with and without ``--quick-sweep``, in fresh
workspaces (about a minute each). One thread on the CPU. Both sides share what sweeps share: of late layers the frozen prefix is in files.

A kernel is an operation that is dispatched and is no view: what a GPU is asked for by a host that it may have to wait for. Those of forward
pass, backward pass, clipping and optimizer are counted, the masks of dropout as a GPU draws them, in one kernel each.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from full_size import CLASSES, CPU, Steps, noise, opened
from named_machine import machine
from published import markdown_table
from sweep_time import LABEL, prepare_rows, tabtune_command, timed
from torch.utils._python_dispatch import TorchDispatchMode

from tabtune_core.lora import fused_linear, stacked
from tabtune_core.models.tabicl.stages import stages
from tabtune_core.training.packed import PackedPass
from tabtune_core.training.packed_turns import JoinedModel
from tabtune_core.training.precision import Precision
from tabtune_core.training.prefix_cache import frozen_stages
from tabtune_core.training.step import episode_loss, take_step

RANKS = (2, 4, 8, 16, 32)
LATE = ("icl_predictor",)
CELLS = [
    (name, rows, features, targets, dropout)
    for name, rows, features in (("tabicl-mini", 128, 8), ("tabicl-mini", 512, 20), ("tabicl-v2", 256, 10))
    for targets in ((), LATE)
    for dropout in (0.0, 0.05)
]
NO_KERNEL = set(
    [
        "view",
        "_unsafe_view",
        "t",
        "transpose",
        "permute",
        "expand",
        "slice",
        "select",
        "split",
        "split_with_sizes",
        "unsqueeze",
        "squeeze",
        "detach",
        "alias",
        "as_strided",
        "unbind",
        "unfold",
        "lift_fresh",
        "empty",
        "empty_like",
        "new_empty",
        "new_empty_strided",
        "is_same_size",
    ]
)


class Kernels(TorchDispatchMode):
    """Counts them."""

    number = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Each operation."""
        self.number += function.overloadpacket.__name__ not in NO_KERNEL
        return function(*args, **(kwargs or {}))


def one_kernel_mask(x: torch.Tensor, dropout: float, generator: torch.Generator | None = None) -> torch.Tensor:
    """``keep_mask`` as on a GPU."""
    return torch.empty(x.numel() // x.shape[-1], x.shape[-1], dtype=torch.int8).bernoulli_(1 - dropout, generator=generator)


def five(name: str, targets: tuple[str, ...], dropout: float, folder: Path) -> list[Steps]:
    """A model of each rank."""
    return [
        Steps(opened(name, folder), targets, cache=folder / f"{name} cache" if targets else None, rank=r, dropout=dropout) for r in RANKS
    ]


def sides(
    name: str, rows: int, features: int, targets: tuple[str, ...], dropout: float, folder: Path
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Five steps one after the other, and one step of all five."""
    episode, alone, together = noise(rows, features), five(name, targets, dropout, folder), five(name, targets, dropout, folder)
    first = together[0].model
    frozen, precision = frozen_stages(first.module, stages(first.module).every), Precision.of("off", CPU)
    packed = PackedPass([one.model for one in together], frozen[-1].path if frozen else None)

    def separate() -> None:
        for one in alone:
            one.step(episode)

    def pack() -> None:
        for one in together:
            one.optimizer.zero_grad(set_to_none=True)
        losses: list[float] = []

        def keep(*asked: Any) -> torch.Tensor:
            losses.extend(packed.losses(*asked))
            return torch.zeros(())

        episode_loss(JoinedModel(first.module, keep), episode, CLASSES, CPU)
        for one, loss in zip(together, losses, strict=True):
            take_step(torch.tensor(loss, requires_grad=True), one.optimizer, clip_norm=1.0, precision=precision)

    return separate, pack


def measure(cell: tuple[Any, ...], turns: int, folder: Path) -> list[str]:
    """A row of the table of steps."""
    both, seconds, kernels = sides(*cell, folder), ([], []), []
    for turn in range(2 + turns):
        for step, found in zip(both, seconds, strict=True):
            began = time.process_time()
            step()
            if turn > 1:
                found.append(time.process_time() - began)
    own = fused_linear.keep_mask
    fused_linear.keep_mask = stacked.keep_mask = one_kernel_mask
    for step in both:
        with Kernels() as counted:
            step()
        kernels.append(counted.number)
    fused_linear.keep_mask = stacked.keep_mask = own
    name, rows, features, targets, dropout = cell
    ratio = statistics.median(one / other for one, other in zip(*seconds, strict=True))
    medians = [f"{statistics.median(found):.3f}" for found in seconds]
    what = f"{name}, {rows} x {features}, {'late layers, cached' if targets else 'own targets'}, dropout {dropout:g}"
    return [what, *medians, f"{ratio:.2f}", *map(str, kernels), f"{kernels[0] / kernels[1]:.1f}"]


def sweep(table: Path, home: Path, targets: tuple[str, ...], quick: bool, steps: int) -> tuple[float, float]:
    """CPU and wall seconds of a command that trains five ranks."""
    asked = ["--target", LABEL, "--device", "cpu", "--steps", steps, "--patience", 0, "--ranks", *RANKS, "--home", home]
    asked += ["--no-zero-shot", "--no-full-fine-tuning", "--no-references", *(["--targets", *targets] if targets else [])]
    with timed() as watch:
        tabtune_command("sweep", table, *asked, *(["--quick-sweep"] if quick else []), threads=1)
    return watch.cpu, watch.wall


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=5, help="steps of each side that are timed")
    parser.add_argument("--models", nargs="*", default=["tabicl-mini", "tabicl-v2"])
    parser.add_argument("--sweeps", type=int, default=0, metavar="STEPS", help="whole sweeps of so many steps a run, too")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        head = ["Five ranks", "Separate, CPU s", "Pack, CPU s", "Ratio", "Kernels, separate", "Kernels, pack", "Ratio of kernels"]
        print(markdown_table(head, []) if asked.models else "")
        for cell in CELLS:
            if cell[0] in asked.models:
                print(markdown_table(head, [measure(cell, asked.turns, folder)]).splitlines()[-1], flush=True)
        if asked.sweeps:
            table, lines = prepare_rows(folder, 0)[0], []
            for targets in ((), LATE):
                (cpu, wall), (quick_cpu, quick_wall) = (
                    sweep(table, folder / f"{quick} {len(targets)}", targets, quick, asked.sweeps) for quick in (False, True)
                )
                what = "late layers" if targets else "own targets"
                lines.append([what, *(f"{s:.1f}" for s in (cpu, quick_cpu, wall, quick_wall)), f"{cpu / quick_cpu:.2f}"])
            head = ["Sweep of five ranks", "CPU s", "Quick, CPU s", "Wall s", "Quick, wall s", "Ratio of CPU seconds"]
            print("\n" + markdown_table(head, lines))
    print(f"\nMedians of {asked.turns} turns. {machine()}.", file=sys.stdout)


if __name__ == "__main__":
    main()
