"""A version that changes with the code, and with nothing else."""

import os

import pytest

from tabtune_core.execution.lock import code_version


@pytest.fixture
def package(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "schema.sql").write_text("CREATE TABLE a (b);")
    (tmp_path / "worker.py").write_text("a = 1")
    return tmp_path


@pytest.mark.parametrize("file", ["worker.py", "store/schema.sql", "store/new.py"])
def test_it_changes_with_every_source(package, file):
    before = code_version(package)
    (package / file).write_text("a = 2")
    assert code_version(package) != before


def test_it_does_not_change_with_the_time_of_a_file_or_what_python_leaves_there(package):
    before = code_version(package)
    os.utime(package / "worker.py", (1, 1))
    (package / "worker.pyc").write_bytes(b"compiled")
    assert code_version(package) == before


def test_it_begins_with_the_number_of_the_package():
    number, digest = code_version().split("+")
    assert number[0].isdigit()
    assert len(digest) == 8
