"""A sweep as a person runs it without the pages: the command line and the Python that repeat it.

In: the settings, the name of the sweep and the workspace. Out: text to copy; both run on the table as it was read here.
"""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings, TrainSettings

WIDTH = 100
"""Letters of a line before its arguments are put one under the other."""
_SCRIPT = '''"""A sweep of LoRA Lab; run it with the Python that LoRA Lab is installed in."""

from pathlib import Path

from tabtune_core import {classes}
from tabtune_core.analysis.obstacles import what_stops
from tabtune_core.analysis.runs_table import leaderboard
from tabtune_core.store.runs import RunStore
from tabtune_core.cli.terminal import follow

sweep = {sweep}

if __name__ == "__main__":
    store = RunStore(Path({home!r}))
    if stops := what_stops(store.home, sweep.expand(){cards}):  # found before anything is queued
        raise SystemExit("\\n".join(map(str, stops)))
    sweep_id, run_ids = store.add_sweep(sweep.expand(), {name!r})
    runs = follow(store, sweep_id)  # starts a worker, shows progress, returns when the last run has ended
    board = leaderboard(runs, sweep.run.selection_metric)
    print(board[["place", "name", f"validation_{{sweep.run.selection_metric}}", "train_seconds"]])
'''


def command_line(table: Sequence[str], name: str, home: Path | None) -> str:
    """The command that runs the same sweep on a table, such as the id of one as it was read, from the settings saved as sweep.toml."""
    named = [f"--name={name}"] + (
        [f"--home={home}"] if home else []
    )  # with '=', because a name that begins with a dash would be taken for another flag
    return shlex.join(["python", "-m", "tabtune_core", "sweep", *table, "--settings", "sweep.toml", *named])


def python_code(sweep: SweepSettings, name: str, home: Path, cluster_cards: int | None = None) -> str:
    """A script that builds the same settings and runs them; ``cluster_cards`` is the number of GPUs where a cluster carries runs out."""
    written = _call(sweep)
    used = [cls.__name__ for cls in (LoraSettings, RunSettings, SweepSettings, TrainSettings) if f"{cls.__name__}(" in written]
    cards = "" if cluster_cards is None else f", cluster_cards={cluster_cards}"
    return _SCRIPT.format(name=name, classes=", ".join(used), sweep=written, home=str(home), cards=cards)


def _call(settings: Any, indent: str = "") -> str:
    """A settings object as the call that makes it, without what is at its default."""
    inner = indent + "    "
    given = {
        f.name: _call(value, inner) if dataclasses.is_dataclass(value) else repr(value)
        for f in dataclasses.fields(settings)
        if (value := getattr(settings, f.name)) != _default(f)
    }
    arguments = [f"{name}={text}" for name, text in given.items()]
    flat = f"{type(settings).__name__}({', '.join(arguments)})"
    if len(indent) + len(flat) <= WIDTH and "\n" not in flat:
        return flat
    return "\n".join((f"{type(settings).__name__}(", *(f"{inner}{argument}," for argument in arguments), f"{indent})"))


def _default(field: "dataclasses.Field[Any]") -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
