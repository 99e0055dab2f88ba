"""Numbers as a person types them, both ways.

In: texts out of a field, or numbers. Out: the numbers, or the SettingError that says what to type; the shortest text that reads back.
"""

from collections.abc import Iterable

from tabtune_core.errors import SettingError
from tabtune_core.settings.labels import short_rate


def written(value: float) -> str:
    """A number as a person types it, in full."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(float(value))


def written_rate(rate: float) -> str:
    """A learning rate as a person types it, in full."""
    return short_rate(rate) if float(short_rate(rate)) == rate else repr(float(rate))


def read_numbers(what: str, texts: Iterable[str]) -> tuple[float, ...]:
    """The numbers of a list that a person typed into, smallest first, each once.

    Raises:
        SettingError: naming the text that is not a number.
    """
    numbers = set()
    for text in texts:
        try:
            numbers.add(float(text))
        except ValueError as error:
            raise SettingError(f"{what} is {text!r}, which is not a number; type for example 0.1 or 2e-4.") from error
    return tuple(sorted(numbers))


def read_seeds(text: str) -> tuple[int, ...]:
    """Whole numbers between commas or blanks.

    Raises:
        SettingError: for anything else.
    """
    parts = text.replace(",", " ").split()
    if not parts or not all(part.isdecimal() for part in parts):
        raise SettingError(f"Seeds are {text!r}; write whole numbers with commas between them, for example 0, 1, 2.")
    return tuple(int(part) for part in parts)
