"""What the folder of a model family must hold, and names in other packages beyond their public promises."""

import ast
import importlib.util
import inspect
import re
from pathlib import Path

import pytest
import torch
from package_values import package_facts
from tiny import needs, tiny_checkpoint

import tabtune_core.models
from dashboard.server.upstream import UPSTREAM as STREAMLIT
from tabtune_core.execution.jobs.export_formats import snippet
from tabtune_core.models.base import BaseModel, load_model
from tabtune_core.models.catalogue import CATALOGUE, FAMILIES, FOLDERS
from tabtune_core.models.stages import stages_of
from tabtune_core.upstream import TORCH, Upstream

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


ROOT = Path(__file__).parents[2]
OF_FAMILIES = [family.upstream for family in FAMILIES.values()]
PRIVATE = re.compile(
    r"^(tabicl|tabdpt|autogluon|tabpfn|torch|streamlit)\b.*\._(?!dynamo)|^(tabicl|tabdpt|autogluon|tabpfn)\."
)
"""What must be listed: every private name, and everything below the top level of the model packages."""


@pytest.mark.parametrize("upstream", [*OF_FAMILIES, TORCH, STREAMLIT], ids=lambda upstream: upstream.distribution)
def test_every_name_that_we_rely_on_exists(upstream):
    if upstream.installed is None:
        pytest.skip(f"{upstream.distribution} is not installed")
    optional = (
        []
        if importlib.util.find_spec("xgboost")
        else [name for name in upstream.names if name.startswith("tabicl.prior")]
    )
    assert set(upstream.missing()) <= set(optional)


@pytest.mark.parametrize("upstream", OF_FAMILIES, ids=lambda upstream: upstream.distribution)
def test_the_installed_version_was_tested(upstream):
    assert upstream.is_tested


def test_a_missing_name_is_reported():
    upstream = Upstream(distribution="torch", names={"torch:Tensor.add": "", "torch:Tensor.adds": "", "torch._x:x": ""})
    assert upstream.missing() == ["torch:Tensor.adds", "torch._x:x"]


@pytest.mark.parametrize(
    ("installed", "tested"), [("2.2.0", True), ("2.2.9", True), ("2.3.0", False), ("2.20.1", False)]
)
def test_a_version_counts_as_tested_by_its_minor_number(monkeypatch, installed, tested):
    monkeypatch.setattr("tabtune_core.upstream.installed", lambda distribution: installed)
    assert FAMILIES["TabICL"].upstream.is_tested is tested


@pytest.mark.parametrize("name", ["tabicl-v2", "tabdpt-1.3", "mitra-v2", "tabpfn-v2"])
def test_an_untested_version_caches_no_frozen_layer(monkeypatch, tmp_path, name):
    family = CATALOGUE[name].family
    needs(name)
    model = load_model(CATALOGUE[name], "classification", torch.device("cpu"), tiny_checkpoint(tmp_path / "tiny", name))
    assert stages_of(family, model.module).every
    monkeypatch.setattr("tabtune_core.upstream.installed", lambda distribution: "99.0.1")
    assert stages_of(family, model.module).every == ()


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}:{alias.name}" for alias in node.names)


def test_every_private_import_is_listed():
    listed = {name for upstream in (*OF_FAMILIES, TORCH, STREAMLIT) for name in upstream.names}
    modules = {name.partition(":")[0] for name in listed}
    used = {name for top in ("tabtune_core", "dashboard") for p in (ROOT / top).rglob("*.py") for name in imports(p)}
    unlisted = {n for n in used if PRIVATE.match(n) and n not in listed and n.replace(":", ".") not in modules}
    assert unlisted == set()
