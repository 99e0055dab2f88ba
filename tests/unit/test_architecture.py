"""Imports point down, and nothing that a page or ``--help`` loads brings torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = (
    {"errors", "fresh", "cuda_cards"},
    {"metrics", "events", "settings_checks", "settings_text", "knobs", "run_settings", "settings", "run_names", "presets", "advice"},
    {"data", "lora", "models", "runs"},
    {"training", "activations", "estimate", "shown_rows"},
    {"fitting", "fitting_notes", "predictor", "outputs", "verify"},
    {"experiment", "rank_curve", "context_curve", "references"},
    {
        "worker_slots",
        "worker_child",
        "worker",
        "tuning_params",
        "pipeline_file",
        "pipeline_adapters",
        "pipeline",
        "leaderboard",
        "leaderboard_file",
        "leaderboard_rows",
        "adapters_store",
        "export_formats",
        "exports",
        "try_it",
        "jobs",
    },
    {"flags", "terminal", "__main__"},
)
"""From the ground up; a module may import from its own row and those before it."""
HEIGHT = {name: height for height, row in enumerate(LAYERS) for name in row}
PAGES_REACH = (
    "adapters_store",
    "cuda_cards",
    "export_formats",
    "lora.package_zip",
    "data",
    "models.catalogue",
    "models.cards",
    "models.adapter_size",
    "estimate",
    "shown_rows",
    "runs",
    "metrics",
    "settings",
    "knobs",
    "run_names",
    "presets",
    "advice",
    "events",
    "errors",
)
MODULES = sorted((ROOT / "tabtune_core").rglob("*.py"))
PARTS = {"adapters", "board", "compare", "form", "guide", "live", "tables", "try_it"}
PAGES = sorted((ROOT / "dashboard").rglob("*.py"))


def imported(path):
    """Dotted names after ``tabtune_core.`` that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tabtune_core."):
            yield node.module.removeprefix("tabtune_core.")


def part(path):
    relative = path.relative_to(ROOT / "tabtune_core")
    return relative.parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", [p for p in MODULES if part(p) != "__init__"], ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    too_high = [name for name in imported(path) if HEIGHT[name.split(".")[0]] > HEIGHT[part(path)]]
    assert too_high == []


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_pages_reach_only_data_runs_and_settings(path):
    beyond = [name for name in imported(path) if not name.startswith(PAGES_REACH)]
    assert beyond == []


def parts_used(path):
    """Names of the packages of pages that a file of the dashboard imports from."""
    tree = ast.walk(ast.parse(path.read_text()))
    return {node.module.split(".")[1] for node in tree if isinstance(node, ast.ImportFrom) and (node.module or "").count(".")} & PARTS


@pytest.mark.parametrize("package", sorted(PARTS))
def test_a_page_borrows_no_part_of_another(package):
    files = list((ROOT / "dashboard" / package).rglob("*.py"))
    assert set().union(*map(parts_used, files)) <= {package}
    assert len(files) > 1


@pytest.mark.parametrize(
    "module",
    [
        "tabtune_core",
        "dashboard",
        "dashboard.server.application",
        "tabtune_core.__main__",
        "tabtune_core.execution.worker",
        "tabtune_core.models.checkpoints",
        "tabtune_core.store.uploaded_adapters",
        "tabtune_core.execution.jobs.export_formats",
    ],
)
def test_importing_it_does_not_import_torch(module):
    code = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_only_the_store_has_sql():
    with_sql = {part(p) + "/" + p.name for p in MODULES if "sqlite3" in p.read_text()}
    assert with_sql == {"runs/store.py", "runs/job_queue.py", "runs/database.py"}
