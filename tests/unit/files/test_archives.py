"""Untrusted zip files are checked before anything is unpacked, and every byte is counted while unpacking."""

import zipfile

import pytest

from tabtune_core.files.archives import FREE_BYTES, open_archive
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
    with (
        pytest.raises(Damaged, match="compressed in a way"),
        open_archive(zipped(path, [("a", b"1")], zipfile.ZIP_LZMA)),
    ):
        pass


def test_an_overlong_list_of_members_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("tabtune_core.files.archives.LIST_BYTES", 100_000)
    path = zipped(tmp_path / "x.zip", [(f"{i}" * 50, b"") for i in range(2000)])
    with pytest.raises(Damaged, match="list of members is too long"), open_archive(path):
        pass
