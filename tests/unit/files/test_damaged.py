"""Messages about files that are not what they should be."""

import errno
from pathlib import Path

import pytest

from tabtune_core.errors import AdapterError
from tabtune_core.files.damaged import LONGEST, Damaged, check_file, one_line, read_text, refused_as


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (KeyError("rank"), "it lacks the entry 'rank'."),
        (TypeError("int is not\n a list"), "an entry of it has the wrong type (int is not a list)."),
        (ValueError("broken."), "broken."),
        (ValueError(), "ValueError."),
        (RuntimeError("torn"), "torn."),
        (ValueError("a" * (LONGEST - 1)), "a" * (LONGEST - 1) + "."),
        (ValueError("a" * LONGEST), "a" * LONGEST + "."),
        (ValueError("a" * (LONGEST + 1)), "a" * (LONGEST - 1) + "…"),
    ],
)
def test_an_error_is_reported_in_one_line(found, told):
    assert one_line(found) == told
    with pytest.raises(AdapterError) as refused, refused_as(AdapterError, "x.zip is not an adapter", " Save it again."):
        raise found
    assert str(refused.value) == f"x.zip is not an adapter: {told} Save it again."


def test_a_file_without_read_permission_is_not_called_damaged(tmp_path, monkeypatch):
    (path := tmp_path / "it").write_bytes(b"whole")

    def refuse(self, *given, **more):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with (
        pytest.raises(AdapterError, match=f"^This user may not open or write to {path}"),
        refused_as(AdapterError, "no adapter", " Delete it."),
    ):
        check_file(path, most_bytes=9)


def test_a_small_text_is_read_and_a_non_text_or_too_large_file_is_refused(tmp_path):
    (path := tmp_path / "it").write_text("Zürich", encoding="utf-8")
    assert read_text(path, most_bytes=7) == "Zürich"
    with pytest.raises(Damaged, match="is the most that such a file can need"):
        read_text(path, most_bytes=6)
    path.write_bytes(b"ab\xff")
    with pytest.raises(Damaged, match=r"it is not text in UTF-8 \(byte 2\)"):
        read_text(path, most_bytes=7)
