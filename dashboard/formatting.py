"""States, sizes, times and numbers as text for people."""

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from tabtune_core.data.reading.names import DIRECTIONS
from tabtune_core.data.target import Way
from tabtune_core.settings import REFERENCES, SETTINGS, STRATEGY_NAMES, RunSettings
from tabtune_core.settings.labels import numbered, told_apart
from tabtune_core.store.run_row import Run, Status, Sweep
from tabtune_core.wording import counted, number

STATUS: dict[Status, str] = {
    "queued": "○ queued",
    "running": "► running",
    "waiting": "◔ waits at a rung",
    "finished": "✓ finished",
    "stopped": "◐ stopped, best kept",
    "diverged": "⚠ diverged",
    "outrun": "◌ stopped at a rung",
    "cancelled": "○ cancelled",
    "failed": "✕ failed",
    "interrupted": "✕ interrupted",
}
WAY_OUT: dict[Status, str] = {  # a run that diverged has a row in the troubleshooting table
    "interrupted": "The run's process ended without an error message. Resume it, or run it again; the other runs of "
    "the sweep continue.",
    "outrun": "Another learning rate of this rank was better on the validation rows up to there. The curves stay.",
    "cancelled": "Cancelled; nothing was kept. You can run it again.",
}
WAYS: dict[Way, str] = {
    "numbers": "Its numbers (regression)",
    "halves": "Two classes: up to the median, and above",
    "classes": "Classes: one per value",
}
TRAIN_SECONDS_HELP = (
    "Steps and evaluations, with the time that cached outputs of frozen layers took; without waiting for a core."
)
SILENCE_SECONDS = 15
"""A running process sends a heartbeat every second or two."""


def status_of(run: Run) -> str:
    """Returns the status with its mark; of a run that was outrun, also the rung."""
    return f"◌ {run.ended_as}" if run.status == "outrun" else STATUS[run.status]


def silence(run: Run) -> str:
    """Returns for example ``no heartbeat for 42 s``; empty unless the run is running and silent."""
    if run.status != "running" or run.heartbeat is None or (quiet := time.time() - run.heartbeat) <= SILENCE_SECONDS:
        return ""
    return f"no heartbeat for {duration(quiet)}"


YEAR_SECONDS = 365.25 * 24 * 3600


def duration(seconds: float | None) -> str:
    """Returns for example ``42 s``, ``3 min 05 s``, ``2 h 10 min`` or ``1.5 years``; N/A if it is not known."""
    if seconds is None or seconds != seconds:
        return "N/A"
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    if seconds >= YEAR_SECONDS:
        return f"{seconds / YEAR_SECONDS:,.1f} years"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def megabytes(size_bytes: float | None) -> str:
    """Returns bytes as MB (a million bytes), or kB if small, with one decimal; N/A if they could not be read."""
    if size_bytes is None or size_bytes != size_bytes:
        return "N/A"
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:,.1f} kB"


def cell_number(value: float) -> str:
    """Writes a cell; whole numbers of four digits have no comma, since they may be years.

    >>> cell_number(2017.0), cell_number(12017.0), cell_number(2017.5)
    ('2017', '12,017', '2,017.5')
    """
    return f"{value:z.0f}" if value.is_integer() and abs(value) < 10_000 else number(value)


def moment(unix_seconds: float) -> str:
    """Returns day and time in this machine's time zone."""
    return time.strftime("%d %b %H:%M", time.localtime(unix_seconds))


def sweep_title(sweep: Sweep) -> str:
    """Returns the title of a sweep in a list."""
    total = sum(sweep.counts.values())
    return f"{sweep.name or 'Sweep'} · {counted(total, 'run')} · {moment(sweep.created)}"


def sweep_titles(sweeps: Mapping[str, Sweep]) -> dict[str, str]:
    """Returns distinct titles by id; ``sweeps`` are newest first."""
    return no_two_alike({name: sweep_title(sweep) for name, sweep in sweeps.items()})


