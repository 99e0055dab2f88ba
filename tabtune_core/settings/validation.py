"""Checks on user input that every settings class makes of itself.

In: a value, its name and its bounds. Out: nothing, or a SettingError that says what was asked and what would do.
"""

import dataclasses
import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

from tabtune_core.errors import SettingError
from tabtune_core.files.plain_values import hints_of

MOST_WHOLE = 2**53
"""Beyond it a whole number is not one any more once it has been a float."""

END_LETTERS = 500
"""Of a message: its beginning names the setting, its end says what to do."""


def require(ok: bool, message: str) -> None:
    """Raises a SettingError with this message unless ``ok``; where a value of any length is quoted in it, without its middle."""
    if not ok:
        raise SettingError(message if len(message) <= 2 * END_LETTERS else f"{message[:END_LETTERS]} … {message[-END_LETTERS:]}")


def check_number(name: str, value: object, low: float, high: float, hint: str, *, low_open: bool = False, high_open: bool = False) -> None:
    """Refuses what is no number between the bounds, which are open where it is said."""
    inside = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max  # also of whole numbers that no float holds; false of NaN
        and (value > low if low_open else value >= low)
        and (value < high if high_open else value <= high)
    )
    bounds = f"{'above' if low_open else 'at least'} {low:g}"
    if math.isfinite(high):
        bounds += f" and {'below' if high_open else 'at most'} {high:g}"
    require(inside, f"{name} is {value!r}; it must be {bounds}. {hint}".rstrip())


def whole_number(text: str) -> int:
    """How many of something there are to be, from a command line or a variable.

    >>> whole_number(" 2 ")
    2

    Raises:
        SettingError: it is no whole number, or below 1.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    require(number > 0, f"{text[:20]!r} is no whole number of at least 1. Write for example 2.")
    return number


def check_kinds(settings: Any, section: str) -> None:
    """Refuses what is no text, choice, switch or list where one is wanted; numbers are checked one by one, with their bounds."""
    kind: Any = type(settings)
    for name, hint in hints_of(kind).items():
        if name.startswith("_"):
            continue
        value = getattr(settings, name)
        if value is None and type(None) in get_args(hint):
            continue
        if hint in (str, str | None):
            require(isinstance(value, str), f"{section}{name} is {value!r}; it must be text.")
        elif get_origin(hint) is Literal:
            choices = get_args(hint)
            require(value in choices, f"{section}{name} is {value!r}; it must be one of {', '.join(choices)}.")
        elif hint is bool:
            require(isinstance(value, bool), f"{section}{name} is {value!r}; it must be true or false.")
        elif get_origin(hint) is tuple:
            object.__setattr__(settings, name, _as_tuple(f"{section}{name}", value, get_args(hint)[0]))
        elif get_origin(hint) is Mapping:
            named = isinstance(value, Mapping) and all(isinstance(part, str) and part for part in value)
            require(named, f"{section}{name} is {value!r}; it must give a number to each name, for example {{'decoder': 4}}.")
            object.__setattr__(settings, name, dict(value))


def _as_tuple(name: str, value: object, kind: Any) -> tuple[Any, ...]:
    """A list of values of one kind; texts and lists of texts are checked here."""
    require(isinstance(value, list | tuple), f"{name} is {value!r}; it must be a list, for example [{value!r}].")
    assert isinstance(value, list | tuple)
    if kind is str:
        require(_are_texts(value), f"{name} is {value!r}; it must be a list of texts.")
    elif get_origin(kind) is tuple:
        nested = all(isinstance(part, list | tuple) and _are_texts(part) for part in value)
        require(nested, f"{name} is {value!r}; it must be a list of lists of texts, for example [['decoder'], []].")
        return tuple(tuple(part) for part in value)
    return tuple(value)


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)


def check_whole(name: str, value: object, low: int, hint: str = "") -> None:
    """Refuses what is no whole number of at least ``low``, and one that no run reaches."""
    if isinstance(value, int):
        require(value <= MOST_WHOLE, f"{name} has more digits than any run reaches; it must be at most {MOST_WHOLE:,}. {hint}".rstrip())
    ok = isinstance(value, int) and not isinstance(value, bool) and value >= low
    require(ok, f"{name} is {value!r}; it must be a whole number of at least {low}. {hint}".rstrip())


def changed(settings: Any, names: tuple[str, ...]) -> list[str]:
    """Those of the fields that are not at their default."""
    return [f.name for f in dataclasses.fields(settings) if f.name in names and getattr(settings, f.name) != f.default]
