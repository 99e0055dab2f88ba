"""What each kind of job is called, what carries it out, beside which others it goes on, and how long it may take. Loads no torch.

In: the kind of a job, or its arguments. Out: plain facts, for the pages, the command line and the worker.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tabtune_core.errors import SettingError

Lane = Literal["short", "long"]
"""Jobs of one lane wait for each other; the lanes go on side by side, so that a prediction need not wait for a curve."""
LANES: tuple[Lane, ...] = get_args(Lane)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobKind:
    """What is known of a kind before a job of it begins."""

    title: str
    """For people, in the middle of a sentence, without an article."""
    function: str
    """What carries it out: a module of ``tabtune_core.execution.jobs``, and a name in it."""
    lane: Lane = "long"
    minutes: float = 60.0
    """How long it may take, unless a person says otherwise; then it is ended."""


KINDS: dict[str, JobKind] = {
    "predict": JobKind(title="prediction", function="predict.predict", lane="short", minutes=30.0),
    "pace": JobKind(title="time measurement", function="measure_pace.measure_pace", lane="short", minutes=5.0),
    "export": JobKind(title="export", function="export.export"),
    "track": JobKind(title="export to a tracker", function="track.track"),
    "rank_curve": JobKind(title="rank curve", function="truncate_rank.rank_curve"),
    "context_curve": JobKind(title="context-row curve", function="context_curve.context_curve", minutes=120.0),
}
UNKNOWN = JobKind(title="job", function="")
"""What is assumed of a kind that this version does not know."""


def kind_of(name: str) -> JobKind:
    """One of KINDS, or what is assumed of others."""
    return KINDS.get(name, UNKNOWN)


def uses(arguments: Mapping[str, Any]) -> frozenset[str]:
    """The ids of runs, adapters and tables that a job of any kind needs: every text in its arguments, for no other text is such an id.

    >>> sorted(uses({"table": "t1", "adapters": [{"id": "r1", "title": "LoRA"}], "base": True}))
    ['LoRA', 'r1', 't1']
    """
    return frozenset(_texts(arguments))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def read_minutes(text: str) -> dict[str, float]:
    """Kind -> minutes that it may take, from for example ``120`` (each kind) or ``predict=10,context_curve=240``.

    >>> read_minutes("predict=10,export=2.5")
    {'predict': 10.0, 'export': 2.5}

    Raises:
        SettingError: the kind is unknown, or the number is not positive.
    """
    if not text.strip():
        return {}
    given = [part.rpartition("=") for part in text.split(",")]
    found: dict[str, float] = {}
    for kind, _, number in given:
        if kind.strip() not in KINDS and (kind or len(given) > 1):
            raise SettingError(f"There is no kind of job {kind.strip()!r} whose minutes could be set. Kinds: {', '.join(KINDS)}.")
        try:
            minutes = float(number)
        except ValueError:
            minutes = math.nan
        if not minutes > 0:
            raise SettingError(f"A job's time in minutes is {number.strip()!r}; it must be a positive number. Write 30, or predict=10.")
        found |= dict.fromkeys([kind.strip()] if kind else KINDS, minutes)
    return found
