"""``export``: writes a sweep as one page, or sends it to a tracker; ``hub push``: pushes an adapter to the Hub."""

import argparse
import math
import os
import sys
from functools import partial
from pathlib import Path

from tabtune_core.cli.board import runs_of_sweep
from tabtune_core.cli.terminal import say
from tabtune_core.errors import AdapterError, SettingError
from tabtune_core.files.whole import in_one_move
from tabtune_core.lora.hub import FILE, Score, card_of, push
from tabtune_core.lora.package_reader import readme, without_labels
from tabtune_core.metrics import METRICS
from tabtune_core.scratch import scratch_folder
from tabtune_core.store.run_folder import ADAPTER_FILE
from tabtune_core.store.runs import RunStore


def export_sweep(asked: argparse.Namespace) -> int:
    """Writes a sweep as a page or picture, or sends it to a tracker."""
    store = RunStore(asked.home)
    sweep = runs_of_sweep(store, asked.sweep)[0].sweep
    what, _, where = asked.to.partition(":")
    if what in ("html", "picture"):
        from tabtune_core.analysis.sweep_page import sweep_page, sweep_picture

        file = Path(where or f"sweep-{sweep}.{'html' if what == 'html' else 'png'}")
        if file.is_dir() or not file.parent.is_dir():  # before it is made
            raise SettingError(
                f"{str(file)!r} cannot be written: it is a folder, or its folder does not exist. Name a file: "
                f"{what}:FILE."
            )
        if what == "picture" and file.suffix not in (".png", ".svg"):
            raise SettingError(f"A picture is a .png or .svg file, not {str(file)!r}.")
        picture = what == "picture"
        content = sweep_picture(store, sweep, file.suffix[1:]) if picture else sweep_page(store, sweep).encode()
        with in_one_move(file) as partial_file:
            partial_file.write_bytes(content)
        sys.stdout.buffer.write(os.fsencode(file) + b"\n")  # the locale C has no letters for it
        return 0
    from tabtune_core.tracking import open_tracker
    from tabtune_core.tracking.mirror import send

    tracker = open_tracker(asked.to, store.home, also=["html", "picture"])
    say(send(store, sweep, tracker))
    print(tracker.look)
    return 0


def push_adapter(asked: argparse.Namespace) -> int:
    """Pushes an adapter with its model card to the Hugging Face Hub, and prints its address."""
    from tabtune_core.store.uploaded_adapters import check_package

    path, scores = _package_and_scores(asked)
    with scratch_folder() as folder:
        content = path.read_bytes() if asked.with_labels else without_labels(path)
        (folder / FILE).write_bytes(content)
        facts = check_package(folder / FILE)
    if facts.classes and not asked.with_labels:
        say("The class labels, which are values of the table, are left out; --with-labels names them.")
    print(push(content, card_of(facts, readme(facts), asked.repository, scores), asked.repository, public=asked.public))
    return 0


def _package_and_scores(asked: argparse.Namespace) -> tuple[Path, list[Score]]:
    """Returns the package of a run with its scores and their intervals, or a package file with its own scores."""
    from tabtune_core.analysis.comparison import half_widths
    from tabtune_core.analysis.gains import change
    from tabtune_core.analysis.intervals import GAINS
    from tabtune_core.analysis.runs_table import gains_of
    from tabtune_core.store.predictions import read_predictions
    from tabtune_core.store.uploaded_adapters import check_package

    if os.path.exists(asked.adapter):
        facts = check_package(Path(asked.adapter))
        name = facts.settings.selection_metric
        return Path(asked.adapter), [
            Score(name, part, of[name], None) for part, of in facts.scores.items() if name in of
        ]
    store = RunStore(asked.home)
    run = store.run(asked.adapter)
    path = store.run_dir(run.id) / ADAPTER_FILE
    if run.result is None or not run.result.adapter_verified or not path.is_file():
        raise AdapterError(
            f"The run {run.id} has no adapter that a fresh process has verified. Choose a finished run of LoRA."
        )
    metric, scores = METRICS[run.settings.selection_metric], []
    gains, halves = gains_of(run, metric), half_widths(run.id, metric, partial(read_predictions, store))
    for name, part in reversed(GAINS.items()):
        after = getattr(run.result, part)
        if metric.name not in after:
            continue
        value, half, better = after[metric.name], halves[f"{part}_{metric.name}"], gains.get(name, math.nan)
        gain = "" if math.isnan(better) else change(better, halves[name], metric, value)
        scores.append(Score(metric.name, part, value, None if math.isnan(half) else half, gain))
    return path, scores
