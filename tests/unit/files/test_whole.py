"""A file is there whole or not at all, and nothing is left beside it."""

import pytest

from tabtune_core.files.whole import in_one_move, keep_folder, write_text


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
