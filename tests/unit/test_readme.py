"""The README is short, and its commands and numbers are those of CI, of the program and of the measurements."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_it_is_short():
    assert len(README.splitlines()) <= 150


def test_ci_runs_the_readmes_test_command_to_the_letter():
    command = re.search(r"^python3 -m venv .*pytest$", README, re.MULTILINE)[0]
    ci = (ROOT / ".ci" / "run").read_text().replace("pip install -q -e", "pip install -e")
    assert command in ci.splitlines()


def test_ci_builds_the_documentation_strictly():
    assert re.search(r"^\S*mkdocs build .*--strict.* docs/mkdocs.yml$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
