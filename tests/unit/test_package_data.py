"""Data files that are installed with the package."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def shipped(package):
    patterns = SETUPTOOLS["package-data"][package]
    return {path for pattern in patterns for path in (ROOT / package).glob(pattern) if path.is_file()}


@pytest.mark.parametrize("package", SETUPTOOLS["package-data"])
def test_every_file_of_a_package_is_installed_with_it(package):
    there = {path for path in (ROOT / package).rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert there <= shipped(package)
