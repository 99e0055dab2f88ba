"""Durations: how people and programs write them, and in which unit of time a column of them is."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tabtune_core.data.reading.number_formats import SIGNS, Fitting, NumberFormat
from tabtune_core.data.reading.unread_cells import STRAY_SHARE

TYPED_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:e[+-]\d+)?(?: s)?")
"""A number or duration as it is written for a typed file."""


def _spans(parts: Sequence[str], between: str = r",?\s*") -> str:
    """Returns a pattern for one or more of ``parts`` in their order."""
    return "|".join(
        part + "".join(f"({between}{later})?" for later in parts[place + 1 :]) for place, part in enumerate(parts)
    )


def _added(worth: Mapping[str, float]) -> str:
    """Returns SQL for the sum of the numbers before each mark, times the worth of the mark."""
    number = "coalesce(TRY_CAST(regexp_extract({{cell}}, '(-?[\\d.]+)\\s*{mark}', 1) AS DOUBLE), 0)"
    return " + ".join(f"{times} * {number.format(mark=mark)}" for mark, times in worth.items())


SECONDS = {"d(ays?)?": 86400, "h((ou)?rs?)?": 3600, "m(in(ute)?s?)?": 60, "s(ec(ond)?s?)?": 1}
"""How many seconds each unit of time is."""
METRES_OR_MINUTES = "m"
"""The unit of a column without other units of time, whose unit would be that of SPANS."""
SPANS = NumberFormat(
    "units",
    "Days, hours, minutes and seconds, as minutes,",
    _spans([rf"\d+(\.\d+)?\s*{unit}" for unit in SECONDS]),
    _added({unit[0]: seconds / 60 for unit, seconds in SECONDS.items()}),
    "d, h, m or s",
)
_ISO = _spans((r"\d+H", r"\d+M", r"\d+(\.\d+)?S"), "")
CLOCKED = NumberFormat(
    "units",
    "Minutes and seconds, as seconds,",  # also durations of days, as Python and pandas write them in CSV and JSON
    rf"(-?\d+ days?,? \+?\d+:|\d+:)?\d+:[0-5]\d(\.\d+)?|P(\d+D(T({_ISO}))?|T({_ISO}))",
    _added({"day": 86400, "D": 86400, "H": 3600, "M": 60, "S": 1})
    + "".join(
        f" + {60**place} * coalesce(TRY_CAST(regexp_extract(split_part({{cell}}, ':', {-1 - place}), '[\\d.]+$') AS "
        "DOUBLE), 0)"
        for place in range(3)
    ),
    "seconds",
)


def seconds_in(unit: str) -> int | None:
    """Returns how many seconds the recorded ``unit`` of a column is, or None if it is no unit of time.

    >>> [seconds_in(unit) for unit in ("h", "mins", "d, h, m or s", "seconds", "m", "km")]
    [3600, 60, 60, 1, None, None]
    """
    known = {SPANS.unit: 60, CLOCKED.unit: 1, METRES_OR_MINUTES: None}
    return (
        known[unit]
        if unit in known
        else next((seconds for one, seconds in SECONDS.items() if re.fullmatch(one, unit)), None)
    )


def values_in(unit: str | None) -> list[str]:
    """Returns SQL for durations in the unit of their column; without one it may be of an earlier version, which
    recorded no seconds.
    """
    if unit is None:
        return [
            Fitting(CLOCKED, "cell").value,
            Fitting(SIGNS, "regexp_replace(cell, ' s$', '')").value,
        ]  # 90 s is of a typed file
    if (worth := seconds_in(unit)) is None:
        return []
    clocked = (
        CLOCKED if unit == CLOCKED.unit else replace(CLOCKED, pattern=CLOCKED.pattern.replace(":)?", ":)", 1))
    )  # 2:33 may be hours
    spans = replace(SPANS, value=_added({one[0]: seconds / worth for one, seconds in SECONDS.items()}))
    return [f"({Fitting(clocked, 'cell').value}) / {worth}", Fitting(spans, "cell").value]


def unit_of_typed(sample: Sequence[str]) -> str | None:
    """Returns the "s" of durations as typed files give them if nearly all other cells are such durations or plain
    numbers, or None.

    >>> unit_of_typed(["0 s"]), unit_of_typed(["3600 s", "-1.5"]), unit_of_typed(["3600 s", "007"]), unit_of_typed(["1", "2"])
    ('s', 's', None, None)
    """  # noqa: E501
    typed = [cell for cell in sample if TYPED_NUMBER.fullmatch(cell)]
    return "s" if any(cell[-1] == "s" for cell in typed) and len(typed) >= len(sample) * (1 - STRAY_SHARE) else None
