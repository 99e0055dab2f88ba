"""A button that would discard chosen kinds of columns knows those with which the file has not been read yet."""

import pytest

from dashboard.views.data import columns_table
from tabtune_core.data.datasets import add_dataset


@pytest.mark.parametrize(
    ("edits", "unread"),
    [
        ({}, False),
        ({1: {"Kind": "category"}}, True),
        ({1: {"Kind": "number"}}, False),
        ({0: {"Kind": "category"}, 1: {}}, False),
    ],
)
def test_chosen_kinds_are_unread_until_the_table_has_them(tmp_path, monkeypatch, edits, unread):
    dataset = add_dataset(tmp_path, b"city,age,y\n" + b"rome,31,a\nparis,44,b\n" * 40, "t.csv")
    monkeypatch.setattr(columns_table.st, "session_state", {f"columns_{dataset.id[:12]}": {"edited_rows": edits}})
    assert columns_table.has_unread_kinds(dataset) is unread
    monkeypatch.setattr(columns_table.st, "session_state", {})
    assert not columns_table.has_unread_kinds(dataset)
