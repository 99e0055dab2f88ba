"""Untrusted JSON has limits and is refused with what was found."""

import dataclasses
import json

import pytest

from tabtune_core.files.damaged import Damaged
from tabtune_core.files.plain_values import DEPTH, check_values, entry, only, read_json, restored, texts


def nested(depth):
    return b"[" * depth + b"]" * depth


def test_values_written_by_python_are_read_back():
    values = {"a": [1, 2.5, None, True, "é🙂"], "b": {"c": -(2**63 - 1)}, "loss": float("inf")}
    assert read_json(json.dumps(values).encode()) == values
    assert read_json(nested(DEPTH)) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (nested(DEPTH + 2), "nested deeper than 32 levels"),
        (nested(100_000), "nested deeper than 32 levels"),
        (b"9" * 30, "a whole number of more than 64 bits"),
        (b"-" + b"9" * 6000, "a whole number of more than 64 bits"),
        (str(2**63).encode(), "a whole number of more than 64 bits"),
        (b'"\\ud800"', "half of a letter"),
        (b"\xff", "not text in UTF-8"),
        (b'{"a": ', "malformed or truncated"),
        (b"[" + b"[]," * 2_000_001, "too many values"),
    ],
)
def test_json_that_could_break_a_reader_is_refused(text, message):
    with pytest.raises(Damaged, match=message):
        read_json(text)


def test_a_tree_that_was_not_bounded_as_text_is_checked_too():
    deep = here = {}
    for _ in range(5000):  # as dotted keys of TOML make it
        here["a"] = here = {}
    with pytest.raises(Damaged, match="nested deeper"):
        check_values(deep)
    with pytest.raises(Damaged, match="whole number of more than 64 bits"):
        check_values({"a": [{"b": 10**30}]})


def test_an_entry_of_another_type_is_named():
    values = {"a": {"b": 1, "c": True, "d": float("nan")}}
    assert entry(values, "a.b", int) == 1
    for name, kind, message in (
        ("a.x", int, "lacks"),
        ("a.b", str, "wrong type"),
        ("a.c", int, "wrong type"),
        ("a.d", float, "is nan"),
    ):
        with pytest.raises(Damaged, match=message):
            entry(values, name, kind)
    with pytest.raises(Damaged, match="has the entry 'z', which this version does not know"):
        only({"z": 1}, ("a",), "it")
    for wrong in ("ab", [1], ["a", "a"]):
        with pytest.raises(Damaged, match="'names'"):
            texts(wrong, "names")


@dataclasses.dataclass(frozen=True)
class Part:
    name: str
    pairs: tuple[tuple[str, bool], ...] = ()


@dataclasses.dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...]
    first: Part


def test_nested_dataclasses_come_back_from_json():
    whole = Whole((Part("a", (("x", True), ("y", False))), Part("b")), Part("c"))
    assert restored(Whole, json.loads(json.dumps(dataclasses.asdict(whole)))) == whole


@pytest.mark.parametrize(
    ("part", "error", "message"),
    [
        ({"name": 3}, Damaged, "its Part has a name of the wrong type"),
        ({"name": "a", "pairs": "xy"}, Damaged, "a pairs of the wrong type"),
        ({"name": "a", "pairs": [["x", "y"]]}, Damaged, "a pairs of the wrong type"),
        ({"name": "a", "pairs": [["x", True, True]]}, Damaged, "a pairs of the wrong type"),
        ({"name": "a", "other": 1}, TypeError, "other"),
        ({}, TypeError, "name"),
        ([], AttributeError, "items"),
    ],
)
def test_a_dataclass_with_other_fields_is_refused(part, error, message):
    with pytest.raises(error, match=message):
        restored(Whole, {"parts": [part], "first": {"name": "c"}})
