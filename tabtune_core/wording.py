"""How counts and numbers are written in texts, and letters that the output lacks."""

import io
import math
import sys

LARGEST = 1e15
"""From this value on, numbers are written as powers of ten."""


def counted(number: int, noun: str) -> str:
    """Writes a count with its noun, in the plural if needed.

    >>> counted(1, "run"), counted(2_000, "run"), counted(0, "set of target modules")
    ('1 run', '2,000 runs', '0 sets of target modules')
    """
    head, of, rest = noun.partition(" of ")
    return f"{number:,} {head}{'s' * (number != 1)}{of}{rest}"


def number(value: float, digits: int = 6) -> str:
    """Writes a value of a column: commas between thousands, no power of ten below LARGEST, decimals only up to ``digits`` digits in all.

    >>> number(1_686_490), number(0.27854321), number(-1234.50), number(-0.00000123), number(1_686_490.4, digits=4), number(float("nan"))
    ('1,686,490', '0.278543', '-1,234.5', '-0.00000123', '1,686,490', 'N/A')
    >>> number(-0.0)
    '0'
    """
    if not math.isfinite(value):
        return "N/A"
    if abs(value) >= LARGEST:
        return f"{value:.{digits}g}".replace("e+", "e")
    behind = max(digits - 1 - math.floor(math.log10(abs(value))), 0) if value else 0
    return f"{value:,.{behind}f}".rstrip("0").rstrip(".") if behind else f"{value:z,.0f}"


def print_what_the_encoding_lacks() -> None:
    """Has letters that the encoding of the output lacks, as in the locale C, printed as escapes instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
