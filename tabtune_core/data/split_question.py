"""Whether a table needs a split other than at random: asked where it has a column of dates or of repeated ids.

In: what is known of the columns. Out: a question with ready answers, or None. An answer does not make the table be read again.
"""

import re
from collections.abc import Sequence

from tabtune_core.data.findings import Column, Question
from tabtune_core.settings.run import SplitBy

AT_RANDOM = "at random"
ORDERED: tuple[SplitBy, ...] = ("time", "group")
OFFERED = 3
"""Columns of one kind that are named, at most."""
MOST_MISSING = 0.5
FEWEST_DAYS, FEWEST_GROUPS, FEWEST_CODES = 10, 10, 50
ROWS_A_GROUP = (1.1, 50.0)
"""Rows to an id, on average: below, ids hardly recur; above, they are rather kinds of things, as a shop's branches are."""
TIME_NAME = re.compile(r"(?i:date|timestamp|date_?time|time_stamp|year|yr)")
SUBJECTS = "patient|customer|client|user|subject|person|member|participant|student|household|family|account|session|driver|visitor|author"
ID_NAME = re.compile(
    rf"(?i:(^|.*[_\W])(id|uuid|guid))|.*[a-z]I[Dd]|(?i:({SUBJECTS})[_\W]*(id|no|nr|num|number|code|key|name)?\W*)"  # not "paid"
)


def split_question(columns: Sequence[Column], rows: int, target: str) -> Question | None:
    """Asks how to split a table of ``rows`` rows, where it has dates, or ids that come again."""
    there = [column for column in columns if column.name != target and column.missing <= MOST_MISSING * rows]
    times = [column.name for column in there if _is_time(column)][:OFFERED]
    groups = [column.name for column in there if _repeats(column, rows - column.missing)][:OFFERED]
    if not times and not groups:
        return None
    why = []
    if times:
        why.append(
            f"{_listed(times)} {'holds' if len(times) == 1 else 'hold'} times: if new rows come after these, split by time, so that the "
            "latest rows test."
        )
    if groups:
        why.append(
            f"Values of {_listed(groups)} come again in several rows, as ids do: if new rows have new ones, split by group: each is then "
            "in one part only."
        )
    message = f"{' '.join(why)} A split at random trains on rows like the test rows, so scores look too good."
    answers = [written("time", name) for name in times] + [written("group", name) for name in groups]
    return Question("split", message, "split", (AT_RANDOM, *answers))


def all_answers(columns: Sequence[Column], target: str) -> list[str]:
    """Every split that may be asked for. Whether a column can split is checked when its values are read."""
    names = [column.name for column in columns if column.name != target]
    times = [column.name for column in columns if column.name != target and column.kind in ("date", "number", "ignored")]
    return [AT_RANDOM, *(written("time", name) for name in times), *(written("group", name) for name in names)]


def written(by: SplitBy, column: str | None) -> str:
    """A split as an answer.

    >>> written("time", "sold on"), read_answer("by group: id: new"), read_answer("at random")
    ('by time: sold on', ('group', 'id: new'), ('random', None))
    """
    return AT_RANDOM if by == "random" else f"by {by}: {column}"


def read_answer(answer: str) -> tuple[SplitBy, str | None]:
    """What an answer says: how to split, and by which column."""
    for by in ORDERED:
        if answer.startswith(f"by {by}: "):
            return by, answer.removeprefix(f"by {by}: ")
    return "random", None


def _is_time(column: Column) -> bool:
    if column.kind == "date":
        return column.unique >= FEWEST_DAYS
    return column.kind == "number" and column.unique >= 3 and TIME_NAME.fullmatch(column.name.strip()) is not None


def _repeats(column: Column, filled: int) -> bool:
    """Whether a column is an id of whom or what a row is about: named as one, or made of codes with digits, and never a mere number."""
    few, many = ROWS_A_GROUP
    if column.unique < FEWEST_GROUPS or not few <= filled / column.unique <= many:
        return False
    whole = not any(re.search(r"[.,eE]", example.removesuffix(".0")) for example in column.examples)
    if ID_NAME.fullmatch(column.name.strip()):
        return column.kind in ("category", "text") or (column.kind == "number" and whole)
    codes = all(re.search(r"\d", example) for example in column.examples)
    return column.kind in ("category", "text") and column.unique >= FEWEST_CODES and codes


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(map(repr, names[:-1])), repr(names[-1]))))
