"""Settings as plain values and as TOML.

In: a settings class and a document, or settings. Out: checked settings, or plain values.
"""

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from tabtune_core.errors import SettingError, nearest
from tabtune_core.files.damaged import Damaged, refused_as
from tabtune_core.files.plain_values import check_values
from tabtune_core.settings.fields import sections_of
from tabtune_core.settings.validation import require

MOST_LETTERS = 1_000_000
"""Most characters of a document; a sweep of a thousand values has a hundredth of that."""


def read_toml(text: str, cls: Any, called: str = "The settings") -> dict[str, Any]:
    """Reads a TOML document with the sections of a settings class, for the dashboard and the command line.

    Raises:
        SettingError: the text is not TOML, is nested too deep, or has numbers or sections that no setting can have.
    """
    with refused_as(SettingError, f"{called} cannot be read as TOML"):
        if len(text) > MOST_LETTERS:
            raise Damaged(f"they have {len(text):,} characters; the limit is {MOST_LETTERS:,}")
        try:
            values = tomllib.loads(text.removeprefix("\ufeff"))  # some editors write this byte order mark
        except RecursionError as error:
            raise Damaged("they are nested too deep") from error
        check_values(values)
    _check_sections(cls, values, "")
    return values


def _check_sections(cls: Any, values: Mapping[str, Any], prefix: str) -> None:
    for name, inner in sections_of(cls).items():
        section = values.get(name, {})
        require(isinstance(section, Mapping), f"'{prefix}{name}' is {section!r}; it must be a section of settings.")
        _check_sections(inner, section, f"{prefix}{name}.")


def read_pattern(texts: Iterable[str], number: type[int] | type[float]) -> dict[str, float]:
    """Reads texts such as ``decoder=4``.

    Raises:
        SettingError: a text has another form, or two have the same name.
    """
    pattern: dict[str, float] = {}
    for text in texts:
        name, _, value = map(str.strip, text.rpartition("="))
        require(name not in pattern, f"{name!r} has two numbers; write one.")
        try:
            pattern[name] = number(value)
        except ValueError as error:
            unread = f"{text.strip()!r} is not a layer with its number; write for example decoder=4."
            raise SettingError(unread) from error
    return pattern


OWN_TARGETS = "default"
"""The model's own list of target modules, where a set of target modules is written in one word."""


def read_target_set(text: str) -> tuple[str, ...]:
    """Reads a set of target modules such as ``row_attention+prediction_head``.

    >>> read_target_set("row_attention+prediction_head"), read_target_set("default")
    (('row_attention', 'prediction_head'), ())
    """
    return () if text.strip() == OWN_TARGETS else tuple(part.strip() for part in text.split("+") if part.strip())


def written_targets(targets: Iterable[str]) -> str:
    """Writes a set of target modules in one word, as ``read_target_set`` reads it."""
    return "+".join(targets) or OWN_TARGETS


def plain_values(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the values as JSON and TOML have them: without None, and with lists in place of tuples."""
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return plain_values(value)
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def from_values(cls: Any, values: Mapping[str, Any], prefix: str) -> Any:
    """Makes checked settings of a class. Errors put ``prefix`` before the names of its fields.

    Raises:
        SettingError: a name is unknown (the error suggests the nearest) or missing, or a value is out of range.
    """
    known = [f.name for f in dataclasses.fields(cls)]
    for name in values:
        if name not in known:
            near = nearest(name, known)
            hint = f"Did you mean '{prefix}{near}'?" if near else f"Known are {', '.join(prefix + k for k in known)}."
            require(False, f"Unknown setting {prefix + name!r}. {hint}")
    _check_sections(cls, values, prefix)
    needed = [f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING]
    missing = [repr(prefix + name) for name in needed if name not in values]
    inner = {name: kind for name, kind in sections_of(cls).items() if name in values}
    made = {name: from_values(kind, values[name], f"{prefix}{name}.") for name, kind in inner.items()}
    require(not missing, f"Missing setting {', '.join(missing)}.")
    return cls(**{**values, **made})
