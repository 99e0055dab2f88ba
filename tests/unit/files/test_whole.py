"""A file is there whole or not at all, and nothing is left beside it."""

import pytest

from tabtune_core.files.whole import in_one_move, write_text


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
