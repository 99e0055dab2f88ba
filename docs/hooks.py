"""Four things that a page can ask for, so that nothing is copied by hand.

``{{ help COMMAND }}`` is what a command prints for ``--help``, ``{{ file PATH }}`` a file of the repository, ``{{ metrics }}`` a table,
``{{ glossary }}`` a definition list.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from dashboard.components.glossary import TERMS
from tabtune_core.metrics import METRICS

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {"COLUMNS": "100", "NO_COLOR": "1", "TABTUNE_HOME": "~/.tabtune"}
"""So that every machine prints the same."""


def on_page_markdown(markdown: str, **_: object) -> str:
    """Fills one page."""
    markdown = markdown.replace("{{ metrics }}", _metrics())
    markdown = markdown.replace("{{ glossary }}", "\n\n".join(f"{term}\n:   {text}" for term, text in TERMS.items()))
    markdown = re.sub(r"\{\{ file (.+?) \}\}", lambda match: (ROOT / match[1]).read_text(encoding="utf-8"), markdown)
    return re.sub(r"\{\{ help (.+?) \}\}", lambda match: f"```text\n{_help(match[1])}```", markdown)


def _metrics() -> str:
    head = ["name", "metric", "task", "better", "unit", "what it says"]
    rows = [
        [f"`{metric.name}`", metric.label, metric.task, "higher" if metric.higher_is_better else "lower", metric.unit, metric.help]
        for metric in METRICS.values()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])


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
