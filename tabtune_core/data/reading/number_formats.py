"""The formats in which people write numbers, as regular expressions of a cell and SQL for its number."""

import re
from dataclasses import dataclass

from tabtune_core.data.reading.batched_queries import quoted

MONEY = r"[$¢-¥฿₠-₿￠￡￥￦]|USD|EUR|GBP|CHF|CNY|INR|JPY|Rs\.?|R\$|US\$"
LED = (
    rf"U\$S|{MONEY}|(?:AU?|CA?|HK|MX|NT|NZ|S)\$|(?:S/|kr|Rp)\.?\s|(?:AUD|BRL|CAD|CLP|COP|CZK|DKK|HKD|HUF|IDR|KRW|MXN|MYR|NOK|NZD|PHP|PLN|SEK|SGD|THB"
    r"|TWD|UAH|UYU|VND|ZAR)\s"
)
"""Money before its amount. Behind it, other words than those of ``MONEY`` are the unit of the column."""
MINUS = "\u2212\u2013"
"""The typographic minus sign and the en dash, used instead of "-"."""
SIGNED = f"replace(replace(cell, '{MINUS[0]}', '-'), '{MINUS[1]}', '-')"  # translate takes three times as long
BRACKETED = rf"^({LED})?\s*\(([^()]*\d%?)\s*\)\s*%?$|^(\d[\d.,]*[.,]\d\d+)-$"
"""A negative number as accountants and SAP write it; a grade such as 2- or 1.3- is none."""
SURROUNDED = rf"^([+-]?)\s*({LED}|%)\s*|^([+-])\s+|\s*({MONEY}|/-|%|\+)$"
BARE = rf"regexp_replace(regexp_replace({SIGNED}, '{BRACKETED}', '-\2\3'), '{SURROUNDED}', '\1\3', 'g')"
_FLAG = "[AC-JLN-Za-jln-z]"
BOUND, FLAG = r"[<>≤≥~≈]=?\s*", rf"\s+(?:{_FLAG}|{_FLAG}[AC-JLN-QS-Za-jln-qs-z]|[AE-JLN-Zae-jln-z][Rr])"
"""A mark before a number that was too small or large to measure; a flag after a number, as laboratories (H) and
statistical offices (e) write it, except K, M and B, which mean thousands, millions and billions, and CR and DR: a
credit has the other sign.
"""
FOOTNOTE = r"\s*(?:\[[^\]]{1,9}\]|[*†‡§]+)"
UNMARKED = rf"regexp_replace({SIGNED}, '^{BOUND}|(?:{FLAG}|{FOOTNOTE})$', '', 'g')"
PERCENT = "%"


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
    rf"[+-]?(\d+{POWER}|(\d+|\d{{1,3}}((\.|{GAP})\d{{3}})+)(,\d+{POWER})?|,\d+{POWER})",  # 1.234E5 has no thousands
    f"replace(replace(regexp_replace({{cell}}, '{GAP}', '', 'g'), '.', ''), ',', '.')",
)
COMMAS = NumberFormat(
    "thousands",
    "Numbers with commas between thousands",
    # also in lakhs and crores, 12,34,567; 1,234E5 has a decimal comma
    rf"[+-]?(\d+{POWER}|(\d+|\d{{1,3}}(,\d{{3}})+|\d{{1,2}}(,\d{{2}})+,\d{{3}})(\.\d+{POWER})?|\.\d+{POWER})",
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
    r"[+-]?((\d+|\d{1,3}(,\d{3})+)(\.\d+)?\s?[KkMmBb]?|\d+,\d{1,2}\s?[KkMmBb])",
    "regexp_replace(regexp_replace({cell}, ',(\\d\\d?\\D)', '.\\1'), '[^\\d.+-]', '', 'g')"
    " || 'e' || (strpos('KMB', upper({cell}[-1:])) * 3)",
    "K, M or B",
)
SURE_COMMA = rf"[+-]?\d{{1,3}}((\.|{GAP})?\d{{3}})*,((\d{{1,2}}|\d{{4,}}){POWER}|\d{{3}}[eE][+-]?\d{{1,3}})"
"""A number whose comma must be a decimal comma."""
GROUPED = r"[+-]?(0|[1-9]\d{0,2}(\.\d{3})*)"
"""A number whose points, if any, may separate thousands."""
SURE_POINT = re.compile(r"[+-]?(0\.\d{3}|\d*\.(\d{1,2}|\d{4,}))")
"""A number whose point must be a decimal point."""
ZERO_COMMA, ZERO_POINT = re.compile(r"(?<![\d.,])0,\d{3}$"), re.compile(r"[+-]?0\.\d{3}")
"""Numbers whose mark hardly separates thousands."""
PLAIN = "(CASE WHEN NOT contains(cell, '_') THEN TRY_CAST(cell AS DOUBLE) END)"
FINITE = f"(CASE WHEN isfinite({PLAIN}) THEN {PLAIN} END)"
UNREAD = f"(cell IS NOT NULL AND {PLAIN} IS NULL)"


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


def with_point(text: str) -> str:
    """Returns a number with a decimal comma as Python writes it, and any other text unchanged.

    >>> list(map(with_point, ("1.234,5", "21.428", "62,3", "1.5", "0.652", "about 3")))
    ['1234.5', '21428', '62.3', '1.5', '0.652', 'about 3']
    """
    fits = re.fullmatch(POINTS.pattern, text.strip(), re.ASCII) and not ZERO_POINT.fullmatch(text.strip())
    return re.sub(rf"{GAP}|\.", "", text.strip()).replace(",", ".") if fits else text
