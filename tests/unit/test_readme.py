"""The README's commands are the ones that CI runs, and its map is of this repository."""

import re
from pathlib import Path

import pytest

from tabtune_core.api.tuning_params import FAMILIES, KNOWN
from tabtune_core.models.catalogue import CATALOGUE

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MAP = README.split("## Map")[1].split("```")[1]


def paths():
    """Every path that the map names, with its folder before it."""
    folder = ""
    for line in MAP.strip().splitlines():
        name = line.split()[0]
        folder = name if not line.startswith(" ") else folder
        yield folder if not line.startswith(" ") else folder + name


@pytest.mark.parametrize("path", sorted(set(paths())))
def test_the_map_names_what_exists(path):
    assert (ROOT / path).exists()


def test_ci_runs_the_readmes_test_command_to_the_letter():
    command = re.search(r"^python3 -m venv .*pytest$", README, re.MULTILINE)[0]
    ci = (ROOT / ".ci" / "run").read_text().replace("pip install -q -e", "pip install -e")
    assert command in ci.splitlines()


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_table_of_models_has_the_sizes_of_the_catalogue(name):
    row = next(line for line in README.splitlines() if line.startswith("|") and f"`{name}`" in line)
    assert f"{CATALOGUE[name].weights_for('classification').total_parameters:,}" in row
    assert f"{CATALOGUE[name].adapter_parameters('classification', 8):,}" in row


def test_every_key_of_a_pipeline_and_every_familys_variable_is_listed():
    section = README.split("## In Python")[1].split("\n## ")[0]
    names = [name.removeprefix("peft_config.") for name in KNOWN] + [variable for variable, _ in FAMILIES.values()]
    assert [name for name in names if f"`{name}`" not in section] == []
