"""The code version changes with the code, and with nothing else."""

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
def test_the_version_changes_with_every_source_file(package, file):
    before = code_version(package)
    (package / file).write_text("a = 2")
    assert code_version(package) != before


def test_the_version_ignores_file_times_and_files_that_python_creates(package):
    before = code_version(package)
    os.utime(package / "worker.py", (1, 1))
    (package / "worker.pyc").write_bytes(b"compiled")
    assert code_version(package) == before


def test_the_version_begins_with_the_package_version():
    number, digest = code_version().split("+")
    assert number[0].isdigit()
    assert len(digest) == 8
