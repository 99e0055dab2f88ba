"""Tensors are checked without torch, in the same way by the page and by the code that computes with them."""

import json

import numpy as np
import pytest
import safetensors.numpy
import torch

from tabtune_core.files.damaged import Damaged
from tabtune_core.files.tensors import check_finite, read_tensors


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
