"""Recognizes the unit, or the K, M or B of thousands, millions and billions, after the numbers of a column."""

import re
from collections import Counter
from collections.abc import Sequence

from tabtune_core.data.reading.number_formats import MINUS, MONEY
from tabtune_core.data.reading.unread_cells import STRAY_SHARE

POWER_OF_UNIT = r"(?<=[^\W\d_xX])\^?-?[1-3](?!\d)|(?<=/)\d+(?=\s?[^\W\d_])"
"""What follows a letter in m2, kg/m^2 and s-1, or a stroke in l/100km."""
NUMERALS = "²³¹¼-¾⁰-₉⅐-↏①-⓿"
"""Characters that count as letters in a regular expression but are numbers."""
UNIT = re.compile(
    rf"[+{MINUS}-]?\d+(?:[., \u00a0\u202f]\d+)*(?:[eE][+-]?\d+)?\s*"
    rf"((?:[^\W\d_{NUMERALS}]|°)(?:[^\W\d_{NUMERALS}]|[ /²³°*^·.%]|{POWER_OF_UNIT})*)"
)
"""A number with a unit after it, in any script."""
POWERS = str.maketrans({"2": "[2²]", "²": "[2²]", "3": "[3³]", "³": "[3³]"})
"""In a pattern of a unit, m2 and m² are the same."""
PLURAL, HAS_PLURAL = re.compile(r"(?<=[a-z]{3})s$"), re.compile("[a-z]{2}$")
"""lb and lbs are one unit; m and ms, V and Vs, kW and kWs are not."""
AMOUNT = re.compile(rf".*(\d\.\d+|\d,\d\d?|({MONEY}).*\d)\s?[KkMB]")
"""A number with K, M or B where a decimal point or a currency shows that the letter is not a unit or part of a code."""
ASKED_AMOUNT = re.compile(r".*\d\s?[KkMB]")
"""The same without that evidence, for a column that the person asked to read as numbers."""
LETTERED = re.compile(r"[+-]?(\d{1,15}|\d{1,3}(?:,\d{3}){1,4})(?:\.\d+)?([KkM]?)")
SAME_SIZE = 3
"""How many times as large or small as the numbers with a letter those without may be, if the letter is a unit that they
lack.
"""
WORTH = {"K": 1e3, "M": 1e6}
SHORTENED = {"k": "thousands", "K": "thousands", "M": "millions"}
LETTER_UNITS = {
    "K": re.compile(r"kelvin|^(temp(erature)?s?|t)([\W_]*k\W*)?$", re.IGNORECASE),
    "M": re.compile(r"molar|(?<![a-z])conc(entration)?s?(?![a-z])", re.IGNORECASE),
}
"""Names of columns that tell that a letter is a unit, not thousands or millions."""


def letter_of_all(sample: Sequence[str]) -> str:
    """Returns the K (of 100 and more) or M that may be a unit, since all of the cells end with it and none has a
    currency; else "".
    """
    letters = {cell[-1:] for cell in sample}
    if letters not in ({"K"}, {"M"}) or any(re.search(MONEY, cell) for cell in sample):
        return ""
    return "M" if letters == {"M"} else "K" * all(re.match(r"\d{3}", cell) for cell in sample)


def abbreviates(name: str, sample: Sequence[str]) -> bool:
    """Returns True if a letter after some of the numbers shortens them: there are K and M, or several numbers without
    it differ in size.

    >>> [abbreviates("n", cells.split()) for cells in ("900K 3M", "850 900 1K 12K", "295 0 300K", "5 30M 31M", "1K 2A")]
    [True, True, False, False, False]
    """
    sizes: dict[str, list[int]] = {}
    for found in map(LETTERED.fullmatch, sample):
        if found:
            sizes.setdefault(found[2].upper(), []).append(int(found[1].replace(",", "")))
    plain, known = sizes.pop("", []), sum(map(len, sizes.values()))
    if (
        not sizes
        or known + len(plain) < len(sample) * (1 - STRAY_SHARE)
        or any(LETTER_UNITS[letter].search(name) for letter in sizes)
    ):
        return False
    with_letter = [size for one in sizes.values() for size in one]
    low, high = min(with_letter) / SAME_SIZE, max(with_letter) * SAME_SIZE
    return len(sizes) > 1 or sum(size > 0 and not low <= size <= high for size in plain) > 1


def unit_of(sample: Sequence[str]) -> str | None:
    """Returns the unit that nearly all of the different cells in ``sample`` have after their number, or None.

    >>> unit_of(["12 km", "5.4 km"]), unit_of(["1 vote", "2 votes"]), unit_of(["12 km", "5 mi"]), unit_of(["1. man", "2. man"])
    ('km', 'vote', None, None)
    >>> unit_of(["1 m2", "5 m2"]), unit_of(["5 l/100km", "7,5 l/100km"]), unit_of(["3 B52", "4 B52"]), unit_of(["8h30", "9h30"])
    ('m2', 'l/100km', None, None)
    """  # noqa: E501
    found = Counter(PLURAL.sub("", match[1].rstrip()) for match in map(UNIT.fullmatch, sample) if match)
    (unit, count), *_ = found.most_common(1) or [("", 0)]
    return unit if count > 1 and count >= len(sample) * (1 - STRAY_SHARE) else None
