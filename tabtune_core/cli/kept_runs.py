"""``runs``, ``show``, ``leaderboard`` and ``export``: what the runs of a workspace are and how they did."""

import argparse
import dataclasses
import json
import math
import shlex
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabtune_core.cli.terminal import COMMANDS, moment, paragraphs, say, shown, table
from tabtune_core.errors import SettingError, StoreError, TableError
from tabtune_core.events import Note, RunPlanned
from tabtune_core.files.whole import in_one_move
from tabtune_core.metrics import METRICS, metrics_of
from tabtune_core.settings import REFERENCES
from tabtune_core.store.run_folder import ADAPTER_FILE
from tabtune_core.store.run_row import RANKED, Run
from tabtune_core.store.runs import RunStore

if TYPE_CHECKING:
    import pandas as pd


def list_runs(asked: argparse.Namespace) -> int:
    """Lists the runs of the workspace, or of one sweep."""
    store = RunStore(asked.home)
    order = {sweep.id: place for place, sweep in enumerate(store.sweeps())}
    runs = sorted(_readable(store, asked.sweep), key=lambda run: order.get(run.sweep, -1))  # -1: added meanwhile
    if asked.format == "json":
        _print_json([_in_short(run) for run in runs])
        return 0
    for run in runs:
        metric, line = METRICS[run.settings.selection_metric], f"{run.id}  {run.sweep}  {run.ended_as:<22}  "
        line += f"{moment(run.created)}  {run.name:<32}"
        if run.result is not None and (score := run.result.validation.get(metric.name)) is not None:
            line += f"  validation {metric.name} {metric.text(score)}"
        if run.slot:
            line += f"  on {run.node} {run.slot}" if run.node else f"  on {run.slot}"
        print(shown(line.rstrip()))
    if not runs:
        say(f"There are no runs in {store.home}.")
    return 0


def show_run(asked: argparse.Namespace) -> int:
    """Prints what is known about one run."""
    from tabtune_core.data.datasets import get_dataset

    store = RunStore(asked.home)
    run = store.run(asked.run)
    notes = [stored.event for stored in store.events(run.id, ("Note",)) if isinstance(stored.event, Note)]
    planned, table_words = store.last_event(run.id, RunPlanned), None
    with suppress(TableError):  # the workspace has it no more
        table_words = shlex.join(get_dataset(store.home, run.settings.dataset).words())
    facts = {
        **_in_short(run),
        **{"error": run.error, "own_note": run.note, "folder": str(store.run_dir(run.id)), "table": table_words},
        "adapter": str(package) if (package := store.run_dir(run.id) / ADAPTER_FILE).exists() else None,
        **{"notes": [dataclasses.asdict(note) for note in notes], "settings": run.settings.to_dict()},
        **{"base": planned and planned.base, "result": run.result and dataclasses.asdict(run.result)},
    }
    _print_json(facts)
    return 0


def _in_short(run: Run) -> dict[str, Any]:
    metric, result = run.settings.selection_metric, run.result
    named = ("sweep", "name", "status", "created", "started", "ended")
    return {
        "run": run.id,
        **{name: getattr(run, name) for name in named},
        **{name: getattr(run.settings, name) for name in ("dataset", "target", "model")},
        "test_rows": run.settings.test_rows_in_words,
        **{"node": run.node or None, "slot": run.slot or None, "metric": metric},
        **{part: result and getattr(result, part).get(metric) for part in ("validation", "test")},
    }


def _print_json(value: Any) -> None:
    text = json.dumps(_without_nan(value), indent=2, ensure_ascii=False)
    print(COMMANDS.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def _without_nan(value: Any) -> Any:
    """Replaces NaN and infinity, which JSON lacks, by None."""
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _readable(store: RunStore, sweep: str | None) -> list[Run]:
    """Returns the runs of a sweep, or of all, and names those that cannot be read."""
    runs = store.runs(sweep)
    for unread in store.unreadable(sweep):
        say(f"{unread.name} cannot be read and is left out: {unread.why}")
    return runs


def runs_of_sweep(store: RunStore, sweep: str | None) -> list[Run]:
    """Returns the runs of a sweep, by default the newest."""
    sweeps = store.sweeps()
    if not sweeps:
        start = "start some with 'loralab sweep DATA --target COLUMN'"
        raise StoreError(f"The workspace {store.home} holds no runs yet; {start}.")
    if runs := _readable(store, chosen := sweep or sweeps[0].id):
        return runs
    raise StoreError(f"No run of the sweep {chosen!r} can be read. Open the workspace with the version that wrote it.")


def print_leaderboard(asked: argparse.Namespace) -> int:
    """Prints the runs of a sweep again."""
    store = RunStore(asked.home)
    runs = runs_of_sweep(store, asked.sweep)
    fitting = metrics_of(task := runs[0].settings.task)
    if asked.rank_by not in (None, *fitting):
        raise SettingError(f"--rank-by is {asked.rank_by!r}; for {task} it must be one of {', '.join(fitting)}.")
    return show_board(store, runs, asked.format, asked.rank_by)


def show_board(store: RunStore, runs: Sequence[Run], form: str, rank_by: str | None = None) -> int:
    """Prints the leaderboard and its recommendation; returns 0 if any run of a model has a result, else 1."""
    from tabtune_core.analysis.recommendation import board_and_recommendation
    from tabtune_core.analysis.runs_table import costs_note
    from tabtune_core.store.predictions import read_predictions

    rank_by = rank_by or runs[0].settings.selection_metric
    board, advice = board_and_recommendation(store, runs, rank_by, partial(read_predictions, store))
    words = paragraphs(advice.sentences, advice.basis, costs_note(board))
    print_as(form, board, f"{table(board, rank_by)}\n{words}")
    for split in dict.fromkeys(run.settings.split for run in runs if run.settings.split):
        say(f"Rows were {split}.")
    for run in runs:
        if run.error:
            say(f"{run.name}: {run.error}")
    of_models = [run for run in runs if run.settings.strategy not in REFERENCES] or runs
    return 0 if any(run.status in RANKED for run in of_models) else 1


def print_as(form: str, frame: "pd.DataFrame", text: str) -> None:
    """Prints a frame as ``json`` or ``csv``, or the ``text`` that stands for it."""
    from tabtune_core.data.spreadsheet import exact_json, safe_csv

    written = exact_json(frame) if form == "json" else safe_csv(frame) if form == "csv" else shown(text)
    print(written.removesuffix("\n"))


def export_sweep(asked: argparse.Namespace) -> int:
    """Writes a sweep as a page or picture, or sends it to a tracker."""
    store = RunStore(asked.home)
    sweep = runs_of_sweep(store, asked.sweep)[0].sweep
    what, _, where = asked.to.partition(":")
    if what in ("html", "picture"):
        from tabtune_core.analysis.sweep_page import sweep_page, sweep_picture

        picture = what == "picture"
        file = Path(where or f"sweep-{sweep}.{'png' if picture else 'html'}")
        if picture and file.suffix not in (".png", ".svg"):
            raise SettingError(f"A picture is a .png or .svg file, not {str(file)!r}.")
        content = sweep_picture(store, sweep, file.suffix[1:]) if picture else sweep_page(store, sweep).encode()
        with in_one_move(file) as partial_file:
            partial_file.write_bytes(content)
        print(shown(str(file)))
        return 0
    from tabtune_core.tracking import open_tracker
    from tabtune_core.tracking.mirror import send

    tracker = open_tracker(asked.to, store.home, also=["html", "picture"])
    say(send(store, sweep, tracker))
    print(tracker.look)
    return 0
