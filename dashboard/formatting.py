"""States, sizes, times and numbers as text for people."""

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dashboard.server.people import by
from tabtune_core.data.findings import ReadingChoices
from tabtune_core.data.reading.names import DIRECTIONS
from tabtune_core.data.target import Way
from tabtune_core.settings import REFERENCES, SETTINGS, STRATEGY_NAMES, RunSettings
from tabtune_core.settings.labels import numbered, told_apart
from tabtune_core.store.run_row import Run, Status, Sweep
from tabtune_core.wording import counted, few, number

STATUS: dict[Status, str] = {
    "queued": "○ queued",
    "running": "► running",
    "finished": "✓ finished",
    "stopped": "◐ stopped, best kept",
    "diverged": "⚠ diverged",
    "cancelled": "○ cancelled",
    "failed": "✕ failed",
    "interrupted": "✕ interrupted",
}
WAY_OUT: dict[Status, str] = {  # a run that diverged has a row in the troubleshooting table
    "interrupted": "The run's process ended without an error message. Resume it, or run it again; the other runs of "
    "the sweep continue.",
    "cancelled": "Cancelled; nothing was kept. You can run it again.",
}
WAYS: dict[Way, str] = {
    "numbers": "Its numbers (regression)",
    "halves": "Two classes: up to the median, and above",
    "classes": "Classes: one per value",
}
TRAIN_SECONDS_HELP = (
    "Training time of the run: steps and evaluations on the validation rows. Cached outputs of frozen layers count with"
    " the time that computing them took, so that runs are comparable in any order. Cache reads and writes do not count,"
    " nor does waiting for a core that other programs use."
)
SILENCE_SECONDS = 15
"""A running process sends a heartbeat every second or two."""


def silence(run: Run) -> str:
    """Returns for example ``no heartbeat for 42 s``; empty unless the run is running and has been silent for a while."""
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


def reading_words(readings: Sequence[ReadingChoices]) -> list[str]:
    """Describes how several readings of a file differ; empty texts if they do not.

    >>> reading_words([ReadingChoices(kinds=(("id", "ignored"),)), ReadingChoices(), ReadingChoices(delimiter=";")])
    ['without id', 'as detected', 'separator ;']
    """
    differing = [name for name in _READING_WORDS if len({getattr(one, name) for one in readings}) > 1]
    every = set.intersection(*(set(one.kinds) for one in readings))
    said: list[list[str]] = []
    for one in readings:
        chosen = {name: value for name in differing if (value := getattr(one, name)) not in (None, ())}
        left_out = [name for name, kind in one.kinds if kind == "ignored" and (name, kind) not in every]
        others = [f"{name} as {kind}" for name, kind in one.kinds if kind != "ignored" and (name, kind) not in every]
        parts = [_READING_WORDS[name](value) for name, value in chosen.items()]
        parts += [f"without {few(left_out)}"] if left_out else []
        said.append([*parts, few(others)] if others else parts)
    return [", ".join(parts) or ("as detected" if any(said) else "") for parts in said]


_READING_WORDS: dict[str, Callable[[Any], str]] = {
    "encoding": str,
    "delimiter": lambda mark: f"separator {'tab' if mark == chr(9) else mark}",
    "header": lambda header: "first line names" if header else "first line data",
    "day_first": lambda first: {True: "day first", False: "month first"}.get(first, "year first"),
    "missing_marks": lambda marks: f"{few(marks)} missing",
    "sheet": lambda sheet: f"sheet {sheet}",
    "skip_last": lambda rows: f"without the last {rows}" if rows else "with the last rows",
    "drop_copies": lambda dropped: "without copies" if dropped else "with copies",
}


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
    return f"{sweep.name or 'Sweep'} · {counted(total, 'run')} · {moment(sweep.created)}{by(sweep.owner)}"


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
    """Returns run id -> a name that no other run of the list has.

    The names of zero-shot and full fine-tuning begin with the strategy. Equal names get whichever of model, alpha,
    dropout, targets and rate differs, the time if the runs are of several sweeps, and a number if a run is repeated.
    """
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
    """Returns the run's name; charts identify a baseline by the start of its name, so a renamed one keeps it and no
    other run gets it.
    """
    own, baselines = STRATEGY_NAMES[run.settings.strategy], (STRATEGY_NAMES["inference"], STRATEGY_NAMES["base-ft"])
    known = run.name.startswith(own) if own in baselines else not run.name.startswith(baselines)
    return run.name if known else f"{own}: {run.name}"


LABELS = {row.path: row.label for row in SETTINGS.values() if row.label}


def with_labels(text: str) -> str:
    """Replaces the names of settings in an error by the labels of their fields on the pages.

    >>> with_labels("train.lr_ratio is 0.0; it must be above 0."), with_labels("test_share is 2.0")
    ('Rate of B against A (LoRA+) is 0.0; it must be above 0.', 'Test rows (share) is 2.0')
    """
    return re.sub(r"^\w+(?= is )|\b(?:lora|train)\.[a-z_]+", lambda name: LABELS.get(name[0], name[0]), text)


def plain(text: str) -> str:
    """Escapes text, for example from a file, so that Markdown shows it unchanged.

    Streamlit looks for icons, emoji, coloured text and addresses after it has removed the escapes; a zero-width space
    breaks them up.
    """
    text = DIRECTIONS.sub("", re.sub(r"[ \t\r\n\f\v]+", " ", text))  # line breaks and indents would make blocks
    escaped = re.sub(r"[\\`*_{}\[\]()#+\-.!|<>~$:&=^]", r"\\\g<0>", text)
    return re.sub(r"(:)(?=[^\s\d]|\d+\\:)|(\bwww)(?=\\\.)|(?<=\S)(?=@\S)", "\\g<0>\u200b", escaped, flags=re.IGNORECASE)


def name_in_label(name: str) -> str:
    r"""Escapes a name like ``plain``, but only where it must: a screen reader is told the label of a widget with its
    backslashes.

    >>> name_in_label("body_mass (2-4 kg)"), name_in_label("_a_")
    ('body_mass (2-4 kg)', '\\_a\\_')
    """
    text = plain(name)
    return text if re.match(r"\s*\d", name) else re.sub(r"(?<=\w)\\([_.\-])(?=\w)|\\([()])", r"\1\2", text)


def with_code(text: str) -> str:
    """Escapes text like ``plain``, but shows words between backticks as code."""
    parts = enumerate(text.split("`"))
    return "".join(
        f"`{' '.join(part.split())}`" if place % 2 and part.strip() else plain(part) for place, part in parts
    )
