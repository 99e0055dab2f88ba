"""Untrusted JSON and tensors are checked, and refused with what was found."""

import dataclasses
import errno
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from tabtune_core.errors import AdapterError
from tabtune_core.files.damaged import LONGEST, Damaged, check_file, one_line, read_text, refused_as
from tabtune_core.files.plain_values import DEPTH, check_values, entry, only, read_json, restored, texts
from tabtune_core.files.tensors import check_finite, read_tensors


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (KeyError("rank"), "it lacks the entry 'rank'."),
        (TypeError("int is not\n a list"), "an entry of it has the wrong type (int is not a list)."),
        (ValueError("broken."), "broken."),
        (ValueError(), "ValueError."),
        (RuntimeError("torn"), "torn."),
        (ValueError("a" * (LONGEST - 1)), "a" * (LONGEST - 1) + "."),
        (ValueError("a" * LONGEST), "a" * LONGEST + "."),
        (ValueError("a" * (LONGEST + 1)), "a" * (LONGEST - 1) + "…"),
    ],
)
def test_an_error_is_reported_in_one_line(found, told):
    assert one_line(found) == told
    with pytest.raises(AdapterError) as refused, refused_as(AdapterError, "x.zip is not an adapter", " Save it again."):
        raise found
    assert str(refused.value) == f"x.zip is not an adapter: {told} Save it again."


def test_a_file_without_read_permission_is_not_called_damaged(tmp_path, monkeypatch):
    (path := tmp_path / "it").write_bytes(b"whole")

    def refuse(self, *given, **more):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with (
        pytest.raises(AdapterError, match=f"^This user may not open or write to {path}"),
        refused_as(AdapterError, "no adapter", " Delete it."),
    ):
        check_file(path, most_bytes=9)


def test_a_small_text_is_read_and_a_non_text_or_too_large_file_is_refused(tmp_path):
    (path := tmp_path / "it").write_text("Zürich", encoding="utf-8")
    assert read_text(path, most_bytes=7) == "Zürich"
    with pytest.raises(Damaged, match="is the most that such a file can need"):
        read_text(path, most_bytes=6)
    path.write_bytes(b"ab\xff")
    with pytest.raises(Damaged, match=r"it is not text in UTF-8 \(byte 2\)"):
        read_text(path, most_bytes=7)


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


def with_header(header, content=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content


def one(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"a": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


def test_the_tensors_of_a_file_have_their_types_and_shapes():
    data = safetensors.numpy.save({"a": np.ones((2, 3), np.float32), "b": np.zeros(0)}, {"cfg": "x"})
    tensors = read_tensors(data)
    assert {name: (one.dtype, one.shape) for name, one in tensors.items()} == {"a": ("F32", (2, 3)), "b": ("F64", (0,))}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"1234", "damaged"),
        ((2**60).to_bytes(8, "little") + b"{}", "damaged"),
        (with_header([]), "damaged"),
        (with_header(one(), b"12"), "damaged"),
        (with_header(one(shape=(2**39, 2**39)), b"1234"), "damaged"),
        (with_header(one(shape=(-1,)), b"1234"), "damaged"),
        (with_header(one(shape=(1.0,)), b"1234"), "damaged"),
        (with_header(one(shape=(True,)), b"1234"), "damaged"),
        (with_header(one("U32"), b"1234"), "the type 'U32'"),
        (with_header(one(), b"12345"), "damaged"),
        (with_header(one(offsets=(4, 8)), b"12345678"), "damaged"),
    ],
)
def test_a_false_header_is_detected(data, message):
    with pytest.raises(Damaged, match=message):
        read_tensors(data)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, "bfloat16"])
@pytest.mark.parametrize(("odd", "place"), [(np.nan, (2, 699)), (np.inf, (0, 0)), (-np.inf, (1, 7))])
def test_one_non_finite_number_is_found_among_many(dtype, odd, place):
    kind = getattr(torch, str(np.dtype(dtype))) if dtype != "bfloat16" else torch.bfloat16
    values = torch.full((3, 700), -60_000.0, dtype=kind)
    whole = torch_saved(values)
    check_finite(read_tensors(whole))
    values[place] = odd
    data = torch_saved(values)
    with pytest.raises(Damaged, match="'a' holds NaN or Infinity"):
        check_finite(read_tensors(data))


def torch_saved(values):
    import safetensors.torch

    return safetensors.torch.save({"a": values})
