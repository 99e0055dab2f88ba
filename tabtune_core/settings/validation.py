"""Checks of user input that every settings class runs on itself.

In: settings. Out: nothing, or a SettingError that says what was given and what is allowed.
"""

import sys
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

from tabtune_core.errors import SettingError
from tabtune_core.settings.fields import Setting, rows_of, sections_of
from tabtune_core.wording import counted

END_LETTERS = 500
"""Characters kept at the beginning of a long message, which names the setting, and at its end, which is the way out."""


def require(ok: bool, message: str) -> None:
    """Raises a SettingError unless ``ok``; a long message, which may quote any value, loses its middle."""
    if not ok:
        short = len(message) <= 2 * END_LETTERS
        raise SettingError(message if short else f"{message[:END_LETTERS]} … {message[-END_LETTERS:]}")


def check(settings: Any) -> None:
    """Refuses values that their settings do not allow. Turns lists into tuples and mappings into dictionaries."""
    for row in rows_of(settings.__class__):
        value = getattr(settings, row.name)
        if value is not row.default and (value is not None or not row.optional):
            object.__setattr__(settings, row.name, _checked(row, row.path, value))
    for part in (settings, *(getattr(settings, name) for name in sections_of(settings.__class__))):
        for row in rows_of(part.__class__):
            if row.idle and getattr(settings, row.idle.other, None) == row.idle.value:
                require(getattr(part, row.name) == row.default, f"{row.path} changes nothing {row.idle.why}")


def _checked(row: Setting, name: str, value: Any) -> Any:
    kind, of = get_origin(row.kind) or row.kind, get_args(row.kind)
    if kind is str:
        require(isinstance(value, str), f"{name} is {value!r}; it must be text.")
    elif kind is bool:
        require(isinstance(value, bool), f"{name} is {value!r}; it must be true or false.")
    elif kind is Literal:
        require(value in of, f"{name} is {value!r}; it must be one of {', '.join(of)}.")
    elif kind is Mapping:
        named = isinstance(value, Mapping) and all(isinstance(part, str) and part for part in value)
        require(named, f"{name} is {value!r}; it must give a number to each name, for example {{'decoder': 4}}.")
        for part, number in value.items():
            _check_number(row, f"{name}.{part}", number, of[1])
        return dict(value)
    elif kind is tuple:
        return _checked_list(row, name, value, of)
    else:
        _check_number(row, name, value, kind)
    return value


def _checked_list(row: Setting, name: str, value: Any, of: tuple[Any, ...]) -> tuple[Any, ...]:
    example = "" if isinstance(value, bool | dict) else f", for example [{value!r}]"
    require(isinstance(value, list | tuple), f"{name} is {value!r}; it must be a list{example}.")
    if of[0] is str:
        require(_are_texts(value), f"{name} is {value!r}; it must be a list of texts.")
    elif get_origin(of[0]) is tuple:
        nested = all(isinstance(part, list | tuple) and _are_texts(part) for part in value)
        require(nested, f"{name} is {value!r}; it must be a list of lists of texts, for example [['decoder'], []].")
        return tuple(tuple(part) for part in value)
    elif of[1] is not Ellipsis:
        require(len(value) == len(of), f"{name} has {counted(len(value), 'value')}; it takes {len(of)}. {row.hint}")
    if of[0] in (int, float) and not row.axis:  # the values of an axis are checked by the setting that they are for
        for number in value:
            _check_number(row, name, number, of[0])
    return tuple(value)


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)


def bounds(row: Setting) -> tuple[str, str]:
    """Returns the lower and upper bound of a setting in words; the upper one is empty if there is none."""
    upper = f"below {row.below}" if row.below is not None else f"at most {row.high}" if row.high is not None else ""
    return f"at least {row.low}" if row.above is None else f"above {row.above}", upper


def _check_number(row: Setting, name: str, value: Any, kind: type) -> None:
    """Refuses anything but a number within the bounds of a setting."""
    whole, start = kind is int, f"{name} is {value!r}; it must be"
    lower, upper = bounds(row)
    inside = (
        isinstance(value, int if whole else int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max  # False for NaN, and for whole numbers larger than any float
        and (row.above is None or value > row.above)
        and (row.low is None or value >= row.low)
    )
    under = inside and (row.below is None or value < row.below) and (row.high is None or value <= row.high)
    if whole:
        require(inside, f"{start} a whole number of {lower}. {row.hint}".rstrip())
        require(under, f"{start} {upper}. {row.hint}".rstrip())
    require(under, f"{start} {' and '.join(filter(None, (lower, upper)))}. {row.hint}".rstrip())
