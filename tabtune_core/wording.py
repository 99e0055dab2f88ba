"""Words and numbers that several sentences share."""

import math

LARGEST = 1e15
"""From here on powers of ten are easier to read than digits."""


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "run"), counted(2_000, "run"), counted(0, "set of target modules")
    ('1 run', '2,000 runs', '0 sets of target modules')
    """
    head, of, rest = noun.partition(" of ")
    return f"{number:,} {head}{'s' * (number != 1)}{of}{rest}"


def number(value: float, digits: int = 6) -> str:
    """A value of a column as it is written everywhere: commas between thousands, no power of ten, and as many decimals as ``digits`` leave.

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
