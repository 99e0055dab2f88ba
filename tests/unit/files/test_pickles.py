"""Pickles are checked before torch reads them: even without running code, torch could use all memory or never end."""

import io
import zipfile
from collections import OrderedDict

import pytest
import torch

from tabtune_core.files import torch_files
from tabtune_core.files.damaged import Damaged
from tabtune_core.files.torch_files import read_torch_file

HEAD = b"\x80\x02"
DOUBLED = b"q\x00h\x00\x86"
ODD = {
    "a key of 2^60 tuples": (b"})" + DOUBLED * 60 + b"K\x01s.", "a tuple of more than 100,000 values"),
    "such a tuple in a list": (b"]K\x01" + DOUBLED * 60 + b"a.", "a tuple of more than 100,000 values"),
    "a bytearray of a given length": (
        b"c__builtin__\nbytearray\n\x8a\x08" + (10**17).to_bytes(8, "little") + b"\x85R.",
        "it imports",
    ),
    "a tensor of a given shape": (
        b"ctorch\nFloatTensor\nJ\xff\xff\xff\x0fJ\xff\xff\xff\x0f\x86R.",
        "it imports 'torch FloatTensor'",
    ),
    "a call of a list": (b"])R.", "it calls a function other than"),
    "a list as a name": (b"]K\x01K\x02K\x03(K\x04]K\x05K\x06K\x07tQ.", "the name of a tensor's bytes"),
    "an object of a class": (b"ctorch\nSize\n)\x81.", "it has the opcode NEWOBJ"),
    "truncated": (b"}K", "are truncated or missing"),
    "an empty stack": (b"s.", "are truncated or missing"),
    "a memo entry that was never stored": (b"h\x07.", "are truncated or missing"),
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
    monkeypatch.setattr(torch_files, "check_stored", lambda path: None)
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


def test_a_list_of_members_in_two_places_is_refused(tmp_path):
    """Python looks for the list before the end record, torch at the place that the end record states."""
    path = with_pickle(tmp_path / "x.pt", HEAD + b"K\x01.")
    assert read_torch_file(path) == 1
    path.write_bytes(b"before" + path.read_bytes())
    with pytest.raises(Damaged, match="list of members is not where the file says"):
        read_torch_file(path)
