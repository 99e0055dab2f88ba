"""Zips from anywhere: looked through before anything is unpacked, and every byte counted while it comes."""

import io
import stat
import zipfile

import pytest

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


def test_members_may_not_unpack_to_more_together_than_such_a_file_can_need(tmp_path):
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
        assert len(archive.read("a", most_bytes=len(half))) == len(half), "as the sentence says, it opens then"


@pytest.mark.parametrize("less", [0, 1])
def test_members_may_unpack_to_just_as_much(tmp_path, monkeypatch, less):
    path = zipped(tmp_path / "x.zip", [("a", bytes(5_000)), ("b", bytes(5_000))])
    monkeypatch.setattr(archives, "FREE_BYTES", 10_000 - archives.TIMES_THE_FILE * path.stat().st_size - less)
    if less:
        with pytest.raises(Damaged, match="its content unpacks to"), open_archive(path):
            pass
    else:
        with open_archive(path) as archive:
            assert archive.names == ("a", "b")


def test_a_size_that_is_a_lie_is_found_out_while_reading(tmp_path):
    data = bytearray(zipped(tmp_path / "x.zip", [("a", bytes(5_000_000))]).read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (100).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(data)
    with open_archive(tmp_path / "x.zip") as archive, pytest.raises((Damaged, zipfile.BadZipFile)):
        archive.read("a", most_bytes=1000)


REFUSED = {
    "out of the folder": ([("../a", b"")], {}, "has a path outside"),
    "from the root": ([("/a", b"")], {}, "has a path outside"),
    "a link": ([("a", b"/etc/passwd")], {"external_attr": (stat.S_IFLNK | 0o777) << 16}, "is a link"),
    "too many": ([(f"a{i}", b"") for i in range(MOST_MEMBERS + 1)], {}, "holds 33 files"),
    "packed otherwise": ([("a", b"1")], {"compress_type": zipfile.ZIP_LZMA}, "not compressed with deflate"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_member_that_is_no_packages_is_refused(tmp_path, what):
    members, about, message = REFUSED[what]
    with pytest.raises(Damaged, match=message), open_archive(zipped(tmp_path / "x.zip", members, **about)):
        pass


def test_two_members_of_one_name_and_an_encrypted_one_are_refused(tmp_path):
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


def test_a_list_of_members_that_is_longer_than_any_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("tabtune_core.files.archives.LIST_BYTES", 100_000)
    path = zipped(tmp_path / "x.zip", [(f"{i}" * 50, b"") for i in range(2000)])
    with pytest.raises(Damaged, match="list of members is too long"), open_archive(path):
        pass


@pytest.mark.parametrize(("name", "message"), [("nowhere", "there is no file"), ("folder", "is a folder"), ("empty", "it is empty")])
def test_what_is_no_file_is_told_apart(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    with pytest.raises(Damaged, match=message), open_archive(tmp_path / name):
        pass


def test_a_packed_file_is_none_of_torch_save(tmp_path):
    check_stored(zipped(tmp_path / "x.pt", [("x/data.pkl", b"\x80\x02K\x01.")], zipfile.ZIP_STORED))
    with pytest.raises(Damaged, match="torch.save does neither"):
        check_stored(zipped(tmp_path / "y.pt", [("x/data.pkl", bytes(1000))]))
    (tmp_path / "z.pt").write_bytes(io.BytesIO(b"\x80\x02.").getvalue())
    with pytest.raises(Damaged, match="not a zip that can be opened"):
        check_stored(tmp_path / "z.pt")


@pytest.mark.parametrize("more", [0, 1])
def test_a_large_file_says_in_another_record_where_its_list_begins(tmp_path, monkeypatch, more):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    path = zipped(tmp_path / "x.pt", [("x/data.pkl", b"\x80\x02K\x01."), ("x/data/0", bytes(100))], zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    record, end = data.rindex(b"PK\x06\x06"), data.rindex(b"PK\x05\x06")
    data[end + 16 : end + 20] = b"\xff" * 4
    data[record + 48] += more
    path.write_bytes(data)
    if more:
        with pytest.raises(Damaged, match=r"list of members is not where the file says|not a zip that can be opened"):
            check_stored(path)
    else:
        check_stored(path)
