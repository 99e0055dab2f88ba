"""The command ``python -m tabtune_core.models.pretraining tabicl-mini FOLDER``; repeat it to resume a stopped training."""

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tabtune_core.errors import TabTuneError
from tabtune_core.models.pretraining.episodes import FEWEST_ROWS
from tabtune_core.models.pretraining.families import RECIPES

if TYPE_CHECKING:
    from tabtune_core.models.pretraining.loop import Pretraining


def main() -> None:
    """Trains, and prints the progress."""
    parser = argparse.ArgumentParser(
        prog="python -m tabtune_core.models.pretraining", description="Pre-trains a small base model."
    )
    parser.add_argument("family", choices=RECIPES, help="the model to train")
    parser.add_argument(
        "folder", type=Path, help="for state.pt (to go on from), the averaged weights, and a JSON file with their curve"
    )
    parser.add_argument("--steps", type=int, help="stop after so many in all (default: go on until Ctrl+C)")
    parser.add_argument("--rate", type=float, help="peak learning rate (default: 0.001)")
    parser.add_argument("--seed", type=int, help="of the weights and the tables (default: 0)")
    parser.add_argument("--growth", type=int, help="steps in which tables grow to their full size (default: 4000)")
    parser.add_argument(
        "--rows", type=int, nargs=2, metavar=("FEWEST", "MOST"), help="of the tables, if not those of the recipe"
    )
    parser.add_argument("--start", type=Path, help="weights to begin with, if the folder has no state")
    parser.add_argument(
        "--decay", type=int, metavar="STEPS", help="let the rate fall over so many steps, in FOLDER/decay"
    )
    arguments = parser.parse_args()
    if arguments.rows and not FEWEST_ROWS <= arguments.rows[0] <= arguments.rows[1]:
        parser.error(
            f"--rows needs two numbers of at least {FEWEST_ROWS}, the smaller first; it was given {arguments.rows}."
        )
    from tabtune_core.models.pretraining.loop import Pretraining, begin_decay
    from tabtune_core.models.pretraining.state import one_training

    folder = arguments.folder
    if arguments.decay:
        folder = folder / "decay"
        begin_decay(arguments.folder, folder, arguments.decay, arguments.rows)
    with one_training(folder):
        chosen = {name: getattr(arguments, name) for name in ("seed", "rate", "growth", "rows", "start")}
        _train(Pretraining(arguments.family, folder, **chosen), arguments.steps)


def _train(training: "Pretraining", until: int | None) -> None:
    """Trains to step ``until``, or until SIGINT or SIGTERM, which end it after a step with a saved state."""
    asked_to_stop: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda asked, _: asked_to_stop.append(asked))
    _say(f"From step {training.progress.step} in {training.folder}")
    if training.other_code:
        _say("Other code wrote this state: training continues with its weights, but on different tables.")
    for progress in training.steps(until):
        if asked_to_stop:
            training.save()
        if progress.step % 10 == 0 or asked_to_stop:
            so_far = f"step {progress.step}  {progress.tables:,} tables  {progress.hours:.3f} CPU hours"
            _say(f"{so_far}  loss {np.nanmean(progress.losses):.4f}")
        if progress.history[-1]["step"] == progress.step:
            for task, losses in progress.history[-1]["held_out"].items():
                _say(f"held out, {task}: {'  '.join(f'{name} {loss:.4f}' for name, loss in losses.items())}")
        if training.trouble:
            _say(training.trouble)
        if asked_to_stop:
            _say("Stopped; the same command goes on.")
            return


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    try:
        main()
    except TabTuneError as error:
        sys.exit(str(error))
