"""Untrusted zip files and files of ``torch.save``: checked before anything is unpacked; no code runs; size bounds memory."""

import io
import zipfile
from collections import OrderedDict

import pytest
import torch

from tabtune_core.files import torch_files
from tabtune_core.files.archives import FREE_BYTES, open_archive
from tabtune_core.files.damaged import Damaged
from tabtune_core.files.torch_files import read_torch_file


def zipped(path, members, how=zipfile.ZIP_DEFLATED, **about):
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = how
            for field, value in about.items():
                setattr(info, field, value)
            archive.writestr(info, content)
    return path


def test_a_member_is_read_up_to_its_limit(tmp_path):
    path = zipped(tmp_path / "x.zip", [("a.json", b"x" * 100)])
    with open_archive(path) as archive:
        assert archive.read("a.json", most_bytes=100) == b"x" * 100
        with pytest.raises(Damaged, match=r"a.json unpacks to 0.0 MB or more"):
            archive.read("a.json", most_bytes=99)
        with pytest.raises(Damaged, match="it lacks the member b.json"):
            archive.read("b.json", most_bytes=1)


def test_members_together_may_not_unpack_beyond_the_limit(tmp_path):
    half = bytes(FREE_BYTES // 2 + 5_000_000)
    path = zipped(tmp_path / "bomb.zip", [("a", half), ("b", half)])
    assert path.stat().st_size < 1_000_000
    with (
        pytest.raises(Damaged, match=r"its content unpacks to 74.0 MB or more, .*zip it again without compression"),
        open_archive(path),
    ):
        pass
    zipped(path, [("a", half), ("b", half)], zipfile.ZIP_STORED)
    with open_archive(path) as archive:
        assert len(archive.read("a", most_bytes=len(half))) == len(half), "the file opens after following the advice"


def test_a_false_size_is_detected_while_reading(tmp_path):
    data = bytearray(zipped(tmp_path / "x.zip", [("a", bytes(5_000_000))]).read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (100).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(data)
    with open_archive(tmp_path / "x.zip") as archive, pytest.raises((Damaged, zipfile.BadZipFile)):
        archive.read("a", most_bytes=1000)


def test_duplicate_encrypted_and_otherwise_compressed_members_are_refused(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    with pytest.raises(Damaged, match="two members with the same name"), open_archive(path):
        pass
    data = bytearray(zipped(path, [("a", b"1")]).read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(Damaged, match="is encrypted"), open_archive(path):
        pass
    with pytest.raises(Damaged, match="compressed in a"), open_archive(zipped(path, [("a", b"1")], zipfile.ZIP_LZMA)):
        pass


def test_an_overlong_list_of_members_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("tabtune_core.files.archives.LIST_BYTES", 100_000)
    path = zipped(tmp_path / "x.zip", [(f"{i}" * 50, b"") for i in range(2000)])
    with pytest.raises(Damaged, match="list of members is too long"), open_archive(path):
        pass


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
        "kinds": [torch.ones(2, dtype=of) for of in (torch.bfloat16, torch.half, torch.double, torch.int8, torch.bool)],
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
