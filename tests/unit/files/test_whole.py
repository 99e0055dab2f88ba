"""A file is written completely or not at all, and nothing is left beside it."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from small_disk import fill, small_disk

from tabtune_core.files.whole import in_one_move, keep_folder, lasting, write_text
from tabtune_core.shortage import shortage_of


@pytest.mark.parametrize("begun", [True, False])
def test_if_writing_fails_the_file_is_unchanged(tmp_path, begun):
    write_text(tmp_path / "it.json", "first")
    with pytest.raises(OSError, match="full"), in_one_move(tmp_path / "it.json", alone=begun) as partial:
        if begun:
            partial.write_text("hal")
        raise OSError("The disk is full")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["first"]


def test_of_several_that_write_a_file_at_once_one_wins_and_none_fails(tmp_path):
    path, all_begun = tmp_path / "it", Barrier(4)

    def write(text):
        with in_one_move(path) as partial, partial.open("w") as stream:
            stream.write(text)
            stream.flush()
            all_begun.wait(20)
            stream.write(text)

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, texts := ["a" * 9, "b" * 99, "c" * 999, "d" * 9999]))
    assert path.read_text() in [2 * text for text in texts]
    assert [file.name for file in tmp_path.iterdir()] == ["it"]


def test_the_next_write_of_a_process_that_is_alone_replaces_what_a_killed_one_left(tmp_path):
    (tmp_path / "it.partial").write_text("half")
    with lasting(tmp_path / "it") as stream:
        stream.write(b"whole")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"it": "whole"}


def test_a_folder_is_moved_into_place_unless_another_process_has_filled_it(tmp_path):
    for content in ("first", "second"):
        (tmp_path / "new").mkdir(exist_ok=True)
        (tmp_path / "new" / "it").write_text(content)
        keep_folder(tmp_path / "new", tmp_path / "place")
        assert (tmp_path / "place" / "it").read_text() == "first"
    with pytest.raises(FileNotFoundError):
        keep_folder(tmp_path / "gone", tmp_path / "place")


def test_a_failed_replacement_is_named_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("first")
    for place, kind in (("folder", IsADirectoryError), ("none/it", FileNotFoundError), ("file/it", NotADirectoryError)):
        with pytest.raises(kind) as found:
            write_text(tmp_path / place, "second")
        assert (found.value.filename, found.value.filename2) == (str(tmp_path / place), None)
        assert "None" not in str(found.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder"]


def test_links_and_modes_are_kept(tmp_path):
    (tmp_path / "real").write_text("first")
    (tmp_path / "real").chmod(0o600)
    (tmp_path / "link").symlink_to("real")
    write_text(tmp_path / "link", "second")
    assert (tmp_path / "link").is_symlink()
    assert ((tmp_path / "real").read_text(), (tmp_path / "real").stat().st_mode & 0o777) == ("second", 0o600)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link", "real"]


def test_a_full_disk_is_that_of_the_file_which_stays(tmp_path):
    with small_disk(tmp_path / "small") as disk:
        write_text(disk / "it", "first")
        fill(disk)
        with pytest.raises(OSError) as found:
            write_text(disk / "it", "second" * 10_000)
        assert f"The disk of {disk / 'it'} is full or damaged (0.0 MB" in str(shortage_of(found.value, folder=tmp_path))
        assert (disk / "it").read_text() == "first"
        assert sorted(file.name for file in disk.iterdir()) == ["filler", "it"]
