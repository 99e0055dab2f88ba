"""Finds the order of day, month and year in dates that could be read in several."""

import re
from collections.abc import Sequence
from datetime import date
from math import log, log1p

import numpy as np
from numpy.typing import NDArray

from tabtune_core.data.findings import DateOrder
from tabtune_core.data.reading.date_formats import SWAPPED, YEAR_FIRST

ORDERS: dict[DateOrder, tuple[str, ...]] = {True: (*SWAPPED,), False: (*SWAPPED.values(),), "year": (YEAR_FIRST,)}
ORDER_WORDS: dict[DateOrder, tuple[str, str]] = {
    True: ("true", "day first"),
    False: ("false", "month first"),
    "year": ("year", "year first"),
}
"""The answer to a question, and its words."""
PLACES: dict[DateOrder, tuple[int, int, int]] = {True: (2, 1, 0), False: (2, 0, 1), "year": (0, 1, 2)}
"""Where year, month and day stand."""
MONTH, NO_MONTH = "(0?[1-9]|1[0-2])", r"(1[3-9]|2\d|3[01])"
ONLY_OTHER: dict[DateOrder, str] = {
    order: rf"^({first} {second} \d\d(\d\d)?|{first}{second}(19|20)\d\d)\b"
    for order, first, second in ((True, MONTH, NO_MONTH), (False, NO_MONTH, MONTH))
}
"""Patterns of simplified dates that are none in an order, but one if day and month are swapped."""
SURE = 5
"""By how many nats the cells of a column must be likelier in one order than in another."""


def likely_orders(sample: Sequence[str], orders: Sequence[DateOrder]) -> Sequence[DateOrder]:
    """Returns the likely ones of several orders in which the cells can be read: those with two digits of the year
    first, or last, or both.

    The steps between neighbours take fewest nats to write in the right order, and few dates lie after next year. A part
    that never varies may be the year, or the day of each month.
    """
    if "year" not in orders or len(orders) < 2:
        return orders
    cells = dict.fromkeys(tuple(map(int, parts)) for cell in sample if len(parts := re.findall(r"\d+", cell)[:3]) == 3)
    read = [[day for parts in cells if (day := _day(parts, order))] for order in orders]
    cost = [sum(map(log1p, np.abs(np.diff(days)))) + _turns(np.diff(days)) for days in read]
    last = min(range(len(orders) - 1), key=cost.__getitem__)
    gain, others = cost[last] - cost[-1], orders[:-1]
    late_last, late_year = (max(read[place], default=0) > date.today().toordinal() + 366 for place in (last, -1))
    if late_year and not late_last:
        return others if gain < 0 else orders
    if late_last and not late_year:
        return orders[-1:] if gain > SURE else orders
    varied = [len(set(values)) > 1 for values in zip(*cells, strict=True)]
    if gain > 2 * SURE and varied[0] and varied[1]:
        return orders[-1:]
    return others if gain < -SURE and varied[2] else orders


def _day(parts: Sequence[int], order: DateOrder) -> int:
    """Returns the number of a day whose year has two digits, 0 if there is no such day."""
    try:
        year, month, day = (parts[place] for place in PLACES[order])
        return date(year + (2000 if year < 69 else 1900), month, day).toordinal()
    except ValueError:
        return 0


def _turns(steps: NDArray[np.int_]) -> float:
    """Returns how many nats it takes to write which steps go up."""
    ups = float(np.mean(steps > 0)) if len(steps) else 0.0
    return sum(-len(steps) * share * log(share) for share in (ups, 1 - ups) if share > 0)
