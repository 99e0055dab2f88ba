"""Asks how to split a table that has dates, repeated ids, or one row for each pair of both (a panel)."""

import re
from collections.abc import Iterable, Sequence
from itertools import product

import pandas as pd

from tabtune_core.data.findings import Column, Question
from tabtune_core.data.reading.dates import MEANS
from tabtune_core.settings import RunSettings, SplitBy

AT_RANDOM = "at random"
ORDERED: tuple[SplitBy, ...] = ("time", "group")
OFFERED, MOST_MISSING = 3, 0.5
"""Most columns offered for each kind of split, and most missing cells of one."""
FEWEST_DAYS, FEWEST_GROUPS = 10, 10
ROWS_A_GROUP = (1.1, 50.0)
"""Mean rows per id: below this range, ids hardly recur; above, they are categories, such as the branches of a shop."""
FEWEST_OBSERVED, FEWEST_MOMENTS, FULL_PANEL, SOME_COPIES = 5, 3, 0.5, 1.1
"""Of a panel: fewest observed units and moments, least share of their pairs that are rows, most rows per pair."""
TIME_NAME = re.compile(r"(?i:date|timestamp|date_?time|time_stamp|year|yr|jahr)")
MOMENT_NAME = re.compile(rf"{TIME_NAME.pattern}|(?i:time|month|quarter|week|day|hour|minute|period|wave|season|visit)")
DAYS_OF_A_MONTH = 31
BIRTH_NAME = re.compile(r"(?i)birth|(^|[\W_])(dob|born)([\W_]|$)|geburt|geboren")
"""Dates of birth say who a row is about, not when it was seen."""
SUBJECTS = (
    "patient|customer|client|user|subject|person|member|participant|student|household|family|account|session|driver"
    "|visitor|author|kunde|mitarbeiter"
)
THINGS = f"{SUBJECTS}|pat|kunden|patienten|acct|order|invoice|loan|policy|contract|case|ticket|machine"
ID_NAME = re.compile(
    rf"(?i:(^|.*[_\W])(id|uuid|guid|mrn|pid))|.*[a-z]I[Dd]|(?i:({SUBJECTS})[_\W]*(name)?\W*)"  # not "paid"
    rf"|(?i:({THINGS})[_\W]*(id|no|nr|num|number|nummer|key|code)\W*)"
)


def split_question(frame: pd.DataFrame, columns: Sequence[Column], target: str) -> Question | None:
    """Returns the question how to split a table that has dates or repeated ids or is a panel; None for other tables."""
    rows = len(frame)
    there = [column for column in columns if column.name != target and column.missing <= MOST_MISSING * rows]
    times = [column.name for column in there if _is_time(column)][:OFFERED]
    groups = [column.name for column in there if _repeats(column, rows - column.missing)][:OFFERED]
    why = []
    if panel := _panel(frame, there):
        observed, moments = panel
        each = f"each of {observed.unique:,} values of {observed.name!r} has at most one row"
        why.append(f"The table is a panel: {each} at each of {moments.unique:,} values of {moments.name!r}.")
        groups, times = list(dict.fromkeys([observed.name, *groups])), list(dict.fromkeys([moments.name, *times]))
    if times:
        later = "If new rows will be later, split by time: the latest rows are the test."
        why.append(f"{', '.join(map(repr, times))}: times. {later}")
    if groups:
        new = "If new rows have new ones, split by group: each is in one part."
        why.append(f"{', '.join(map(repr, groups))}: ids in several rows. {new}")
    if not why:
        return None
    message = f"{' '.join(why)} At random, training rows resemble the test rows and scores look too good."
    answers = [written("time", name) for name in times] + [written("group", name) for name in groups]
    return Question("split", message, (AT_RANDOM, *answers))


def last_settings(earlier: Iterable[RunSettings], table: str, target: str | None = None) -> RunSettings | None:
    """Returns the settings of the last run on a table, if possible one for ``target``; ``earlier`` are by start."""
    last = None
    for settings in earlier:
        if settings.dataset == table and (last is None or settings.target == target or last.target != target):
            last = settings
    return last


def all_answers(columns: Sequence[Column], target: str) -> list[str]:
    """Returns every split that can be chosen, the likely ones first; whether one is possible is checked later."""
    others = [column for column in columns if column.name != target]
    times = [one for one in others if one.kind in (*MEANS, "number", "ignored")]
    likely = [written("time", one.name) for one in times if _is_time(one)]
    words = sorted(others, key=lambda one: one.kind not in ("category", "text"))
    groups, rest = (written("group", one.name) for one in words), (written("time", one.name) for one in times)
    return list(dict.fromkeys([AT_RANDOM, *likely, *groups, *rest]))


def written(by: SplitBy, column: str | None) -> str:
    """Writes a split as an answer.

    >>> written("time", "sold on"), read_answer("by group: id: new"), read_answer("at random")
    ('by time: sold on', ('group', 'id: new'), ('random', None))
    """
    return AT_RANDOM if by == "random" else f"by {by}: {column}"


def read_answer(answer: str) -> tuple[SplitBy, str | None]:
    """Reads how to split, and by which column, from an answer."""
    for by in ORDERED:
        if answer.startswith(f"by {by}: "):
            return by, answer.removeprefix(f"by {by}: ")
    return "random", None


def _panel(frame: pd.DataFrame, columns: Sequence[Column]) -> tuple[Column, Column] | None:
    """Returns the columns of the fullest panel, unit and moment: most of their pairs have one row, none has several."""
    whole = [column for column in columns if not column.missing]
    moments = [one for one in whole if one.kind in ("date", "datetime") or MOMENT_NAME.fullmatch(one.name.strip())]
    pairs = [
        (observed, moment)
        for observed, moment in product(whole, moments)
        if observed.kind in ("category", "text", "number")
        and not any(MOMENT_NAME.fullmatch(part) for part in re.split(r"[\W_]+", observed.name))
        and observed.unique >= FEWEST_OBSERVED
        and moment.unique >= FEWEST_MOMENTS
        and FULL_PANEL <= len(frame) / (observed.unique * moment.unique) <= SOME_COPIES
    ]
    copies = frame.duplicated().sum() if pairs else 0
    for observed, moment in sorted(pairs, key=lambda pair: pair[0].unique * pair[1].unique):
        if frame.duplicated([observed.name, moment.name]).sum() <= copies:
            return observed, moment
    return None


def _is_time(column: Column) -> bool:
    if column.kind in ("date", "datetime"):
        return column.unique >= FEWEST_DAYS and not BIRTH_NAME.search(column.name)
    coded = {len(example.removesuffix(".0")) for example in column.examples} == {1}  # such as 0 to 6
    named = TIME_NAME.fullmatch(column.name.strip())
    days = named and "date" in named[0].lower() and column.unique <= DAYS_OF_A_MONTH
    return column.kind == "number" and column.unique >= 3 and not coded and named is not None and not days


def _repeats(column: Column, filled: int) -> bool:
    """Whether a column is, by its name, a recurring id of what the rows are about: words or whole numbers."""
    few, many = ROWS_A_GROUP
    if column.unique < FEWEST_GROUPS or not few <= filled / column.unique <= many:
        return False
    fractions = any(re.search(r"[.,eE]", example.removesuffix(".0")) for example in column.examples)
    things = column.kind in ("category", "text") or (column.kind == "number" and not fractions)
    return things and ID_NAME.fullmatch(column.name.strip()) is not None
