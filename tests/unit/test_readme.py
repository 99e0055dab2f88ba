"""The README is short, and its commands and numbers match CI, the program and the measurements."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MEASURED = ROOT / "docs" / "pages" / "measurements"


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_ci_runs_exactly_the_test_command_of_the_readme():
    command = re.search(r"^python3 -m venv .*pytest$", README, re.MULTILINE)[0]
    ci = (ROOT / ".ci" / "run").read_text().replace("pip install -q -e", "pip install -e")
    assert command in ci.splitlines()


def test_ci_builds_the_documentation_strictly():
    ci = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^\S*mkdocs build .*--strict.* docs/mkdocs.yml$", ci, re.MULTILINE)


def test_the_numbers_of_the_readme_are_those_of_the_measurements():
    gains = (MEASURED / "lora_gain.md").read_text().split("| table (rows) | chosen | zero-shot accuracy")[0]
    verdicts = re.findall(r"\| (better|no difference|worse) \|", gains)
    assert f"**{verdicts.count('better')} of {len(verdicts)}** real tables" in README
    lora, full = re.search(r"\*\*(\d+) of (\d+) MB\*\*", README).groups()
    memory = (MEASURED / "training_memory.md").read_text()
    assert re.search(rf"^\| TabICL v2 \| 256 x 10 \| late \|.*{lora} / {full} =", memory, re.MULTILINE)
    claimed = re.search(r"\*\*(\d+ of \d+)\*\* sweeps", README)[1]
    assert re.search(rf"shuffled labels.*\| {claimed} \|", (MEASURED / "claims.md").read_text())
