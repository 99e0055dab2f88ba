"""The command: ``python -m tabtune_core.models.pretraining tabdpt-mini FOLDER --steps 4000``."""

import argparse
import time
from collections import defaultdict, deque
from pathlib import Path

import numpy as np

from tabtune_core.models.pretraining.families import RECIPES
from tabtune_core.models.pretraining.loop import pretrain
from tabtune_core.models.pretraining.tables import Pool

TABLES = "tables"


def main() -> None:
    """Trains, or fills the pool, and prints how far it is."""
    parser = argparse.ArgumentParser(prog="python -m tabtune_core.models.pretraining", description="Pre-trains a small base model.")
    parser.add_argument("family", choices=[*RECIPES, TABLES], help=f"the model to train; {TABLES}: only fill the pool of tables")
    parser.add_argument("workdir", type=Path, help="folder for the checkpoint (the averaged weights) and state.pt (to go on from)")
    parser.add_argument("--pool", type=Path, help="folder of the synthetic tables, which models may share (default: WORKDIR/pool)")
    parser.add_argument("--groups", type=int, default=2000, help="groups of 8 tables in the pool (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=4000, help="optimizer steps in all (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and of what a step does to the tables (default: %(default)s)")
    parser.add_argument(
        "--start",
        type=Path,
        nargs="+",
        default=(),
        help="checkpoint whose fitting weights are the start; of several their mean",
    )
    parser.add_argument("--resume", action="store_true", help="go on from state.pt in the folder")
    arguments = parser.parse_args()
    pool = Pool(arguments.pool or arguments.workdir / "pool", arguments.groups)
    started = time.monotonic()
    if arguments.family == TABLES:
        for left in pool.fill():
            if left % 100 == 0:
                print(f"{left} groups left  {time.monotonic() - started:.0f} s", flush=True)
        return
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=100))
    run = pretrain(
        RECIPES[arguments.family],
        arguments.workdir,
        pool,
        steps=arguments.steps,
        rate=arguments.rate,
        seed=arguments.seed,
        resume=arguments.resume,
        start=arguments.start,
    )
    for step, losses in run:
        for name, loss in losses.items():
            recent[name].append(loss)
        if step % 20 == 0 or step <= 3:
            means = "  ".join(f"{name} {np.mean(values):.4f}" for name, values in recent.items())
            print(f"step {step}  {means}  {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
