"""Columns of numbers, as people write them.

Part of the fourth step of reading. Ids that a float64 would change stay text; words among numbers are asked about.
Every pattern is a constant of this file.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tabtune_core.data.findings import Finding, Question, shorten
from tabtune_core.data.reading.batched_queries import Ask, Asking, quoted
from tabtune_core.data.reading.words import MISSING_WORD, Typed, as_words

LARGEST_EXACT = 2**53  # above it not every integer is a float64, so two ids could become one
STRAY_SHARE = 0.1
STRAY_WORDS = 3
MANY_NUMBERS = 20
"""A column of more different values, all but a few words numbers, is one of numbers, however often the words come."""
BAD_SHARE = 0.02
"""Share of the filled cells that may be anything but numbers in a column of numbers: so few are slips, unless they look like codes."""
CODE = r"\s*[A-Za-z]{1,4}[-. ]?\d.*"

MONEY = r"[$€£¥₹₩₽]|USD|EUR|GBP|CHF|CNY|INR|JPY|Rs\.?|R\$|US\$"
MINUS = "\u2212\u2013"
"""The sign of typesetters and the dash that stands for it, where a keyboard has "-"."""
SIGNED = f"replace(replace(cell, '{MINUS[0]}', '-'), '{MINUS[1]}', '-')"  # translate takes three times as long
BRACKETED = rf"^({MONEY})?\s*\(([^()]*\d%?)\s*\)\s*%?$"
"""A negative number as accountants write it."""
BARE = rf"regexp_replace(regexp_replace({SIGNED}, '{BRACKETED}', '-\2'), '^([+-]?)\s*({MONEY})\s*|\s*({MONEY}|%|\+)$', '\1', 'g')"
BOUND, FLAG = r"[<>≤≥~≈]=?\s*", r"\s+[AC-JLN-Za-jln-z]{1,2}"
"""Before a number that was too small or large to measure; and behind one, as laboratories (H) and statistical offices (e) write, but for
thousands, millions and billions."""
FOOTNOTE = r"\s*(?:\[[^\]]{1,9}\]|[*†‡§]+)"
UNMARKED = rf"regexp_replace({SIGNED}, '^{BOUND}|(?:{FLAG}|{FOOTNOTE})$', '', 'g')"
MOST_MARKED = 0.75
"""Of different cells: where more have a mark, or there are few, it is part of a code or a class, such as ">3" beside "3"."""
MARKED = re.compile(rf"{BOUND}.*|.*\d{FLAG}")
UNIT = re.compile(rf"[+{MINUS}-]?\d+(?:[.,]\d+)*(?:[eE][+-]?\d+)?\s*((?:[^\W\d_]|°)(?:[^\W\d_]|[ /²³°*^·.%])*)")
"""A number with a unit in any script behind it."""
PLURAL = re.compile(r"(?<=[a-z]{3})s$")


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """A way to write numbers."""

    code: str
    message: str
    pattern: str
    """Regular expression of a whole cell."""

    value: str
    """SQL for the cell as a plain number, with "{cell}" in it."""

    unit: str | None = None
    """Stands for the unit of a column of such numbers, in which each cell has its own."""


POWER = r"([eE][+-]?\d{1,3})?"
GAP = "[ \u00a0\u202f]"
APOSTROPHE = "['\u2019]"
POINTS = NumberFormat(
    "decimal-comma",
    "Numbers with a decimal comma",
    rf"[+-]?(\d+|\d{{1,3}}((\.|{GAP})\d{{3}})+)(,\d+)?{POWER}",
    f"replace(replace(regexp_replace({{cell}}, '{GAP}', '', 'g'), '.', ''), ',', '.')",
)
COMMAS = NumberFormat(
    "thousands",
    "Numbers with commas between thousands",
    r"[+-]?(\d+|\d{1,3}(,\d{3})+|\d{1,2}(,\d{2})+,\d{3})(\.\d+)?" + POWER,  # also in lakhs and crores, 12,34,567
    "replace({cell}, ',', '')",
)
BLANKS = NumberFormat(
    "thousands",
    "Numbers with blanks or apostrophes between thousands",
    rf"[+-]?(\d+|\d{{1,3}}(({GAP}|{APOSTROPHE})\d{{3}})+)(\.\d+)?{POWER}",
    f"regexp_replace({{cell}}, '{GAP}|''|\u2019', '', 'g')",
)
SIGNS = NumberFormat("units", "Numbers", r"[+-]?(\d+\.?\d*|\.\d+)" + POWER, "{cell}")
AMOUNTS = NumberFormat(
    "units",
    "Numbers with K, M or B for thousands, millions or billions",
    r"[+-]?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?\s?[KkMmBb]?",
    "regexp_replace({cell}, '[^\\d.+-]', '', 'g') || 'e' || (strpos('KMB', upper({cell}[-1:])) * 3)",
    "K, M or B",
)
SURE_COMMA = rf"[+-]?\d{{1,3}}((\.|{GAP})?\d{{3}})*,(\d{{1,2}}|\d{{4,}}){POWER}"
"""A number whose comma is a decimal one."""
AMOUNT = re.compile(rf".*(\d\.\d+|({MONEY}).*\d)\s?[KkMB]")
"""What shows that the letter is no unit and no part of a code: a decimal point, or a currency."""
ASKED_AMOUNT = re.compile(r".*\d\s?[KkMB]")
"""That is enough where a person asked for numbers."""


def _spans(parts: Sequence[str], between: str = r",?\s*") -> str:
    """A pattern for one or more of some parts in their order."""
    return "|".join(part + "".join(f"({between}{later})?" for later in parts[place + 1 :]) for place, part in enumerate(parts))


def _added(worth: dict[str, float]) -> str:
    """SQL for the sum of the numbers before some marks, each times what it is worth."""
    number = "coalesce(TRY_CAST(regexp_extract({{cell}}, '(-?[\\d.]+)\\s*{mark}', 1) AS DOUBLE), 0)"
    return " + ".join(f"{times} * {number.format(mark=mark)}" for mark, times in worth.items())


_SECONDS = r"\d+(\.\d+)?\s*s(ec(ond)?s?)?"
SPANS = NumberFormat(
    "units",
    "Days, hours, minutes and seconds, as minutes,",
    _spans((r"\d+\s*d(ays?)?", r"\d+\s*h((ou)?rs?)?", r"\d+\s*m(in(ute)?s?)?", _SECONDS)),
    _added({"d": 1440, "h": 60, "m": 1, "s": 1 / 60}),
    "d, h, m or s",
)
_ISO = _spans((r"\d+H", r"\d+M", r"\d+(\.\d+)?S"), "")
CLOCKED = NumberFormat(
    "units",
    "Minutes and seconds, as seconds,",  # also as Python and pandas write longer ones in CSV and JSON
    rf"(-?\d+ days?,? \+?\d+:|\d+:)?\d+:[0-5]\d(\.\d+)?|P(\d+D(T({_ISO}))?|T({_ISO}))",
    _added({"day": 86400, "D": 86400, "H": 3600, "M": 60, "S": 1})
    + "".join(
        f" + {60**place} * coalesce(TRY_CAST(regexp_extract(split_part({{cell}}, ':', {-1 - place}), '[\\d.]+$') AS DOUBLE), 0)"
        for place in range(3)
    ),
)


PLAIN = "(CASE WHEN NOT contains(cell, '_') THEN TRY_CAST(cell AS DOUBLE) END)"
FINITE = f"(CASE WHEN isfinite({PLAIN}) THEN {PLAIN} END)"
UNREAD = f"(cell IS NOT NULL AND {PLAIN} IS NULL)"


def as_number(
    name: str,
    sample: list[str],
    *,
    forced: bool,
    unit: str | None = None,
    comma_first: bool = False,
    decimal_comma: bool | None = None,
) -> Asking[Typed]:
    """A number where every cell is one; text, with the reason, for ids that a number would change or words among numbers.

    ``unit`` is the one that the cells were found to have when the table was read first, and ``decimal_comma`` what their comma was; where
    that is not known, it is tried as a decimal one first, or last.
    """
    letter = ASKED_AMOUNT if forced else AMOUNT
    amounts = unit == AMOUNTS.unit or (unit is None and any(map(letter.match, sample)))
    own = (*([AMOUNTS] if amounts else []), *([SPANS] if unit == SPANS.unit else []))
    unit = None if unit in (AMOUNTS.unit, SPANS.unit) else unit or unit_of(sample)
    filled, unread, zeros, large, infinite = yield Ask(
        (
            "count(cell)",
            f"count(*) FILTER {UNREAD}",
            rf"count(*) FILTER (regexp_matches(cell, '^[+-]?0\d') AND NOT {UNREAD})",
            r"count(*) FILTER (length(cell) >= 16 AND regexp_full_match(cell, '[+-]?\d+') "
            f"AND coalesce(abs(TRY_CAST(cell AS HUGEINT)) > {LARGEST_EXACT}, true))",
            f"count(*) FILTER (isinf({PLAIN}))",
        )
    )
    style = None
    listed = not forced and all(cell.startswith("(") for cell in sample)  # (1), (2): the numbers of notes, and none below 0
    if (unread and not listed) or decimal_comma:
        comma_first = comma_first if decimal_comma is None else decimal_comma
        marks = sum(map(bool, map(MARKED.fullmatch, sample)))
        few = not marks or (marks <= MOST_MARKED * len(sample) and len(sample) > MANY_NUMBERS)
        marked = forced or (few and not zeros and not large)
        style = yield from number_format(unit, comma_first=comma_first, known=decimal_comma is True, own=own, marked=marked)
    if style is not None and style.read > filled - unread - (style.style is POINTS and decimal_comma is True):
        typed, unread, wrong = style_typed(name, sample, style, unit), filled - style.read, f"(cell IS NOT NULL AND NOT {style.condition})"
    elif not forced and (zeros or large) and unread <= filled * STRAY_SHARE:
        what = "numbers with leading zeros" if zeros else "whole numbers too long to be exact as numbers"
        words = yield from as_words()
        message = f"{name!r} holds {what}: kept as text, as codes are. Choose number if they count something."
        return Typed(words.kind, "cell", (Finding("info", "kept-as-text", message, name),))
    else:
        typed, wrong = Typed("number", FINITE, infinite_finding(name, infinite)), UNREAD
    if unread == 0:
        return typed
    if forced:
        told = f"{unread:,} of {filled:,} cells are not numbers and became missing. Choose category if they matter."
        message = f"{name!r} is read as numbers, as asked; {told}"
        return replace(typed, findings=(Finding("warning", "not-numbers", message, name), *typed.findings))
    if unread <= filled * BAD_SHARE:
        bad = yield from unread_words(wrong)
        if not any(re.fullmatch(CODE, word) for word in bad):
            return replace(typed, findings=(bad_cells_finding(name, bad, unread, filled), *typed.findings))
    (marked,) = (yield Ask((f"count(*) FILTER {MISSING_WORD}",))) if unread > filled * STRAY_SHARE else (0,)
    most = 1 if unread == marked or len(sample) > MANY_NUMBERS else STRAY_SHARE
    return (yield from stray_words(name, unread, filled, wrong, most=most))


def unit_of(sample: Sequence[str]) -> str | None:
    """The unit that nearly all of some different cells have behind their number, if it is the same one.

    >>> unit_of(["12 km", "5.4 km"]), unit_of(["1 vote", "2 votes"]), unit_of(["12 km", "5 mi"]), unit_of(["1. man", "2. man"])
    ('km', 'vote', None, None)
    """
    found = Counter(PLURAL.sub("", match[1].rstrip()) for match in map(UNIT.fullmatch, sample) if match)
    (unit, count), *_ = found.most_common(1) or [("", 0)]
    return unit if count > 1 and count >= len(sample) * (1 - STRAY_SHARE) else None


def unread_words(wrong: str) -> Asking[list[str]]:
    """The cells for which the SQL ``wrong`` holds, as they are not numbers; the most frequent first."""
    (times,) = yield Ask((f"histogram(cell) FILTER {wrong}",))
    return sorted(times, key=lambda word: (-times[word], word))


def bad_cells_finding(name: str, bad: Sequence[str], unread: int, filled: int, *, what: str = "numbers") -> Finding:
    """Shows the cells of a column of numbers, or of other ``what``, that cannot be read as such."""
    shown = ", ".join(repr(shorten(word)) for word in bad[:STRAY_WORDS]) + (", ..." if len(bad) > STRAY_WORDS else "")
    cells = "1 other cell became" if unread == 1 else f"{unread:,} other cells became"
    message = f"{name!r} holds {what} in {filled - unread:,} of {filled:,} cells; {cells} missing: {shown}. "
    return Finding("warning", "bad-cells", f"{message}Correct the file, or choose category under Columns, if they matter.", name)


def infinite_finding(name: str, infinite: int) -> tuple[Finding, ...]:
    """Says that infinite values became missing, where there are any."""
    if not infinite:
        return ()
    return (
        Finding(
            "warning",
            "infinite",
            f"{name!r} holds {infinite:,} infinite values; they were read as missing. Nothing to do unless they stand for something.",
            name,
        ),
    )


@dataclass(frozen=True, slots=True)
class Fitting:
    """A format that the cells of a column have."""

    style: NumberFormat
    text: str
    """SQL for a cell without what stands by its number: "cell", BARE or, of a unit, ``without_unit``."""

    read: int
    """Number of cells that have it."""

    @property
    def condition(self) -> str:
        """SQL for whether a cell has it."""
        return f"regexp_full_match({self.text}, {quoted(self.style.pattern)})"


def without_unit(unit: str) -> str:
    """SQL for a cell without this unit."""
    pattern = rf"\s*{re.escape(unit)}s?$"
    return f"regexp_replace({SIGNED}, {quoted(pattern)}, '')"


def number_format(unit: str | None, *, comma_first: bool, known: bool, own: Sequence[NumberFormat], marked: bool) -> Asking[Fitting | None]:
    """The format that fits most cells, among those that fit nearly all of the sample; of equals, the usual one.

    "1,234" alone does not say what its comma is: decimal, where ``comma_first``, as in a file that separates cells by ";" to keep commas
    for decimals. Where that is ``known``, the point in "1.234 €" is none. What it is known to have, its ``own``, comes first.
    """
    commas = (POINTS, COMMAS) if comma_first else (COMMAS, POINTS)
    texts = ("cell", BARE, *([without_unit(unit)] if unit else []), *([UNMARKED] if marked else []))
    styles = (*commas, BLANKS, SIGNS) if known else (SIGNS, BLANKS, *commas)
    ways = [Fitting(style, text, 0) for text in texts for style in styles]
    first = [Fitting(style, text, 0) for style in own for text in texts[:2]]
    ways = [*first, *ways, Fitting(CLOCKED, "cell", 0), Fitting(SPANS, "cell", 0)]
    counts = yield Ask(("count(cell)", *(f"count(*) FILTER ({way.condition})" for way in ways)), of_sample=True)
    likely = [way for way, count in zip(ways, counts[1:], strict=True) if count and count >= counts[0] * (1 - STRAY_SHARE)]
    if not likely:
        return None
    read = yield Ask(tuple(f"count(*) FILTER ({way.condition})" for way in likely))
    return max((replace(way, read=count) for way, count in zip(likely, read, strict=True)), key=lambda way: way.read)


def style_typed(name: str, sample: list[str], fitting: Fitting, unit: str | None) -> Typed:
    """A number column in a format other than the plain one; cells in another format become missing."""
    style, text = fitting.style, fitting.text
    numbers = [value for value in sample if re.match(r"\W*\d", value)] or sample
    if text == UNMARKED:
        numbers = [value for value in sample if re.fullmatch(f"{MARKED.pattern}|.*{FOOTNOTE}", value)] or sample
    shown = next((value for value in numbers if re.search(r"\d\D+\d", value)), numbers[0])  # which says more than a whole number
    signs = {"cell": "", BARE: " and a currency, percent, minus or plus sign", UNMARKED: " and marks, which are left out,"}
    message = f"{style.message}{signs.get(text, f' and the unit {unit!r}')} in {name!r}, such as {shorten(shown)!r}, were read as numbers"
    scale = "; 12% became 12" if any(value.endswith("%") for value in sample) else ""
    scale += "; (12) became -12" if text == BARE and any(value.endswith(")") for value in sample) else ""
    scale += "; <5 became 5" if text == UNMARKED and any(re.match(BOUND, value) for value in sample) else ""
    scale += ". Choose category if the marks matter" if text == UNMARKED else ""
    value = f"CASE WHEN {fitting.condition} THEN TRY_CAST({style.value.format(cell=text)} AS DOUBLE) END"
    own = style.unit or (None if text in signs else unit)
    code = "marks" if text == UNMARKED else "units" if own else style.code
    told = Finding("warning" if text == UNMARKED else "info", code, f"{message}{scale}.", name)
    return Typed("number", value, (told,), unit=own, decimal_comma={POINTS: True, COMMAS: False}.get(style))


def stray_words(name: str, unread: int, filled: int, wrong: str, *, what: str = "number", most: float = STRAY_SHARE) -> Asking[Typed]:
    """Text; where all but a few words are numbers or dates, asks whether those words, up to the share ``most``, mean missing."""
    kind = (yield from as_words()).kind
    if unread > filled * most or unread == filled:
        return Typed(kind, "cell")
    words = tuple((yield from unread_words(wrong)))
    if len(words) > STRAY_WORDS or any(shorten(word) != word for word in words):
        told = f"{name!r} holds {what}s in {filled - unread:,} cells and other text in {unread:,}, such as {shorten(words[0])!r}"
        message = f"{told}; it is read as {kind}. Choose {what} under Columns if the others may become missing."
        return Typed(kind, "cell", (Finding("info", f"mixed-{what}s", message, name),) if unread <= filled * STRAY_SHARE else ())
    shown = ", ".join(repr(word) for word in words)
    message = f"{name!r} holds {what}s in {filled - unread:,} cells and {shown} in {unread:,}; it is read as {kind}."
    offer = f"{message} If these words mean missing, say so and the column becomes a {what}."
    question = Question(f"mixed-{what}s", offer, "missing_marks", words)
    return Typed(kind, "cell", (Finding("warning", f"mixed-{what}s", message, name),), (question,))
