"""How counts and numbers are written in texts, and letters that the output lacks."""

import io
import math
import sys
from collections.abc import Sequence

LARGEST = 1e15
"""From this value on, numbers are written as powers of ten."""

SMALLEST = 1e-12
"""Values of columns below this are written as powers of ten."""
MOST_PLACES = 8
"""Scores with more decimal places are written as powers of ten."""


def counted(number: int, noun: str) -> str:
    """Writes a count with its noun, in the plural if needed.

    >>> counted(1, "run"), counted(2_000, "run"), counted(0, "set of target modules")
    ('1 run', '2,000 runs', '0 sets of target modules')
    """
    head, of, rest = noun.partition(" of ")
    return f"{number:,} {head}{'s' * (number != 1)}{of}{rest}"


def few(names: Sequence[str], most: int = 3) -> str:
    """Lists the first ``most`` names and the number of the others.

    >>> few(["a", "b"]), few(["a", "b", "c"], 2)
    ('a, b', 'a, b and 1 more')
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def number(value: float, digits: int = 6) -> str:
    """Writes a value of a column with up to ``digits`` digits; very small and large values as powers of ten.

    >>> number(1_686_490), number(0.27854321), number(-1234.50), number(-0.00000123), number(1_686_490.4, digits=4), number(float("nan"))
    ('1,686,490', '0.278543', '-1,234.5', '-0.00000123', '1,686,490', 'N/A')
    >>> number(-0.0), number(5.35e-15)
    ('0', '5.35e-15')
    """  # noqa: E501
    if not math.isfinite(value):
        return "N/A"
    if abs(value) >= LARGEST or 0 < abs(value) < SMALLEST:
        return f"{value:.{digits}g}".replace("e+", "e")
    behind = max(digits - 1 - power_of_ten(value), 0) if value else 0
    return f"{value:,.{behind}f}".rstrip("0").rstrip(".") if behind else f"{value:z,.0f}"


def power_of_ten(value: float) -> int:
    """Returns the place of the first digit of a number that is not 0: 0 for ones, -2 for hundredths."""
    return math.floor(math.log10(abs(value)))


def decimal(value: float, places: int, *, signed: bool = False) -> str:
    """Writes a number with this many decimal places, or as a power of ten if it would look like 0 or is very large.

    >>> decimal(1234.5, 2), decimal(0.43, 0), decimal(0.00001, 4), decimal(2e-15, 17, signed=True), decimal(0.0, 17), decimal(1e100, 0)
    ('1,234.50', '0.43', '1.0e-05', '+2.00e-15', '0', '1.0000e+100')
    """  # noqa: E501
    sign = "+z" if signed else "z"
    if not value or not math.isfinite(value):
        return f"{value:{sign},.{places if places <= MOST_PLACES else 0}f}"
    power = power_of_ten(value)
    if abs(value) >= LARGEST:
        return f"{value:{sign}.4e}"
    if -4 <= power < -places:
        return f"{value:{sign},.{1 - power}f}"
    if power < -places or (places > MOST_PLACES and power < -4):
        return f"{value:{sign}.{max(places + power, 1)}e}"
    return f"{value:{sign},.{places}f}"


def same_digits(values: Sequence[float], places: int, *, signed: bool = False) -> list[str]:
    """Writes the numbers of an interval alike: with ``places`` decimals or more, or all as powers of ten.

    No number but 0 looks like 0.

    >>> same_digits([0.0106, -7.2e-05], 4, signed=True), same_digits([0.3, 1200], 0), same_digits([3e-10, 2e-3], 4)
    (['+0.0106', '-0.0001'], ['0.3', '1,200.0'], ['3.0e-10', '2.0000e-03'])
    """
    sizes, sign = [abs(value) for value in values if value and math.isfinite(value)], "+z" if signed else "z"
    while sizes and not round(min(sizes), places):
        places += 1
    if places <= MOST_PLACES and max(sizes, default=0.0) < LARGEST:
        return [f"{value:{sign},.{places}f}" for value in values]
    digits = [min(max(places + power_of_ten(value), 1), 4) if value and math.isfinite(value) else 0 for value in values]
    return [f"{value:{sign}.{after}e}" if after else f"{value:g}" for value, after in zip(values, digits, strict=True)]


def print_what_the_encoding_lacks() -> None:
    """Has letters that the encoding of the output lacks, as in the locale C, printed as escapes, not raised."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
