"""``runs`` and ``show``: lists the runs of a workspace, newest sweep first; shows one with its settings and result."""

import argparse
import dataclasses
import json
import math
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tabtune_core.cli.terminal import moment, say, shown
from tabtune_core.errors import TableError
from tabtune_core.events import Note, RunPlanned
from tabtune_core.metrics import METRICS
from tabtune_core.settings import SETTINGS
from tabtune_core.store.run_folder import ADAPTER_FILE
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore

_TIMES = ("created", "started", "ended")
_OF_PROGRAMS = re.compile("sha256|^shared|^skipped|_by_cause|^estimated|^memory_meter|^used_rows")
"""Entries of a result that only the output as JSON has."""


def list_runs(asked: argparse.Namespace) -> int:
    """Lists the runs of the workspace, or of one sweep."""
    store = RunStore(asked.home)
    order = {sweep.id: place for place, sweep in enumerate(store.sweeps())}
    runs = sorted(store.runs(asked.sweep), key=lambda run: order.get(run.sweep, -1))  # -1: added meanwhile
    for unread in store.unreadable(asked.sweep):
        say(f"{unread.name} cannot be read and is left out: {unread.why}")
    if asked.format == "json":
        _print_json([_in_short(run) for run in runs])
        return 0
    for run in runs:
        line = (
            f"{run.id}  {run.sweep}  {run.ended_as:<22}  {moment(run.created)}  {run.name:<32}  {'  '.join(_more(run))}"
        )
        print(shown(line.rstrip()))
    if not runs:
        say(f"There are no runs in {store.home}.")
    return 0


def show_run(asked: argparse.Namespace) -> int:
    """Prints what is known about one run."""
    store = RunStore(asked.home)
    run = store.run(asked.run)
    notes = [stored.event for stored in store.events(run.id, ("Note",)) if isinstance(stored.event, Note)]
    planned = store.last_event(run.id, RunPlanned)
    about = {
        **_in_short(run),
        "error": run.error,
        "own_note": run.note,
        "folder": str(store.run_dir(run.id)),
        "adapter": str(package) if (package := store.run_dir(run.id) / ADAPTER_FILE).exists() else None,
        "table": _table(store.home, run.settings.dataset),
        "notes": [dataclasses.asdict(note) for note in notes],
        "settings": run.settings.to_dict(),
        "base": planned and planned.base,
        "result": run.result and dataclasses.asdict(run.result),
    }
    if asked.format == "json":
        _print_json(about)
        return 0
    for row in SETTINGS.values():
        if run.settings.is_replaced(row.name):
            del about["settings"][row.section][row.name]
    about |= {name: moment(about[name]) for name in _TIMES if about[name]}
    if about["result"]:
        about["result"] = {name: value for name, value in about["result"].items() if not _OF_PROGRAMS.search(name)}
    for name, value in _flat(about):
        print(shown(f"{name}: {_with_unit(name, value)}"))
    return 0


def _table(home: Path, identity: str) -> str | None:
    """Returns the words that name the table on the command line; None if the workspace no longer has it."""
    from tabtune_core.data.datasets import get_dataset

    with suppress(TableError):
        return shlex.join(get_dataset(home, identity).words())
    return None


def _with_unit(name: str, value: Any) -> Any:
    """Writes a number for people, with its unit.

    >>> _with_unit("growth_memory_bytes", 126_400_000), _with_unit("train_seconds", 1.26), _with_unit("test", 0.59314)
    ('126.4 MB', '1.3 s', '0.5931')
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        return value
    if name.endswith("_bytes"):
        return f"{value / 1e3:,.1f} kB" if "adapter" in name else f"{value / 1e6:,.1f} MB"
    return f"{value:,.1f} s" if name.endswith("_seconds") else f"{value:.4g}" if isinstance(value, float) else value


def _in_short(run: Run) -> dict[str, Any]:
    metric, result = run.settings.selection_metric, run.result
    return {
        "run": run.id,
        "sweep": run.sweep,
        "name": run.name,
        "status": run.status,
        "dataset": run.settings.dataset,
        "target": run.settings.target,
        "test_rows": run.settings.test_rows_in_words,
        "model": run.settings.model,
        "node": run.node or None,
        "slot": run.slot or None,
        **{name: getattr(run, name) for name in _TIMES},
        "metric": metric,
        "validation": result and result.validation.get(metric),
        "test": result and result.test.get(metric),
    }


def _more(run: Run) -> Iterator[str]:
    """Lists what else is known about a run: its score, and where it was executed."""
    if run.result is not None and (score := run.result.validation.get(run.settings.selection_metric)) is not None:
        metric = METRICS[run.settings.selection_metric]
        yield f"validation {metric.name} {metric.text(score)}"
    if run.slot:
        yield f"on {run.node} {run.slot}" if run.node else f"on {run.slot}"


def _print_json(value: Any) -> None:
    print(json.dumps(_without_nan(value), indent=2, ensure_ascii=False))


def _without_nan(value: Any) -> Any:
    """Replaces NaN and infinity, which JSON lacks, by None."""
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Flattens nested values into lines, without empty ones."""
    lines: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            lines += _flat(value, f"{prefix}{name}.")
        elif name == "notes":
            lines += [(note["severity"], note["text"]) for note in value]
        elif value not in (None, "", [], ()):
            lines.append((f"{prefix}{name}", value))
    return lines
