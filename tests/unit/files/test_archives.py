"""Untrusted zip files are checked before anything is unpacked, and every byte is counted while unpacking."""

import io
import stat
import zipfile
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from tabtune_core.files import archives
from tabtune_core.files.archives import FREE_BYTES, MOST_MEMBERS, check_stored, open_archive
from tabtune_core.files.damaged import Damaged


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


@pytest.mark.parametrize("less", [0, 1])
def test_members_may_unpack_to_exactly_the_limit(tmp_path, monkeypatch, less):
    path = zipped(tmp_path / "x.zip", [("a", bytes(5_000)), ("b", bytes(5_000))])
    monkeypatch.setattr(archives, "FREE_BYTES", 10_000 - archives.TIMES_THE_FILE * path.stat().st_size - less)
    with (
        pytest.raises(Damaged, match="its content unpacks to") if less else nullcontext(),
        open_archive(path) as archive,
    ):
        assert archive.names == ("a", "b")


def test_a_false_size_is_detected_while_reading(tmp_path):
    data = bytearray(zipped(tmp_path / "x.zip", [("a", bytes(5_000_000))]).read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (100).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(data)
    with open_archive(tmp_path / "x.zip") as archive, pytest.raises((Damaged, zipfile.BadZipFile)):
        archive.read("a", most_bytes=1000)


REFUSED = {
    "a path out of the folder": ([("../a", b"")], {}, "has a path outside"),
    "an absolute path": ([("/a", b"")], {}, "has a path outside"),
    "a link": ([("a", b"/etc/passwd")], {"external_attr": (stat.S_IFLNK | 0o777) << 16}, "is a link"),
    "too many members": ([(f"a{i}", b"") for i in range(MOST_MEMBERS + 1)], {}, "holds 33 files"),
    "another compression": ([("a", b"1")], {"compress_type": zipfile.ZIP_LZMA}, "not compressed with deflate"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_member_that_does_not_belong_to_a_package_is_refused(tmp_path, what):
    members, about, message = REFUSED[what]
    with pytest.raises(Damaged, match=message), open_archive(zipped(tmp_path / "x.zip", members, **about)):
        pass


def test_duplicate_and_encrypted_members_are_refused(tmp_path):
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


def test_an_overlong_list_of_members_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("tabtune_core.files.archives.LIST_BYTES", 100_000)
    path = zipped(tmp_path / "x.zip", [(f"{i}" * 50, b"") for i in range(2000)])
    with pytest.raises(Damaged, match="list of members is too long"), open_archive(path):
        pass


@pytest.mark.parametrize(
    ("name", "message"), [("nowhere", "there is no file"), ("folder", "is a folder"), ("empty", "it is empty")]
)
def test_paths_that_are_not_files_are_distinguished(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    with pytest.raises(Damaged, match=message), open_archive(tmp_path / name):
        pass


def test_a_compressed_file_is_not_accepted_as_torch_save(tmp_path):
    check_stored(zipped(tmp_path / "x.pt", [("x/data.pkl", b"\x80\x02K\x01.")], zipfile.ZIP_STORED))
    with pytest.raises(Damaged, match="torch.save does neither"):
        check_stored(zipped(tmp_path / "y.pt", [("x/data.pkl", bytes(1000))]))
    (tmp_path / "z.pt").write_bytes(io.BytesIO(b"\x80\x02.").getvalue())
    with pytest.raises(Damaged, match="not a zip that can be opened"):
        check_stored(tmp_path / "z.pt")


def test_a_changed_bit_of_any_tensor_is_found_by_its_checksum(tmp_path):
    tensors = {name: torch.arange(40.0) for name in "abc"}
    torch.save(tensors, tmp_path / "whole.pt")
    check_stored(tmp_path / "whole.pt")
    whole, rng = (tmp_path / "whole.pt").read_bytes(), np.random.default_rng(0)
    for _ in range(20):
        changed = bytearray(whole)
        changed[whole.index(tensors["a"].numpy().tobytes()) + int(rng.integers(160))] ^= 1 << int(rng.integers(8))
        (tmp_path / "changed.pt").write_bytes(changed)
        with pytest.raises(Damaged, match="CRC"):
            check_stored(tmp_path / "changed.pt")


@pytest.mark.parametrize("more", [0, 1])
def test_a_large_file_has_its_list_found_through_the_zip64_record(tmp_path, monkeypatch, more):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    path = zipped(tmp_path / "x.pt", [("x/data.pkl", b"\x80\x02K\x01."), ("x/data/0", bytes(100))], zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    record, end = data.rindex(b"PK\x06\x06"), data.rindex(b"PK\x05\x06")
    data[end + 16 : end + 20] = b"\xff" * 4
    data[record + 48] += more
    path.write_bytes(data)
    refused = pytest.raises(Damaged, match=r"list of members is not where the file says|not a zip that can be opened")
    with refused if more else nullcontext():
        check_stored(path)
