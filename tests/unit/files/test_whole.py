"""A file is there whole or not at all, and nothing is left beside it."""

import pytest
from small_disk import fill, small_disk

from tabtune_core.files.whole import in_one_move, keep_folder, write_text
from tabtune_core.shortage import shortage_of


def test_a_text_takes_the_place_of_the_one_before(tmp_path):
    for text in ("first", "zweiter, ü"):
        write_text(tmp_path / "it.json", text)
    assert (tmp_path / "it.json").read_text(encoding="utf-8") == "zweiter, ü"
    assert [file.name for file in tmp_path.iterdir()] == ["it.json"]


@pytest.mark.parametrize("begun", [True, False])
def test_where_writing_fails_the_file_is_as_it_was(tmp_path, begun):
    write_text(tmp_path / "it.json", "first")
    with pytest.raises(OSError, match="full"), in_one_move(tmp_path / "it.json", mark="7") as partial:
        if begun:
            partial.write_text("hal")
        assert partial.name == "it.json.7"
        raise OSError("The disk is full")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["first"]


def test_a_folder_takes_its_place_unless_another_process_has_filled_it(tmp_path):
    for content in ("first", "second"):
        (tmp_path / "new").mkdir(exist_ok=True)
        (tmp_path / "new" / "it").write_text(content)
        keep_folder(tmp_path / "new", tmp_path / "place")
        assert (tmp_path / "place" / "it").read_text() == "first"
    with pytest.raises(FileNotFoundError):
        keep_folder(tmp_path / "gone", tmp_path / "place")


def test_what_cannot_take_its_place_is_named_and_leaves_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("first")
    for place, kind in (("folder", IsADirectoryError), ("none/it", FileNotFoundError), ("file/it", NotADirectoryError)):
        with pytest.raises(kind) as found:
            write_text(tmp_path / place, "second")
        assert (found.value.filename, found.value.filename2) == (str(tmp_path / place), None)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder"]


def test_the_files_of_a_folder_take_their_places_and_the_others_stay(tmp_path):
    for text, files in (("first", "ab"), ("second", "bc")):
        with in_one_move(tmp_path / "made") as partial:
            partial.mkdir()
            for name in files:
                (partial / name).write_text(text)
    with pytest.raises(ValueError, match="odd"), in_one_move(tmp_path / "made") as partial:
        partial.mkdir()
        (partial / "a").write_text("third")
        raise ValueError("odd")
    assert {file.name: file.read_text() for file in (tmp_path / "made").iterdir()} == {"a": "first", "b": "second", "c": "second"}
    assert [file.name for file in tmp_path.iterdir()] == ["made"]


def test_a_full_disk_is_that_of_the_file_which_stays(tmp_path):
    with small_disk(tmp_path / "small") as disk:
        write_text(disk / "it", "first")
        fill(disk)
        with pytest.raises(OSError) as found:
            write_text(disk / "it", "second" * 10_000)
        assert str(shortage_of(found.value, folder=tmp_path)).startswith(f"The disk of {disk / 'it'} is full (0.0 MB of ")
        assert (disk / "it").read_text() == "first"
        assert sorted(file.name for file in disk.iterdir()) == ["filler", "it"]
