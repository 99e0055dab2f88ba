"""Decides in which columns of a file a comma is the decimal mark, and asks where the file does not tell.

Part of the fourth step of reading. "1.234" and "1,234" alone may be a decimal number or have thousands.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from tabtune_core.data.findings import Finding, Question, Told
from tabtune_core.data.reading.batched_queries import quoted
from tabtune_core.data.reading.cells import Cells
from tabtune_core.data.reading.number_formats import BLANK, GAP, MONEY, SIGN
from tabtune_core.data.reading.progress import Job
from tabtune_core.data.reading.sql import first_row
from tabtune_core.data.reading.words import Typed

ROWS_SEEN = 10_000
LEAST_SURE = 0.2
"""Least number of sure marks per number with two meanings: a single slip must not change all others."""
BEFORE, AFTER = rf"{SIGN}?[ ]?(?:(?:{MONEY}|%)[ ]?)?{SIGN}?", rf"(?:{BLANK}[^\s\d,.;:]{{1,8}})?"


def _sure(mark: str, between: str) -> str:
    """Returns a pattern for numbers whose ``mark`` must be decimal, or what stands ``between`` must not."""
    grouped = rf"\d{{1,3}}(?:(?:{between}|{GAP})\d{{3}})+"
    return rf"(?:(?:\d*|{grouped}){mark}(?:\d{{1,2}}|\d{{4,}})|0{mark}\d{{3}}|\d{{1,3}}(?:{between}\d{{3}}){{2,}})"


SURE_POINT, SURE_COMMA = _sure(r"\.", ","), _sure(",", r"\.")
EITHER = r"[1-9]\d{0,2}[.,]\d{3}"
GROUPED_POINT = re.compile(rf"{BEFORE}(?:[1-9]\d{{0,2}}\.\d{{3}}|\d{{1,3}}){AFTER}")


@dataclass(slots=True)
class DecimalMarks:
    """What is known about the decimal marks of a file, and what its columns of numbers show."""

    known: Mapping[str, bool]
    """Whether a comma is decimal, by column, from the person or an earlier reading."""
    of_file: bool | None
    """Whether sure decimal commas tell how all numbers of the file are meant; None where nothing does."""
    comma_first: bool
    """Whether a comma is more likely decimal than between thousands, as beside ";" between cells."""
    asks: bool
    """Whether this is a table from a person, in which points may separate thousands."""
    seen: dict[str, tuple[bool | None, list[str]]] = field(default_factory=dict)
    """For each column of numbers, whether its comma was read as decimal, and a sample of its cells."""

    @classmethod
    def of(cls, cells: Cells, job: Job, *, own: bool | None) -> Self:
        """Returns what is known before the columns are typed; ``own`` is that of ``finish``."""
        choices, to_predict = job.choices, job.fewest == 1
        if own is None:
            return cls({}, None, comma_first=False, asks=False)
        known = dict(choices.decimal_commas)
        numbers = {name for name, kind in choices.kinds if kind == "number"} if to_predict else {*cells.names}
        of_file = None if len({*known.values()}) > 1 else mark_of_file(job, cells, numbers)
        if to_predict and of_file is not None:
            known = {}
        return cls(known if own or not to_predict else {}, of_file, choices.delimiter == ";", asks=not to_predict)

    def decimal_comma(self, name: str) -> bool | None:
        """Returns whether the column ``name`` has decimal commas, None if it is not known."""
        return self.known.get(name, self.of_file)

    def see(self, names: Sequence[str], typed: Sequence[Typed], samples: Sequence[Sequence[str]]) -> None:
        """Takes note of the columns of numbers, as they were typed."""
        for name, kind, sample in zip(names, typed, samples, strict=True):
            if kind.kind == "number":
                self.seen[name] = kind.decimal_comma, [*sample]

    def told(self) -> Told:
        """Returns the finding and the question about points that may separate thousands."""
        doubts = {
            name: shown
            for name, (comma, cells) in self.seen.items()
            if self.asks and self.of_file is None and name not in self.known and not comma
            if (shown := max((cell for cell in cells if "." in cell), default=""))
            if all(map(GROUPED_POINT.fullmatch, cells)) and (self.comma_first or not all("." in cell for cell in cells))
        }
        if not doubts:
            return [], []
        shown = ", ".join(f"{cell!r} in {name!r}" for name, cell in [*doubts.items()][:3])
        message = (
            f"All points in numbers have three digits after them, such as {shown}. They were read as decimal points."
        )
        offer = f"{message} If they separate thousands, say so."
        return [Finding("warning", "point", message)], [Question("point", offer, "decimal_commas", tuple(doubts))]

    def recorded(self) -> dict[str, bool]:
        """Returns ``ReadingChoices.decimal_commas`` of the typed table: new rows have the marks of their column."""
        if self.of_file:
            return dict.fromkeys(self.seen, True) | dict(self.known)
        commas = {name: comma for name, (comma, _) in self.seen.items() if comma is not None}
        if any(commas.values()):
            pointed = (name for name, (_, cells) in self.seen.items() if any("." in cell for cell in cells))
            commas = dict.fromkeys(pointed, False) | commas
        return {name: comma for name, comma in self.known.items() if name in self.seen} | commas


def mark_of_file(job: Job, cells: Cells, names: set[str]) -> bool | None:
    """Returns whether decimal marks of the columns ``names`` are commas, by those with one meaning."""
    columns = ", ".join(f"c{place}" for place, name in enumerate(cells.names) if name in names)
    if not columns:
        return None
    found = (
        f"sum(len(regexp_extract_all(text, {quoted(f'(?m)^{BEFORE}{number}{AFTER}$')})))"
        for number in (SURE_POINT, SURE_COMMA, EITHER)
    )
    rows = f"SELECT concat_ws(chr(10), {columns}) AS text FROM cells LIMIT {ROWS_SEEN}"
    points, commas, either = first_row(job.connection, f"SELECT {', '.join(found)} FROM ({rows})")
    if not points == commas == 0 and not (points and commas):
        return bool(commas) if (points or commas) >= LEAST_SURE * either else None
    return None
