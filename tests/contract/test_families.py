"""What the folder of every model family must hold, so that one line registers the family."""

import inspect
from pathlib import Path

import pytest
from package_values import package_facts

import tabtune_core.models
from tabtune_core.execution.jobs.export_formats import snippet
from tabtune_core.models.base import BaseModel
from tabtune_core.models.catalogue import CATALOGUE, FAMILIES, FOLDERS

ACTIVATIONS = {
    "training": ("tape", "config", "context", "query", "features", "classes"),
    "predicting": ("config", "context", "query", "features"),
    "attention": ("config", "features"),
}


@pytest.fixture(params=FAMILIES.values(), ids=lambda family: family.name)
def family(request):
    return request.param


def code(family, module):
    if module == "model" and not family.installed:
        pytest.skip(f"{family.distribution} is not installed")
    return family.code(module)


def test_every_folder_with_a_family_is_registered():
    folders = {path.parent.name for path in Path(tabtune_core.models.__file__).parent.glob("*/family.py")}
    assert folders == set(FOLDERS) == {family.folder for family in FAMILIES.values()}


def test_every_card_is_in_the_catalogue_under_its_family(family):
    cards = [card for card in CATALOGUE.values() if card.family is family]
    assert cards == list(family.code("family").CARDS)
    assert len(cards) > 0


def test_its_model_has_the_methods_that_training_calls(family):
    module = code(family, "model")
    model = module.MODEL
    asked = {name for name, value in vars(BaseModel).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert {name for name in asked if not callable(getattr(model, name, None))} == set()
    assert list(inspect.signature(model).parameters) == ["card", "task", "source", "opened", "device"]
    assert list(inspect.signature(module.read_checkpoint).parameters) == ["path", "card", "task"]


def test_its_activations_are_counted_by_the_same_arguments(family):
    module = family.code("activations")
    assert {name: tuple(inspect.signature(getattr(module, name)).parameters) for name in ACTIVATIONS} == ACTIVATIONS


def test_it_names_the_stages_of_a_module(family):
    assert list(inspect.signature(code(family, "model").stages).parameters) == ["module"]


@pytest.mark.parametrize("classes", [("no", "yes"), ()], ids=["classes", "numbers"])
def test_its_merged_checkpoint_comes_with_python_that_compiles(family, classes):
    card = next(card for card in CATALOGUE.values() if card.family is family)
    made = snippet("merged", package_facts(card.name, classes=classes), "run", table="table.csv")
    compile(made.code, "snippet", "exec")
    assert f"merged-{card.name}-r4-run.{family.merged_ending}" in made.code
