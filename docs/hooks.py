"""What a page can ask for, so that nothing is copied by hand.

``{{ help COMMAND }}`` is what a command prints for ``--help``, ``{{ file PATH }}`` a file of the repository, ``{{
metrics }}`` a table, ``{{ glossary }}`` a definition list, ``{{ settings }}`` a table for each class of settings, ``{{
arguments }}`` what a pipeline takes.
"""

import dataclasses
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_origin

from dashboard.components.glossary import TERMS
from tabtune_core.api.tuning_params import ARGUMENTS
from tabtune_core.metrics import METRICS
from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings, TrainSettings, rows_of
from tabtune_core.settings.validation import bounds

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {"COLUMNS": "100", "NO_COLOR": "1", "TABTUNE_HOME": "~/.tabtune"}
"""So that every machine prints the same."""


def on_page_markdown(markdown: str, **_: object) -> str:
    """Fills one page."""
    markdown = markdown.replace("{{ metrics }}", _metrics())
    markdown = markdown.replace("{{ glossary }}", "\n\n".join(f"{term}\n:   {text}" for term, text in TERMS.items()))
    markdown = markdown.replace("{{ settings }}", _settings()).replace(
        "{{ arguments }}", ", ".join(f"`{name}`" for name in ARGUMENTS)
    )
    markdown = re.sub(r"\{\{ file (.+?) \}\}", lambda match: (ROOT / match[1]).read_text(encoding="utf-8"), markdown)
    return re.sub(r"\{\{ help (.+?) \}\}", lambda match: f"```text\n{_help(match[1])}```", markdown)


def _metrics() -> str:
    head = ["name", "metric", "task", "better", "unit", "what it says"]
    rows = [
        [
            f"`{metric.name}`",
            metric.label,
            metric.task,
            "higher" if metric.higher_is_better else "lower",
            metric.unit,
            metric.help,
        ]
        for metric in METRICS.values()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])


def _settings() -> str:
    """One table for a class: the name, the default, what is allowed, what it is."""
    tables = []
    for owner in (SweepSettings, RunSettings, LoraSettings, TrainSettings):
        lines = [["name", "default", "allowed", "what it is"], ["---"] * 4]
        for row in rows_of(owner):
            words = {bool: "true, false", str: "text"}.get(row.kind, ", ".join(str(one) for one in get_args(row.kind)))
            allowed = " and ".join(filter(None, bounds(row))) if row.low is not None or row.above is not None else words
            shown = "" if row.default in (None, (), dataclasses.MISSING) else f"`{row.default}`"
            lines.append(
                [f"`{row.name}`", shown, "" if get_origin(row.kind) is tuple else allowed, " ".join(row.help.split())]
            )
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        tables.append(f"## {owner.__name__}\n\n{inspect.getdoc(owner)}\n\n{body}")
    return "\n\n".join(tables)


def _help(command: str) -> str:
    """For example of ``tabtune_core sweep``."""
    module, *arguments = command.split()
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments, "--help"],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
