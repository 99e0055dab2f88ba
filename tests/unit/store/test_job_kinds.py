"""What is known about each kind of job without torch, and how its progress is told."""

import inspect
import pkgutil

import pytest

from tabtune_core.store.jobs import FILE, KINDS, read_progress, uses, write_progress


def test_every_kind_names_the_function_that_carries_it_out():
    for name in KINDS.values():
        function = pkgutil.resolve_name(f"tabtune_core.execution.jobs.{name}")
        assert list(inspect.signature(function).parameters)[:2] == ["home", "folder"]


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        ({"run": "r1", "format": "merged"}, {"r1"}),
        ({"runs": ["r1", "r2"]}, {"r1", "r2"}),
        (
            {"adapters": [{"id": "r1", "title": "a"}, {"id": "u1", "title": "b"}], "table": "t1", "base": True},
            {"r1", "u1", "t1"},
        ),
        ({}, set()),
        ({"runs": 3, "run": None, "adapters": [[{"of": {"a later": "r1"}}]]}, {"r1"}),
    ],
)
def test_a_job_uses_what_its_arguments_name(arguments, ids):
    assert ids <= uses(arguments) <= ids | {"merged", "a", "b"}


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[1]", '["x", "1 of 2 rows"]'])
def test_unreadable_progress_is_none(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    assert read_progress(tmp_path) is None


def test_progress_is_told_in_words(tmp_path):
    write_progress(tmp_path, 1_500, 3_000, "rows")
    assert read_progress(tmp_path) == (0.5, "1,500 of 3,000 rows")