def no_two_alike(titles: Mapping[str, str]) -> dict[str, str]:
    """Number equal titles, all but the oldest, because a select box identifies its options by title. ``titles`` are
    newest first.

    >>> no_two_alike({"third": "Sweep", "second": "Sweep", "first": "Ranks"})
    {'third': 'Sweep (2)', 'second': 'Sweep', 'first': 'Ranks'}
    """
    return dict(zip(titles, reversed(numbered([*titles.values()][::-1])), strict=True))


def labels(runs: list[Run]) -> dict[str, str]:
    """Returns run id -> a name that no other run of the list has: its own, and what differs between equal names."""
    settings = [run.settings for run in runs]
    names = told_apart(with_models([_by_strategy(run) for run in runs], settings), settings)
    sweeps = Counter(name for name, _ in {(name, run.sweep) for name, run in zip(names, runs, strict=True)})
    times = [moment(run.ended or run.created) for run in runs]
    names = [f"{name}, {ended}" if sweeps[name] > 1 else name for name, ended in zip(names, times, strict=True)]
    return dict(zip([run.id for run in runs], numbered(names), strict=True))


def with_models(names: Sequence[str], runs: Sequence[RunSettings]) -> list[str]:
    """Adds to each name its model if the runs have several, except to a reference, which has none."""
    several = len({run.model for run in runs}) > 1
    return [
        f"{name} · {run.model}" if several and run.strategy not in REFERENCES else name
        for name, run in zip(names, runs, strict=True)
    ]


def _by_strategy(run: Run) -> str:
    """Returns the run's name, which begins with the strategy for baselines only, since charts go by that."""
    own, baselines = STRATEGY_NAMES[run.settings.strategy], (STRATEGY_NAMES["inference"], STRATEGY_NAMES["base-ft"])
    known = run.name.startswith(own) if own in baselines else not run.name.startswith(baselines)
    return run.name if known else f"{own}: {run.name}"


LABELS = {row.path: row.label for row in SETTINGS.values() if row.label}


FLAGS = re.compile(
    r"(?:, or|,| or) --[\w-]+(?: \w+=\w+)?(?: on the command line)?"
    r"|\s\(--[\w-]+(?: \w+=\w+)?(?: leaves[^)]*)?\)|(?<=\()--[\w-]+, or "
)


def without_flags(text: str) -> str:
    """Removes flags of the command line from a message that also names the way out on a page.

    >>> without_flags("Leave them out (the button on Data, --drop-copies on the command line), or merge (--set a=5).")
    'Leave them out (the button on Data), or merge.'
    """
    return FLAGS.sub("", text)


def with_labels(text: str) -> str:
    """Replaces the names of settings in an error by the labels of their fields on the pages, and removes flags.

    >>> with_labels("train.lr_ratio is 0.0; it must be above 0."), with_labels("test_share is 2.0")
    ('Rate of B against A (LoRA+) is 0.0; it must be above 0.', 'Test rows (share) is 2.0')
    """
    names = r"^\w+(?= is )|\b(?:lora|train)\.[a-z_]+"
    return re.sub(names, lambda name: LABELS.get(name[0], name[0]), without_flags(text))


def plain(text: str) -> str:
    """Escapes text, for example from a file, so that Markdown shows it unchanged.

    A zero-width space breaks up what Streamlit looks for after it has removed the escapes: icons, emoji, addresses.
    """
    text = DIRECTIONS.sub("", re.sub(r"[ \t\r\n\f\v]+", " ", text))  # line breaks and indents would make blocks
    escaped = re.sub(r"[\\`*_{}\[\]()#+\-.!|<>~$:&=^]", r"\\\g<0>", text)
    return re.sub(r"(:)(?=[^\s\d]|\d+\\:)|(\bwww)(?=\\\.)|(?<=\S)(?=@\S)", "\\g<0>\u200b", escaped, flags=re.IGNORECASE)


def name_in_label(name: str) -> str:
    r"""Escapes a name like ``plain``, but only where it must: a screen reader reads the backslashes of a label.

    >>> name_in_label("body_mass (2-4 kg)"), name_in_label("_a_")
    ('body_mass (2-4 kg)', '\\_a\\_')
    """
    text = plain(name)
    return text if re.match(r"\s*\d", name) else re.sub(r"(?<=\w)\\([_.\-])(?=\w)|\\([()])", r"\1\2", text)
