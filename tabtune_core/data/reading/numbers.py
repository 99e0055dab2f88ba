"""Types columns of numbers in the formats that people use.

Part of the fourth step of reading. Ids that a float64 would change stay text; a question is asked about words among numbers.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from tabtune_core.data.findings import Finding, Question, shorten
from tabtune_core.data.reading.batched_queries import Ask, Asking, quoted
from tabtune_core.data.reading.words import MISSING_WORD, Typed, as_words
from tabtune_core.wording import counted

LARGEST_EXACT = 2**53  # above it not every integer is a float64, so two ids could become one
STRAY_SHARE = 0.1
STRAY_TEXT = 0.25
"""Largest share of words for which free text that is mostly numbers is reported: no model sees it unless it is read in another way."""
STRAY_WORDS = 3
MANY_NUMBERS = 20
"""A column with more different values, all but a few of them numbers, is a number column, however often the words occur."""
BAD_SHARE = 0.02
"""Largest share of the filled cells of a number column that are not numbers: so few are slips, unless they look like codes."""
CODE = r"\s*[A-Za-z]{1,4}[-. ]?\d.*"

MONEY = r"[$¢-¥฿₠-₿￠￡￥￦]|USD|EUR|GBP|CHF|CNY|INR|JPY|Rs\.?|R\$|US\$"
MINUS = "\u2212\u2013"
"""The typographic minus sign and the en dash, used instead of "-"."""
SIGNED = f"replace(replace(cell, '{MINUS[0]}', '-'), '{MINUS[1]}', '-')"  # translate takes three times as long
BRACKETED = rf"^({MONEY})?\s*\(([^()]*\d%?)\s*\)\s*%?$|^(\d[\d.,]*[.,]\d\d+)-$"
"""A negative number as accountants and SAP write it; a grade such as 2- or 1.3- is none."""
BARE = rf"regexp_replace(regexp_replace({SIGNED}, '{BRACKETED}', '-\2\3'), '^([+-]?)\s*({MONEY}|%)\s*|\s*({MONEY}|/-|%|\+)$', '\1', 'g')"
BOUND, FLAG = r"[<>≤≥~≈]=?\s*", r"\s+[AC-JLN-Za-jln-z]{1,2}"
"""A mark before a number that was too small or large to measure; a flag after a number, as laboratories (H) and statistical offices (e)
write it, except K, M and B, which mean thousands, millions and billions."""
FOOTNOTE = r"\s*(?:\[[^\]]{1,9}\]|[*†‡§]+)"
UNMARKED = rf"regexp_replace({SIGNED}, '^{BOUND}|(?:{FLAG}|{FOOTNOTE})$', '', 'g')"
MOST_MARKED = 0.75
"""Share of the different cells: if more have a mark, or there are few cells, the mark is part of a code or class, such as ">3"
beside "3"."""
MARKED = re.compile(rf"{BOUND}.*|.*\d{FLAG}")
POWER_OF_UNIT = r"(?<=[^\W\d_xX])\^?-?[1-3](?!\d)|(?<=/)\d+(?=\s?[^\W\d_])"
"""What follows a letter in m2, kg/m^2 and s-1, or a stroke in l/100km."""
NUMERALS = "²³¹¼-¾⁰-₉⅐-↏①-⓿"
"""Characters that count as letters in a regular expression but are numbers."""
UNIT = re.compile(
    rf"[+{MINUS}-]?\d+(?:[., \u00a0\u202f]\d+)*(?:[eE][+-]?\d+)?\s*"
    rf"((?:[^\W\d_{NUMERALS}]|°)(?:[^\W\d_{NUMERALS}]|[ /²³°*^·.%]|{POWER_OF_UNIT})*)"
)
"""A number with a unit after it, in any script."""
TYPED_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:e[+-]\d+)?(?: s)?")
"""A number or duration as it is written for a typed file."""
POWERS = str.maketrans({"2": "[2²]", "²": "[2²]", "3": "[3³]", "³": "[3³]"})
"""In a pattern of a unit, m2 and m² are the same."""
PERCENT = "%"
NO_SIGN: frozenset[str] = frozenset()
PLURAL, HAS_PLURAL = re.compile(r"(?<=[a-z]{3})s$"), re.compile("[a-z]{2}$")
"""lb and lbs are one unit; m and ms, V and Vs, kW and kWs are not."""


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
    """The recorded unit of a column in this format, if its cells have different units."""


POWER = r"([eE][+-]?\d{1,3})?"
GAP = "[ \u00a0\u202f]"
APOSTROPHE = "['\u2019]"
POINTS = NumberFormat(
    "decimal-comma",
    "Numbers with a decimal comma",
    rf"[+-]?(\d+{POWER}|(\d+|\d{{1,3}}((\.|{GAP})\d{{3}})+)(,\d+{POWER})?)",  # 1.234E5 has no thousands
    f"replace(replace(regexp_replace({{cell}}, '{GAP}', '', 'g'), '.', ''), ',', '.')",
)
COMMAS = NumberFormat(
    "thousands",
    "Numbers with commas between thousands",
    # also in lakhs and crores, 12,34,567; 1,234E5 has a decimal comma
    rf"[+-]?(\d+{POWER}|(\d+|\d{{1,3}}(,\d{{3}})+|\d{{1,2}}(,\d{{2}})+,\d{{3}})(\.\d+{POWER})?)",
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
SURE_COMMA = rf"[+-]?\d{{1,3}}((\.|{GAP})?\d{{3}})*,((\d{{1,2}}|\d{{4,}}){POWER}|\d{{3}}[eE][+-]?\d{{1,3}})"
"""A number whose comma must be a decimal comma."""
GROUPED = r"[+-]?(0|[1-9]\d{0,2}(\.\d{3})*)"
"""A number whose points, if any, may separate thousands."""
SHOWN = {POINTS: r"\d,\d", COMMAS: r"\d,\d", BLANKS: rf"\d({GAP}|{APOSTROPHE})\d", AMOUNTS: "[KkMmBb]$"}
"""What the example of a format must hold."""
SURE_POINT = re.compile(r"[+-]?(0\.\d{3}|\d*\.(\d{1,2}|\d{4,}))")
"""A number whose point must be a decimal point."""
ZERO_COMMA, ZERO_POINT = re.compile(r"(?<![\d.,])0,\d{3}$"), re.compile(r"[+-]?0\.\d{3}")
"""Numbers whose mark hardly separates thousands."""
AMOUNT = re.compile(rf".*(\d\.\d+|({MONEY}).*\d)\s?[KkMB]")
"""A number with K, M or B where a decimal point or a currency shows that the letter is not a unit or part of a code."""
ASKED_AMOUNT = re.compile(r".*\d\s?[KkMB]")
"""The same without that evidence, for a column that the person asked to read as numbers."""
LETTERED = re.compile(r"[+-]?(\d{1,15}|\d{1,3}(?:,\d{3}){1,4})(?:\.\d+)?([KkM]?)")
SAME_SIZE = 3
"""How many times as large or small as the numbers with a letter those without may be, if the letter is a unit that they lack."""
WORTH = {"K": 1e3, "M": 1e6}
SHORTENED = {"k": "thousands", "K": "thousands", "M": "millions"}
LETTER_UNITS = {
    "K": re.compile(r"kelvin|^(temp(erature)?s?|t)([\W_]*k\W*)?$", re.IGNORECASE),
    "M": re.compile(r"molar|(?<![a-z])conc(entration)?s?(?![a-z])", re.IGNORECASE),
}
"""Names of columns that tell that a letter is a unit, not thousands or millions."""


def letter_of_all(sample: Sequence[str]) -> str:
    """Returns the K (of 100 and more) or M that may be a unit, since all of the cells end with it and none has a currency; else ""."""
    letters = {cell[-1:] for cell in sample}
    if letters not in ({"K"}, {"M"}) or any(re.search(MONEY, cell) for cell in sample):
        return ""
    return "M" if letters == {"M"} else "K" * all(re.match(r"\d{3}", cell) for cell in sample)


def abbreviates(name: str, sample: Sequence[str]) -> bool:
    """Returns True if a letter after some of the numbers shortens them: there are K and M, or several numbers without it differ in size.

    >>> [abbreviates("n", cells.split()) for cells in ("900K 3M", "850 900 1K 12K", "295 0 300K", "5 30M 31M", "1K 2A")]
    [True, True, False, False, False]
    """
    sizes: dict[str, list[int]] = {}
    for found in map(LETTERED.fullmatch, sample):
        if found:
            sizes.setdefault(found[2].upper(), []).append(int(found[1].replace(",", "")))
    plain, known = sizes.pop("", []), sum(map(len, sizes.values()))
    if not sizes or known + len(plain) < len(sample) * (1 - STRAY_SHARE) or any(LETTER_UNITS[letter].search(name) for letter in sizes):
        return False
    with_letter = [size for one in sizes.values() for size in one]
    low, high = min(with_letter) / SAME_SIZE, max(with_letter) * SAME_SIZE
    return len(sizes) > 1 or sum(size > 0 and not low <= size <= high for size in plain) > 1


def _spans(parts: Sequence[str], between: str = r",?\s*") -> str:
    """Returns a pattern for one or more of ``parts`` in their order."""
    return "|".join(part + "".join(f"({between}{later})?" for later in parts[place + 1 :]) for place, part in enumerate(parts))


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
        f" + {60**place} * coalesce(TRY_CAST(regexp_extract(split_part({{cell}}, ':', {-1 - place}), '[\\d.]+$') AS DOUBLE), 0)"
        for place in range(3)
    ),
    "seconds",
)


def _durations(unit: str | None) -> list[str]:
    """Returns SQL for durations in the unit of their column; without one it may be of an earlier version, which recorded no seconds."""
    if unit is None:
        return [Fitting(CLOCKED, "cell").value, Fitting(SIGNS, "regexp_replace(cell, ' s$', '')").value]  # 90 s is of a typed file
    worth = {SPANS.unit: 60, CLOCKED.unit: 1}.get(unit) or next((SECONDS[one] for one in SECONDS if re.fullmatch(one, unit)), None)
    if worth is None or unit == METRES_OR_MINUTES:
        return []
    clocked = CLOCKED if unit == CLOCKED.unit else replace(CLOCKED, pattern=CLOCKED.pattern.replace(":)?", ":)", 1))  # 2:33 may be hours
    spans = replace(SPANS, value=_added({one[0]: seconds / worth for one, seconds in SECONDS.items()}))
    return [f"({Fitting(clocked, 'cell').value}) / {worth}", Fitting(spans, "cell").value]


PLAIN = "(CASE WHEN NOT contains(cell, '_') THEN TRY_CAST(cell AS DOUBLE) END)"
FINITE = f"(CASE WHEN isfinite({PLAIN}) THEN {PLAIN} END)"
UNREAD = f"(cell IS NOT NULL AND {PLAIN} IS NULL)"


def as_number(
    name: str, sample: list[str], *, forced: bool, unit: str | None, comma_first: bool, decimal_comma: bool | None
) -> Asking[Typed]:
    """Types a column as number if its cells are numbers, or as text with the reason: ids that a number would change, or stray words.

    ``unit`` and ``decimal_comma`` are known from an earlier reading of the table, or None. If unknown, ``comma_first`` says whether a
    decimal comma is tried before a comma between thousands.
    """
    letter = ASKED_AMOUNT if forced else AMOUNT
    same = letter_of_all(sample)
    of_unit = same and LETTER_UNITS[same].search(name)
    amounts = unit == AMOUNTS.unit or (unit is None and not of_unit and (any(map(letter.match, sample)) or abbreviates(name, sample)))
    own = (*([AMOUNTS] if amounts else []), *([SPANS] if unit == SPANS.unit else []))
    unit = None if unit in (AMOUNTS.unit, SPANS.unit, CLOCKED.unit) else unit or unit_of(sample) or unit_of_typed(sample)
    filled, unread, zeros, large, infinite, points = yield Ask(
        (
            "count(cell)",
            f"count(*) FILTER {UNREAD}",
            rf"count(*) FILTER (regexp_matches(cell, '^[+-]?0\d') AND NOT {UNREAD})",
            r"count(*) FILTER (length(cell) >= 16 AND regexp_full_match(cell, '[+-]?\d+') "
            f"AND coalesce(abs(TRY_CAST(cell AS HUGEINT)) > {LARGEST_EXACT}, true))",
            f"count(*) FILTER (isinf({PLAIN}))",
            "count(*) FILTER (contains(cell, '.'))",
        )
    )
    style, read = None, 0
    listed = not forced and all(cell.startswith("(") for cell in sample)  # (1), (2): numbered notes, not negative numbers
    if (unread and not listed) or (decimal_comma and points):
        comma_first = comma_first or any(map(ZERO_COMMA.search, sample)) if decimal_comma is None else decimal_comma
        marks = sum(map(bool, map(MARKED.fullmatch, sample)))
        few = not marks or (marks <= MOST_MARKED * len(sample) and len(sample) > MANY_NUMBERS)
        marked = forced or (few and not zeros and not large)
        style, read = yield from number_format(_ways(unit, comma_first=comma_first, known=decimal_comma is True, own=own, marked=marked))
    if style is not None and read > filled - unread - (style.style is POINTS and decimal_comma is True):
        wrong = f"(cell IS NOT NULL AND NOT {style.condition})"
        (misfits,) = (yield Ask((f"list(cell) FILTER {wrong}",), of_sample=True)) if read < filled else ((),)
        typed = style_typed(name, [cell for cell in sample if cell not in (misfits or ())], style, unit)
        unread = filled - read
    elif not forced and (zeros or large) and unread <= filled * STRAY_SHARE:
        what = "numbers with leading zeros" if zeros else "whole numbers too long to be exact as numbers"
        words = yield from as_words()
        message = f"{name!r} holds {what}: kept as text, as codes are. Choose number if they count something."
        return Typed(words.kind, "cell", (Finding("info", "kept-as-text", message, name),))
    else:
        typed, wrong = Typed("number", FINITE, infinite_finding(name, infinite)), UNREAD
    typed = replace(typed, findings=(*typed.findings, *zeros_at_end(name, sample)))
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


def zeros_at_end(name: str, sample: Sequence[str]) -> tuple[Finding, ...]:
    """Reports few numbers of which some differ only in zeros at their end, as versions and codes do."""
    few = sample if len(sample) <= MANY_NUMBERS else ()
    short = {cell: cell.rstrip("0") for cell in few if re.fullmatch(r"\d+\.\d*[1-9]0+", cell)}
    twice = next((cell for cell, same in short.items() if same in few), None)
    if twice is None:
        return ()
    message = f"{name!r} holds {short[twice]!r} and {twice!r}, read as the same number. Choose category if they differ, as versions do."
    return (Finding("info", "zeros-at-end", message, name),)


def each_number(name: str, sample: Sequence[str], *, unit: str | None, comma_first: bool, decimal_comma: bool | None) -> Asking[Typed]:
    """Types a number column of rows to predict: each cell is read by itself, so that it means the same whatever rows are beside it.

    ``unit`` and ``decimal_comma`` are those of the adapter's table, as for ``as_number``; durations are converted to a unit of time.
    """
    lettered = replace(AMOUNTS, pattern=AMOUNTS.pattern.replace("[KkMmBb]?", "[KkMB]"))
    own = {None: [lettered], AMOUNTS.unit: [AMOUNTS]}.get(unit, [])
    no_mark = SPANS.pattern if unit == METRES_OR_MINUTES else ""  # the letter in 5 h
    durations, of_clock = _durations(unit), quoted(CLOCKED.pattern if unit is None else "")
    unit = None if own else unit
    comma_first = comma_first if decimal_comma is None else decimal_comma
    ways = _ways(unit, comma_first=comma_first, known=decimal_comma is True, own=own, marked=True)
    first = next(place for place, way in enumerate(ways) if way.text == UNMARKED)
    grouped = f"CASE WHEN NOT regexp_full_match(cell, {quoted(ZERO_POINT.pattern)}) THEN {Fitting(POINTS, 'cell').value} END"
    points = [grouped] if decimal_comma else []  # the point of a plain "1.234" separates thousands, that of "0.234" does not
    plain = f"coalesce({', '.join([*points, FINITE, *(way.value for way in ways[:first]), *durations])})"
    unmarked = f"coalesce({', '.join(way.value for way in ways[first:] if way.text == UNMARKED)})"
    unmarked = f"(CASE WHEN NOT regexp_full_match(cell, {quoted(no_mark)}) THEN {unmarked} END)"
    any_way = f"coalesce({plain}, {unmarked})"
    value = f"(CASE WHEN isfinite({any_way}) THEN {any_way} END)"
    filled, unread, infinite, marked, clocked = yield Ask(
        (
            "count(cell)",
            f"count(*) FILTER ({UNREAD} AND {value} IS NULL)",
            f"count(*) FILTER (isinf({PLAIN}))",
            f"count(*) FILTER ({plain} IS NULL AND {unmarked} IS NOT NULL)",
            f"min(cell) FILTER (regexp_full_match(cell, {of_clock}))",
        )
    )
    findings = infinite_finding(name, infinite)
    if clocked:
        message = (
            f"Durations such as {shorten(clocked)!r} in {name!r} were read as seconds. If the adapter's table has another unit, use that."
        )
        findings = (Finding("warning", "seconds", message, name), *findings)
    if marked:
        shown = next((cell for cell in sample if re.fullmatch(f"{MARKED.pattern}|.*{FOOTNOTE}", cell)), "<5")
        message = f"Numbers with marks, which are left out, in {name!r}, such as {shorten(shown)!r}, were read as numbers."
        findings = (Finding("warning", "marks", message, name), *findings)
    if unread:
        message = f"{unread:,} of {filled:,} cells of {name!r} are not numbers and became missing."
        findings = (Finding("warning", "not-numbers", message, name), *findings)
    return Typed("number", value, findings)


def with_point(text: str) -> str:
    """Returns a number with a decimal comma as Python writes it, and any other text unchanged.

    >>> list(map(with_point, ("1.234,5", "21.428", "62,3", "1.5", "0.652", "about 3")))
    ['1234.5', '21428', '62.3', '1.5', '0.652', 'about 3']
    """
    fits = re.fullmatch(POINTS.pattern, text.strip(), re.ASCII) and not ZERO_POINT.fullmatch(text.strip())
    return re.sub(rf"{GAP}|\.", "", text.strip()).replace(",", ".") if fits else text


def unit_of(sample: Sequence[str]) -> str | None:
    """Returns the unit that nearly all of the different cells in ``sample`` have after their number, or None.

    >>> unit_of(["12 km", "5.4 km"]), unit_of(["1 vote", "2 votes"]), unit_of(["12 km", "5 mi"]), unit_of(["1. man", "2. man"])
    ('km', 'vote', None, None)
    >>> unit_of(["1 m2", "5 m2"]), unit_of(["5 l/100km", "7,5 l/100km"]), unit_of(["3 B52", "4 B52"]), unit_of(["8h30", "9h30"])
    ('m2', 'l/100km', None, None)
    """
    found = Counter(PLURAL.sub("", match[1].rstrip()) for match in map(UNIT.fullmatch, sample) if match)
    (unit, count), *_ = found.most_common(1) or [("", 0)]
    return unit if count > 1 and count >= len(sample) * (1 - STRAY_SHARE) else None


def unit_of_typed(sample: Sequence[str]) -> str | None:
    """Returns the "s" of durations as typed files give them if nearly all other cells are such durations or plain numbers, or None.

    >>> unit_of_typed(["0 s"]), unit_of_typed(["3600 s", "-1.5"]), unit_of_typed(["3600 s", "007"]), unit_of_typed(["1", "2"])
    ('s', 's', None, None)
    """
    typed = [cell for cell in sample if TYPED_NUMBER.fullmatch(cell)]
    return "s" if any(cell[-1] == "s" for cell in typed) and len(typed) >= len(sample) * (1 - STRAY_SHARE) else None


def unread_words(wrong: str) -> Asking[list[str]]:
    """Returns the different cells for which the SQL ``wrong`` holds, the most frequent first."""
    (times,) = yield Ask((f"histogram(cell) FILTER {wrong}",))
    return sorted(times, key=lambda word: (-times[word], word))


def bad_cells_finding(name: str, bad: Sequence[str], unread: int, filled: int, *, what: str = "numbers") -> Finding:
    """Reports the cells of a column of numbers, or of other ``what``, that cannot be read as such."""
    shown = ", ".join(repr(shorten(word)) for word in bad[:STRAY_WORDS]) + (", ..." if len(bad) > STRAY_WORDS else "")
    cells = "1 other cell became" if unread == 1 else f"{unread:,} other cells became"
    message = f"{name!r} holds {what} in {filled - unread:,} of {filled:,} cells; {cells} missing: {shown}. "
    return Finding("warning", "bad-cells", f"{message}Correct the file, or choose category under Columns, if they matter.", name)


def infinite_finding(name: str, infinite: int) -> tuple[Finding, ...]:
    """Reports infinite values, which become missing."""
    if not infinite:
        return ()
    message = f"{name!r} holds {counted(infinite, 'infinite value')}, read as missing. Nothing to do unless that stands for something."
    return (Finding("warning", "infinite", message, name),)


@dataclass(frozen=True, slots=True)
class Fitting:
    """A number format that fits a column."""

    style: NumberFormat
    text: str
    """SQL for a cell without what surrounds its number: "cell", BARE, UNMARKED, or a cell without its unit."""

    @property
    def condition(self) -> str:
        """SQL for whether a cell is in this format."""
        return f"regexp_full_match({self.text}, {quoted(self.style.pattern)})"

    @property
    def value(self) -> str:
        """SQL for the number of a cell in this format, NULL for other cells."""
        return f"CASE WHEN {self.condition} THEN TRY_CAST({self.style.value.format(cell=self.text)} AS DOUBLE) END"


def number_format(ways: Sequence[Fitting]) -> Asking[tuple[Fitting | None, int]]:
    """Returns the way that fits most cells, among those that fit nearly all of the sample, and the number of these cells; in a tie, the
    first.
    """
    counts = yield Ask(("count(cell)", *(f"count(*) FILTER ({way.condition})" for way in ways)), of_sample=True)
    likely = [way for way, count in zip(ways, counts[1:], strict=True) if count and count >= counts[0] * (1 - STRAY_SHARE)]
    if not likely:
        return None, 0
    read = yield Ask(tuple(f"count(*) FILTER ({way.condition})" for way in likely))
    return max(zip(likely, read, strict=True), key=itemgetter(1))


def _ways(unit: str | None, *, comma_first: bool, known: bool, own: Sequence[NumberFormat], marked: bool) -> list[Fitting]:
    """Lists the formats to try, the more usual ones first; with ``marked``, also numbers with marks around them.

    "1,234" alone is ambiguous. ``comma_first`` reads its comma as decimal, as in a file with ";" between cells. If the decimal comma is
    ``known``, the point in "1.234 €" separates thousands. The ``own`` formats, known for this column, go first.
    """
    styles = (POINTS, SIGNS, BLANKS, COMMAS) if known else (SIGNS, BLANKS, *((POINTS, COMMAS) if comma_first else (COMMAS, POINTS)))
    ending = rf"\s*{re.escape(unit or '').translate(POWERS)}{'s?' * bool(HAS_PLURAL.search(unit or ''))}$"
    without_unit = [f"regexp_replace({SIGNED}, {quoted(ending)}, '')"] if unit else []
    texts = ("cell", BARE, *without_unit, *([UNMARKED] if marked else []))
    ways = [Fitting(style, text) for text in texts for style in styles]
    first = [Fitting(style, text) for style in own for text in texts[:2]]
    return [*first, *ways, Fitting(CLOCKED, "cell"), Fitting(SPANS, "cell")]


def style_typed(name: str, sample: list[str], fitting: Fitting, unit: str | None) -> Typed:
    """Returns the type of a number column in the format ``fitting``; cells in other formats become missing."""
    style, text = fitting.style, fitting.text
    numbers = [value for value in sample if re.match(r"\W*\d", value)] or sample
    if text == UNMARKED:
        numbers = [value for value in sample if re.fullmatch(f"{MARKED.pattern}|.*{FOOTNOTE}", value)] or sample
    between = r"\d\D+\d"  # in a better example than a whole number
    shown = next(value for mark in (SHOWN.get(style, between), between, "") for value in numbers if re.search(mark, value))
    what = "Numbers with points between thousands" if style is POINTS and not any("," in value for value in sample) else style.message
    signs = {"cell": "", BARE: " and a currency, percent, minus or plus sign", UNMARKED: " and marks, which are left out,"}
    message = f"{what}{signs.get(text, f' and the unit {unit!r}')} in {name!r}, such as {shorten(shown)!r}, were read as numbers"
    scale = "; 12% became 12" if any(PERCENT in value for value in sample) else ""
    scale += "; (12) became -12" if text == BARE and any(value.endswith(")") for value in sample) else ""
    scale += "".join(f"; {value} became -{value[:-1]}" for value in [cell for cell in sample if re.fullmatch(r"\d[\d.,]*-", cell)][:1])
    scale += "; <5 became 5" if text == UNMARKED and any(re.match(BOUND, value) for value in sample) else ""
    scale += ". Choose category if the marks matter" if text == UNMARKED else ""
    letter = LETTERED.fullmatch(shown)
    if unsure := style is AMOUNTS and letter is not None and letter[2] != "" and not any(map(AMOUNT.match, sample)):
        scale += f"; {shown} became {float(letter[1].replace(',', '')) * WORTH[letter[2].upper()]:,.0f}. Choose category if that is wrong"
    if doubt := style is AMOUNTS and letter_of_all(sample) == "K":
        scale += f"; 1K became 1e3. If K means kelvin, let the column's name say so, such as {f'{name} kelvin'!r}"
    own = style.unit or (None if text in signs else unit)
    if own in SHORTENED and not LETTER_UNITS[own.upper()].search(name):
        scale += f". Choose number, under Columns, if {own} means {SHORTENED[own]}"
    code = "marks" if text == UNMARKED else "units" if own else style.code
    cells = [value for value in sample if re.search("[1-9]", value) and not re.search(r"[^\W\d_]{2}", re.sub(MONEY, "", value))]
    marks = {frozenset(sign.rstrip(".") for sign in re.findall(f"{MONEY}|%", cell)) for cell in cells}
    if text == BARE and (len(marks - {NO_SIGN}) > 1 or {frozenset("%"), NO_SIGN} <= marks):
        named = ", ".join(map(repr, sorted(NO_SIGN.union(*marks)))) + " and no sign" * (NO_SIGN in marks)
        message, code = f"{message}, with different signs: {named}. Convert them to one unit if they differ in it", "mixed-signs"
    typed = [cell for cell in sample if own == "s" and TYPED_NUMBER.fullmatch(cell)]
    plain, timed = (next((cell for cell in typed if cell.endswith(" s") == ends and re.search("[1-9]", cell)), None) for ends in (0, 1))
    if plain and timed:
        message = f"{name!r} mixes durations in seconds, such as {timed!r}, and plain numbers, such as {plain!r}; all were read as numbers"
        message, code = f"{message}. Convert them to one unit if they differ in it", "mixed-signs"
    told = Finding("warning" if text == UNMARKED or code == "mixed-signs" or doubt or unsure else "info", code, f"{message}{scale}.", name)
    own = own or (PERCENT if any(PERCENT in cell for cell in sample) else None)
    return Typed("number", fitting.value, (told,), unit=own, decimal_comma={POINTS: True, COMMAS: False}.get(style))


def stray_words(name: str, unread: int, filled: int, wrong: str, *, what: str = "number", most: float = STRAY_SHARE) -> Asking[Typed]:
    """Types a column as words; if all but a few cells, up to the share ``most``, are numbers or dates, asks whether these mean missing."""
    kind = (yield from as_words()).kind
    if unread > filled * most or unread == filled:
        return Typed(kind, "cell")
    words = tuple((yield from unread_words(wrong)))
    if len(words) > STRAY_WORDS or any(shorten(word) != word for word in words):
        told = f"{name!r} holds {what}s in {filled - unread:,} cells and other text in {unread:,}, such as {shorten(words[0])!r}"
        message = f"{told}; it is read as {kind}. Choose {what} under Columns if the others may become missing."
        told_share = STRAY_TEXT if kind == "text" else STRAY_SHARE
        return Typed(kind, "cell", (Finding("info", f"mixed-{what}s", message, name),) if unread <= filled * told_share else ())
    shown = ", ".join(repr(word) for word in words)
    message = f"{name!r} holds {what}s in {filled - unread:,} cells and {shown} in {unread:,}; it is read as {kind}."
    offer = f"{message} If these words mean missing, say so and the column becomes a {what}."
    question = Question(f"mixed-{what}s", offer, "missing_marks", words)
    return Typed(kind, "cell", (Finding("warning", f"mixed-{what}s", message, name),), (question,))
