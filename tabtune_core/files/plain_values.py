"""Checks values from untrusted JSON or TOML: limits their size, depth and numbers.

In: a text or values. Out: the same values, safe to traverse, store and display.
"""

import dataclasses
import functools
import json
import math
import re
import types
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from tabtune_core.files.damaged import Damaged

DEPTH = 32
"""Deepest nesting of lists; this package writes at most eight levels."""
MOST_PARTS = 4_000_000
"""Most brackets, commas and quotation marks: each value takes tens of bytes in memory, however short its text is."""
LARGEST = 2**63 - 1
"""The largest whole number of 64 bits."""
TOO_LARGE = "it holds a whole number of more than 64 bits"
LONGEST_TEXT = 10_000
"""Most letters of the name of a class, a column or a layer."""
SHA256 = re.compile(r"[0-9a-f]{64}")
Kind = TypeVar("Kind")


def read_json(content: bytes) -> Any:
    """Reads a JSON text, with NaN and Infinity as Python writes them.

    Raises:
        Damaged: it is not JSON, is nested too deeply, or has numbers or letters that cannot be stored.
    """
    if sum(content.count(mark) for mark in (b"[", b"{", b",", b'"')) > MOST_PARTS:
        raise Damaged("its JSON holds too many values (several million)")
    try:
        values = json.loads(content.decode("utf-8-sig"), parse_int=_whole)
    except UnicodeDecodeError as error:
        raise Damaged(f"its JSON is not text in UTF-8 (byte {error.start:,})") from error
    except RecursionError as error:
        raise Damaged(f"its JSON is nested deeper than {DEPTH} levels") from error
    except json.JSONDecodeError as error:
        raise Damaged(f"its JSON is malformed or truncated ({error})") from error
    check_values(values)
    if b"\\u" in content:
        try:
            json.dumps(values, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise Damaged("its JSON holds half of a letter (a lone surrogate), which cannot be displayed") from error
    return values


def _whole(text: str) -> int:
    if len(text) > len(str(-LARGEST)) or abs(int(text)) > LARGEST:
        raise Damaged(TOO_LARGE)
    return int(text)


def check_values(values: Any) -> None:
    """Raises Damaged if lists and dictionaries are nested too deeply, or hold a whole number beyond LARGEST."""
    level, depth = [values], 0
    while level:
        depth += 1
        if depth > DEPTH:
            raise Damaged(f"it is nested deeper than {DEPTH} levels")
        lists = (one.values() if isinstance(one, dict) else one if isinstance(one, list) else (one,) for one in level)
        parts = [part for one in lists for part in one]
        if any(isinstance(part, int) and abs(part) > LARGEST for part in parts):
            raise Damaged(TOO_LARGE)
        level = [part for part in parts if isinstance(part, dict | list) and part]


def entry(values: Any, name: str, kind: type | tuple[type, ...]) -> Any:
    """Returns the value of a dotted name; raises Damaged if it is missing, of another type (bool: no number) or NaN."""
    value = values
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise Damaged(f"it lacks the entry '{name}'")
        value = value[part]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise Damaged(f"its entry '{name}' has the wrong type ({type(value).__name__})")
    if isinstance(value, float) and not math.isfinite(value):
        raise Damaged(f"its entry '{name}' is {value}, which is not a finite number")
    return value


def digest(values: Any, name: str) -> str:
    """Returns the value of a dotted name, checked to be a SHA-256 in hex; raises Damaged if it is not."""
    if not SHA256.fullmatch(value := str(entry(values, name, str))):
        raise Damaged(f"its entry '{name}' is not a SHA-256")
    return value


def only(values: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raises Damaged for an entry that this version does not know: the file may mean something else by it."""
    for name in values:
        if name not in known:
            raise Damaged(f"{where} has the entry {str(name)[:60]!r}, which this version does not know")


def texts(values: Any, name: str) -> tuple[str, ...]:
    """Returns a list of different texts as a tuple; raises Damaged if it is not such a list."""
    if not isinstance(values, list) or not all(isinstance(part, str) and len(part) <= LONGEST_TEXT for part in values):
        raise Damaged(f"its entry '{name}' is not a list of texts")
    if len(set(values)) < len(values):
        raise Damaged(f"its entry '{name}' has duplicates")
    return tuple(values)


def check_fields(values: Any) -> None:
    """Raises Damaged if a field of a dataclass made of untrusted values does not have its annotated type."""
    kind: Any = type(values)
    hints = hints_of(kind)
    for field in dataclasses.fields(values):
        if not fits(getattr(values, field.name), hints[field.name]):
            raise Damaged(f"its {type(values).__name__} has a {field.name} of the wrong type")


def restored(kind: type[Kind], value: Any) -> Kind:
    """Returns the dataclass that ``dataclasses.asdict`` and JSON turned into objects and lists.

    Raises:
        Damaged: a field does not have its annotated type.
        TypeError or AttributeError: a field is missing or unknown, or the value is not an object.
    """
    made: Any = value
    if dataclasses.is_dataclass(kind):
        hints = hints_of(kind)
        made = kind(**{name: restored(hints.get(name, Any), part) for name, part in value.items()})
        check_fields(made)
    elif get_origin(kind) is tuple and isinstance(value, list | tuple):
        made = tuple(restored(get_args(kind)[0], part) for part in value)
    return cast("Kind", made)


@functools.cache
def hints_of(cls: Any) -> dict[str, Any]:
    """Returns the type hints of a class; cached, since a workspace with many runs asks thousands of times."""
    return get_type_hints(cls)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value matches a type hint; an int also matches float, a bool or an int beyond LARGEST neither.

    >>> fits({"a": 1}, dict[str, float]), fits(True, int), fits(None, int | None), fits(("a", 1), tuple[str, ...])
    (True, False, True, False)
    >>> fits(("a", 1), tuple[str, int]), fits(("a",), tuple[str, int])
    (True, False)
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in parts
    if origin in (types.UnionType, Union):
        return any(fits(value, part) for part in parts)
    if origin is dict:
        return isinstance(value, dict) and all(fits(part, parts[1]) for part in value.values())
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        of = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        return len(of) == len(value) and all(map(fits, value, of))
    if hint in (int, float):
        is_number = isinstance(value, int | hint) and not isinstance(value, bool)
        return is_number and (isinstance(value, float) or abs(value) <= LARGEST)
    return hint is Any or isinstance(value, hint)
