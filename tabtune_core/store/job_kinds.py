"""The kinds of jobs: their titles, functions and lanes. Loads no torch.

In: the kind of a job, or its arguments. Out: plain facts for the pages, the command line and the worker.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Lane = Literal["short", "long"]
"""Jobs of one lane run one after the other; the lanes run side by side: a prediction need not wait for a curve."""
LANES: tuple[Lane, ...] = get_args(Lane)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobKind:
    """Facts about one kind of job."""

    title: str
    """For people, for the middle of a sentence, without an article."""
    function: str
    """The function that carries it out, as ``module.name`` below ``tabtune_core.execution.jobs``."""
    lane: Lane = "long"


KINDS: dict[str, JobKind] = {
    "predict": JobKind(title="prediction", function="predict.predict", lane="short"),
    "pace": JobKind(title="time measurement", function="measure_pace.measure_pace", lane="short"),
    "export": JobKind(title="export", function="export.export"),
    "verify": JobKind(title="verification", function="export.verify"),
    "rank_curve": JobKind(title="rank curve", function="truncate_rank.rank_curve"),
    "columns": JobKind(title="importance of columns", function="column_importance.column_importance"),
}
UNKNOWN = JobKind(title="job", function="")
"""Stands for kinds that this version does not know."""


def kind_of(name: str) -> JobKind:
    """Returns one of KINDS, or UNKNOWN."""
    return KINDS.get(name, UNKNOWN)


def uses(arguments: Any) -> frozenset[str]:
    """Returns every string in a job's arguments: the ids of runs, adapters and tables that it needs, and others.

    >>> sorted(uses({"table": "t1", "adapters": [{"id": "r1", "title": "LoRA"}], "base": True}))
    ['LoRA', 'r1', 't1']
    """
    if isinstance(arguments, str):
        return frozenset({arguments})
    inner = arguments.values() if isinstance(arguments, Mapping) else arguments
    return frozenset[str]().union(*map(uses, inner)) if isinstance(arguments, Mapping | list | tuple) else frozenset()
