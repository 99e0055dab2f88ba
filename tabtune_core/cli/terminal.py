"""Output on a terminal: progress bars on stderr while runs go on, and the leaderboard as text."""

import math
import re
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from tabtune_core.data.reading.names import DIRECTIONS
from tabtune_core.errors import StoreError
from tabtune_core.events import Evaluated, Event, Note, PhaseStarted, RunPlanned, StepDone
from tabtune_core.execution.executor import RAY
from tabtune_core.execution.lock import WorkerWatch
from tabtune_core.execution.worker_flags import asked_by_environment
from tabtune_core.metrics import METRICS
from tabtune_core.search.space import space_of
from tabtune_core.search.summary import written
from tabtune_core.settings import REFERENCES
from tabtune_core.store.run_row import ENDED, RANKED, Run
from tabtune_core.store.runs import RunStore
from tabtune_core.training.clock import DISTURBED
from tabtune_core.wording import MOST_PLACES, decimal

if TYPE_CHECKING:
    import pandas as pd

POLL_SECONDS = 0.3
COMMANDS = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|{DIRECTIONS.pattern}")
MOST_STARTS = 3
"""Starts in a row of workers that ended at once, after which a command gives up."""
WIDTH = 120
"""Longest line of running text, in letters."""
RESULTS = ("evaluate", "save")
"""Phases whose notes concern one run, so they are shown for every run."""
SHOWN = ("RunPlanned", "PhaseStarted", "StepDone", "Evaluated", "Note")


def say(text: str) -> None:
    """Writes a line to stderr without breaking the bars."""
    tqdm.write(shown(text), file=sys.stderr)


def shown(text: str) -> str:
    r"""Escapes control characters, so that text from files or other people cannot command the terminal.

    >>> shown("a\x1b[31mb\u202ec"), shown("one line\nand another")
    ('a\\x1b[31mb\\u202ec', 'one line\nand another')
    """
    return COMMANDS.sub(lambda match: ascii(match[0])[1:-1], text)


def moment(unix_seconds: float) -> str:
    """Writes day and time in this machine's time zone."""
    return time.strftime("%d %b %Y %H:%M", time.localtime(unix_seconds))


def follow(store: RunStore, sweep: str) -> list[Run]:
    """Shows the progress of a sweep's runs and keeps a worker running. Returns the runs when the last has ended."""
    space = space_of(search) if (search := store.search(sweep)) else None
    views, worker, notes = dict[str, RunView](), _WorkerCare(store.home), set[str]()
    layout, hidden = "{desc} |{bar:16}| {n_fmt} of {total_fmt} runs, {elapsed}", not sys.stderr.isatty()
    with tqdm(total=0, file=sys.stderr, bar_format=layout, leave=False, dynamic_ncols=True, disable=hidden) as bar:
        while True:
            searching, runs = store.searching(sweep), store.runs(sweep)
            for run in runs:
                if run.status != "queued":
                    if run.id not in views:
                        views[run.id] = RunView(run, notes)
                        if space and run.rung == 0:
                            say(f"{run.name}: {written(run.settings, space)}")
                    views[run.id].update(store, run)
            bar.total, bar.n = len(runs), sum(run.status in ENDED for run in runs)
            going = [views[run.id].now for run in runs if run.id in views and run.status not in ENDED]
            bar.set_description_str(going[-1] if going else "waiting")
            if bar.n == bar.total and not searching:
                return runs
            worker.look()
            time.sleep(POLL_SECONDS)


