"""The formats in which people write dates and times of day, as regular expressions of a cell and SQL for its moment."""

import re
from collections.abc import Iterable
from functools import reduce

from tabtune_core.data.findings import DateOrder

MONTH, DAY = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec", "mon|tue|wed|thu|fri|sat|sun"
LIKELY = re.compile(
    rf"(?=.{{4,40}}$)(?=.*\d)([\d\s/.,:+-]|({DAY}|{MONTH})[a-z]*|\d(st|nd|rd|th)|\b(of|gmt|utc)\b|[ap]\.?m\b|"
    r"(?<![a-z])[tqz](?![a-z]))+",
    re.IGNORECASE,
)
"""The parts of dates and times of day; whether a cell is one is decided by its format."""
LOCAL, TIME = r"\d{4}[-/]\d{1,2}[-/]\d{1,2}", r"[T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?"
ZONE = r"\s?([Zz]|UTC|GMT|[+-](0\d|1[0-4])(:?[0-5]\d)?)"
ZONED = f"regexp_full_match(cell, '{LOCAL}{TIME}{ZONE}')"
IN_OFFSET = r"regexp_replace(regexp_replace(cell, '\s?([Zz]|UTC|GMT)$', '+00'), '\s+([+-])', '\1')"
OFFSET = rf"regexp_replace({IN_OFFSET}, '([T ]\d{{1,2}}:\d{{2}})([+-])', '\1:00\2')"  # a cast needs seconds
STANDARD = (  # a plain cast drops everything after a time: offsets, zones, even PM
    f"CASE WHEN regexp_full_match(cell, '{LOCAL}({TIME})?') THEN TRY_CAST(cell AS TIMESTAMP) "
    rf"WHEN {ZONED} THEN make_timestamp(epoch_us(TRY_CAST({OFFSET} AS TIMESTAMPTZ))) END"
)
MARKS = ((r"[-/., ]+", " "), (r" $", ""), (r"^(\d{4})(\d\d)(\d\d) (\d+:)", r"\1 \2 \3 \4"))
"""Rules that put a blank for every mark except the colons of a time, and blanks into a date of digits."""
REWRITTEN = (
    (rf"^({DAY})[a-z]*[.,]?\s+", ""),
    (r"\b(\d{1,2})(st|nd|rd|th)\b( of\b)?", r"\1"),
    (
        r"\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)(uary|ruary|ch|il|e|y|ust|t|tember|ober|ember)\b",
        r"\1",
    ),
    (r"^(\d\d?)([a-z]{3})(\d\d|\d{4})\b", r"\1 \2 \3"),
    (r"(\d)t(\d)", r"\1 \2"),
    (r"(\d)\s*(z|utc|gmt|[+-]00:?00)$", r"\1"),
    (r"(\d)\s*([ap])\.?m\.?$", r"\1 \2M"),
    *MARKS,
    (r"^(\d{4}) ?q ?([1-4])$", r"q\2 \1"),
    *((rf"^q{quarter} ?(\d{{4}})$", rf"{month} \1") for quarter, month in enumerate(("jan", "apr", "jul", "oct"), 1)),
)
"""Rules that simplify a date with words before its format is tried: no weekday, short months, a quarter as its first
month.
"""


def _rewritten(cell: str, rules: Iterable[tuple[str, str]]) -> str:
    return reduce(lambda cell, rule: f"regexp_replace({cell}, '{rule[0]}', '{rule[1]}', 'g')", rules, cell)


SIMPLE = (
    f"CASE WHEN regexp_matches(cell, '[A-Za-z]') THEN {_rewritten('lower(cell)', REWRITTEN)} "
    f"ELSE {_rewritten('cell', MARKS)} END"
)
PARTS = (SIMPLE, STANDARD)
CLOCKS = ("%H:%M", "%H:%M:%S", "%H:%M:%S %f", "%I:%M %p", "%I:%M:%S %p")
CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(\s*[ap]\.?m\.?)?", re.IGNORECASE)
TIME_OF_DAY = f"coalesce(CAST(TRY_STRPTIME({SIMPLE}, {list(CLOCKS)}) AS TIME), CAST({STANDARD} AS TIME))"
SWAPPED = {"%d %m %Y": "%m %d %Y", "%d %m %y": "%m %d %y"}
"""Formats with the day first, and their counterparts with the month first."""
YEAR_FIRST = "%y %m %d"
ORDERS: dict[DateOrder, tuple[str, ...]] = {True: (*SWAPPED,), False: (*SWAPPED.values(),), "year": (YEAR_FIRST,)}
YEARS = (r"\b[12]\d{3}\b", r"(^|\D)\d\d( \d+:|$)", r"^\d\d \d\d? \d\d( |$)")
"""Patterns of years, so that two digits are not read as four: four digits, two at the end, two first."""
STYLES = (
    *("%d %b %Y", "%b %d %Y", "%Y %b %d", "%b %Y", "%Y %b", "%d %b %y", "%b %y", "%Y %m %d", "%Y %m", "%m %Y"),
    *(style for pair in SWAPPED.items() for style in pair),
    YEAR_FIRST,
)
DIGITS = {
    style: rf"(1[89]|20)\d{{{rest}}}"
    for style, rest in (("%Y%m", 4), ("%Y%m%d", 6), ("%Y%m%d%H%M", 10), ("%Y%m%d%H%M%S", 12))
}
"""Date formats that are whole numbers, with their pattern."""
IN_DIGITS = re.compile(rf"({'|'.join(DIGITS.values())})(\.0+)?")


def any_format(day_first: DateOrder) -> str:
    """Returns SQL for a date in any format; where it has several meanings, ``day_first`` says which is meant."""
    swapped = [*SWAPPED.values(), *SWAPPED] if day_first is False else [*SWAPPED, *SWAPPED.values()]
    never = [style for style in swapped if "%y" in style] if day_first == "year" else [YEAR_FIRST]
    styles = [style for style in dict.fromkeys((*swapped, *STYLES)) if style not in never]
    by_year = ([style for style in styles if _year(style) == year] for year in YEARS)
    return f"coalesce({', '.join([STANDARD, *(written_as(*one) for one in by_year if one), *map(digits_as, DIGITS)])})"


def written_as(*styles: str) -> str:
    """Returns SQL for a date in the first fitting format, with or without a time; all have the same kind of year."""
    timed = [
        form
        for style in styles
        for form in (
            style,
            *(f"{style} {clock}" for clock in CLOCKS),
            *(style.replace(" %Y", f" {clock} %Y") for clock in CLOCKS[:2]),
        )
    ]
    moment = f"CASE WHEN regexp_matches({SIMPLE}, '{_year(styles[0])}') THEN TRY_STRPTIME({SIMPLE}, {timed}) END"
    return f"coalesce({STANDARD}, {moment})"


def _year(style: str) -> str:
    """Returns the pattern of ``YEARS`` for a format."""
    return YEARS[("%y" in style) + style.startswith("%y")]


def digits_as(style: str) -> str:
    """Returns SQL for a date in a format of ``DIGITS``."""
    digits = r"regexp_replace(cell, '\.0+$', '')"
    return f"CASE WHEN regexp_full_match({digits}, '{DIGITS[style]}') THEN TRY_STRPTIME({digits}, '{style}') END"
