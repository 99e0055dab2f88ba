"""Files of ``torch.save`` yield plain values and tensors; code in them does not run, and their size bounds the memory."""

import io
import zipfile
from collections import OrderedDict

import pytest
import torch

from tabtune_core.files import torch_files
from tabtune_core.files.damaged import Damaged
from tabtune_core.files.torch_files import read_torch_file

HEAD = b"\x80\x02"
ODD = {
    "a bytearray of a given length": (
        b"c__builtin__\nbytearray\n\x8a\x08" + (10**17).to_bytes(8, "little") + b"\x85R.",
        "it imports",
    ),
    "a tensor of a given shape": (
        b"ctorch\nFloatTensor\nJ\xff\xff\xff\x0fJ\xff\xff\xff\x0f\x86R.",
        "it imports 'torch FloatTensor'",
    ),
    "truncated": (b"}K", "are truncated or missing"),
}


def with_pickle(path, content):
    """Writes a file of ``torch.save`` whose pickle is ``content``."""
    made = io.BytesIO()
    torch.save({"a": torch.ones(2)}, made)
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            new.writestr(entry, content if entry.filename.endswith("data.pkl") else old.read(entry))
    return path


@pytest.mark.parametrize(("content", "message"), ODD.values(), ids=ODD)
def test_a_pickle_with_more_than_values_and_tensors_is_refused_unread(tmp_path, monkeypatch, content, message):
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(Damaged, match=message):
        read_torch_file(with_pickle(tmp_path / "x.pt", HEAD + content))


def test_torch_itself_also_refuses_to_run_the_code(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_files, "_check_names", lambda content: None)
    ran = tmp_path / "ran"
    code = f"cbuiltins\nexec\n(V__import__('pathlib').Path({str(ran)!r}).touch()\ntR.".encode()
    with pytest.raises(Damaged, match="it cannot be opened safely"):
        read_torch_file(with_pickle(tmp_path / "x.pt", HEAD + code))
    assert not ran.exists()


def test_values_and_tensors_written_by_torch_save_are_read(tmp_path):
    shared = (1, (2.5, "é"), [])
    values = {
        "config": OrderedDict(a=[1, -(2**40), None, True], b=shared, c=shared),
        "state": torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).state_dict(),
        "kinds": [
            torch.ones(2, dtype=kind) for kind in (torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.bool)
        ],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "shape": torch.ones(2, 3).shape,
    }
    torch.save(values, tmp_path / "x.pt")
    read = read_torch_file(tmp_path / "x.pt")
    assert read["config"] == values["config"]
    assert read["state"].keys() == values["state"].keys()
    assert [part.dtype for part in read["kinds"]] == [part.dtype for part in values["kinds"]]
    torch.save(shared, tmp_path / "x.pt")
    assert read_torch_file(tmp_path / "x.pt") == shared


def test_a_compressed_or_foreign_file_is_refused(tmp_path):
    made = with_pickle(tmp_path / "x.pt", HEAD + b"K\x01.")
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(tmp_path / "y.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    with pytest.raises(Damaged, match="compressed in a way that such a file never is"):
        read_torch_file(tmp_path / "y.pt")
    made.write_bytes(HEAD + b".")
    with pytest.raises(Damaged, match="not a zip that can be opened"):
        read_torch_file(made)


def test_torch_reads_the_members_that_were_checked(tmp_path):
    """Python looks for the list of members before the end record, torch at the place that the end record states."""
    safe = with_pickle(tmp_path / "safe.pt", HEAD + b"K\x01.").read_bytes()
    bad = with_pickle(tmp_path / "bad.pt", HEAD + b"K\x02.").read_bytes()
    (tmp_path / "x.pt").write_bytes(bad + safe)
    assert read_torch_file(tmp_path / "x.pt") == 1


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(1).expand(10**6, 10**6), "is not plain"),
        (torch.eye(2).to_sparse(), "it imports 'torch._utils _rebuild_sparse_tensor'"),
        (torch.empty(10**6, 10**6, device="meta"), "it imports 'torch._utils _rebuild_meta_tensor_no_storage'"),
        (torch.ones(2, dtype=torch.complex64), "is not plain"),
        (torch.tensor([1.0, torch.nan]), "holds NaN or Infinity"),
    ],
)
def test_a_tensor_that_differs_from_its_description_is_refused(tmp_path, tensor, message):
    torch.save({"good": torch.ones(2), "odd": [tensor]}, tmp_path / "x.pt")
    with pytest.raises(Damaged, match=message):
        read_torch_file(tmp_path / "x.pt")


def test_a_self_referencing_list_is_refused(tmp_path):
    values = [1]
    for _ in range(60):
        values = [values, values]  # 2^60 numbers if every reference is followed
    torch.save(values, tmp_path / "x.pt")
    with pytest.raises(Damaged, match="holds more than 200,000 values"):
        read_torch_file(tmp_path / "x.pt")


def test_tied_tensors_are_read_and_thousands_of_the_same_numbers_are_refused(tmp_path):
    numbers = torch.ones(10_000)
    torch.save([numbers, numbers], tmp_path / "x.pt")
    assert len(read_torch_file(tmp_path / "x.pt")) == 2
    torch.save([numbers[start:] for start in range(500)], tmp_path / "x.pt")
    with pytest.raises(Damaged, match="its tensors share bytes"):
        read_torch_file(tmp_path / "x.pt")