class _WorkerCare:
    """Keeps a worker running in a workspace, and reports each problem with it once."""

    def __init__(self, home: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.home, self.watch = home, WorkerWatch(home, exit_when_idle=True, clock=clock)
        self.reported = ""

    def look(self) -> None:
        """Starts a worker if none runs; raises StoreError if it keeps ending, or was stopped by a user."""
        if not self.home.is_dir():
            gone = f"The workspace {self.home} is not there any more"
            raise StoreError(f"{gone}: it was deleted or moved, and its runs with it.")
        trouble, problem = self.watch.look(), ""
        if trouble and trouble.why == "stopped":
            stopped = "The worker was stopped with 'loralab worker --stop', so queued runs wait"
            raise StoreError(f"{stopped}. 'loralab worker' starts it.")
        if trouble and trouble.why == "no room":
            problem = f"{trouble.what} Queued runs wait, and start by themselves later."
        elif trouble and trouble.what and asked_by_environment().executor == RAY:
            raise StoreError(f"{trouble.what} Queued runs wait for a worker.")
        elif trouble and trouble.starts > MOST_STARTS:
            ended = f"The worker was started {trouble.starts - 1} times and ended each time"
            raise StoreError(f"{ended}; see {trouble.log}.")
        if problem and problem != self.reported:
            say(problem)
        self.reported = problem


class RunView:
    """What one run does ``now``, and a line when it ends; ``notes`` has those that the sweep's runs have emitted."""

    def __init__(self, run: Run, notes: set[str]) -> None:
        self.name, self.notes, self.metric = run.name, notes, run.settings.selection_metric
        self.after = self.step = self.steps = 0
        self.phase, self.over = "start", False
        self.facts: dict[str, str] = {}

    def update(self, store: RunStore, run: Run) -> None:
        """Prints what the run has emitted since the last call."""
        if self.over:
            return
        for stored in store.events(run.id, SHOWN, self.after):
            self.after = stored.seq
            self.take(stored.event)
        self.over = run.status in ENDED
        if self.over:
            result, early = run.result, ""
            if result is not None and result.stopped_early:
                early = f" early, at step {result.steps_done:,} of {result.planned_steps:,}"
            say(", ".join((f"{self.name}: {run.ended_as}{early}", *self._facts())))

    @property
    def now(self) -> str:
        """The phase, the step and the last facts in one line."""
        step = (f"step {self.step:,} of {self.steps:,}",) if self.step else ()
        return shown(", ".join((f"{self.name}: {self.phase}", *step, *self._facts())))

    def _facts(self) -> list[str]:
        return [f"{name} {value}" for name, value in self.facts.items()]

    def take(self, event: Event) -> None:
        """Updates what is known with one event; prints a new note."""
        match event:
            case RunPlanned():
                self.steps = event.steps
            case PhaseStarted():
                self.phase = event.phase
            case StepDone():
                self.step, self.facts["loss"] = event.step, f"{event.loss:.4f}"
            case Evaluated(split="validation", best=True):
                self.facts[f"best {self.metric}"] = METRICS[self.metric].text(event.scores[self.metric])
            case Note() if self._is_new(event):
                once = " This is said once a sweep." if event.text.startswith(DISTURBED) else ""
                say(f"{self.name}: {event.severity}: {event.text}{once}")

    def _is_new(self, note: Note) -> bool:
        """Whether a note is shown: a warning and one about a result always, any other once a sweep."""
        disturbed = note.text.startswith(DISTURBED)
        key, seen = DISTURBED if disturbed else note.text, len(self.notes)
        self.notes.add(key)
        return len(self.notes) > seen or (not disturbed and (note.severity == "warning" or self.phase in RESULTS))


def table(board: "pd.DataFrame", rank_by: str) -> str:
    """Writes the leaderboard as text, in MB, seconds and per cent."""
    from tabtune_core.analysis.intervals import half_width

    metric = METRICS[rank_by]
    scores = board[[f"validation_{rank_by}", f"test_{rank_by}"]]
    places = metric.decimals(scores.iloc[:, 0])
    tested = bool(board["test_gain"].notna().any())
    gains = {"test gain": "test_gain", "±": half_width("test_gain")} if tested else {"validation gain": "gain"}
    finest = max(places, min(metric.decimals(scores.iloc[:, 0], board[list(gains.values())[-1]].abs()), MOST_PLACES))
    costs = ("train s", "train MB", "predict MB", "trainable", "adapter kB")
    rows = [("", "run", "validation", "test", *gains, *costs, "note")]
    for row in board.to_dict("records"):
        reference = f"reference ({row['model']})" if row["strategy"] in REFERENCES else ""
        resumed: str = row["resumed"]
        notes = (
            "archived" if row["archived"] else "",
            row["status"] if row["status"] not in ("finished", "outrun") else "",
            (row["note"] if row["status"] in (*RANKED, "outrun") else "") or reference,
            f"ended by its {row['ended_by']}" if row["ended_by"] else "",
            resumed[:1].lower() + resumed[1:],
        )
        cells = (
            _cell(row["place"], "{:.0f}"),
            row["name"],
            *(_score(row[name], places) for name in scores),
            *(_score(row[name], finest, signed=title != "±") for title, name in gains.items()),
            _cell(row["train_seconds"], "{:,.1f}"),
            *(_cell(row[f"{of}growth_memory_bytes"], "{:,.1f}", 1e-6) for of in ("", "predict_")),
            _cell(row["trainable_percent"], "{:.2f} %"),
            _cell(row["adapter_bytes"], "{:,.1f}", 1e-3),
            ", ".join(filter(None, notes)),
        )
        rows.append(cells)
    direction = "higher" if metric.higher_is_better else "lower"
    head = f"{metric.label} ({metric.unit}, {direction} is better), ranked on the validation rows"
    head += ". MB are peaks over the loaded base."
    return "\n".join((head, *_aligned(rows)))


def paragraphs(sentences: Sequence[str], *notes: str) -> str:
    """Wraps texts into lines of at most WIDTH letters, after an empty line; empty if there is none."""
    texts = [textwrap.fill(text, WIDTH) for text in (*sentences, *notes) if text]
    return "\n".join(("", *texts, "")) if texts else ""


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligns text to the left and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [str.ljust if i in (1, len(widths) - 1) else str.rjust for i in range(len(widths))]  # names and notes
    columns = list(zip(aligned, widths, strict=True))
    return [
        "  ".join(align(cell, width) for (align, width), cell in zip(columns, row, strict=True)).rstrip()
        for row in rows
    ]


def _cell(value: Any, form: str, factor: float = 1.0) -> str:
    import pandas as pd

    return "-" if pd.isna(value) else form.format(float(value) * factor)


def _score(value: float, places: int, *, signed: bool = False) -> str:
    return "-" if math.isnan(value) else decimal(value, places, signed=signed)
