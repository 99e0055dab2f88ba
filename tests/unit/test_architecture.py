"""Imports point down, and nothing that a page or ``--help`` loads brings torch."""

import ast
import re
import subprocess
import sys
from functools import cache, partial
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = (
    {
        "access",
        "errors",
        "events",
        "metrics",
        "gpus",
        "devices",
        "machine",
        "shortage",
        "scratch",
        "upstream",
        "wording",
        "files",
        "variants",
    },
    {"settings"},
    {"lora", "data"},
    {"models"},
    {"training", "store"},
    {"analysis", "charts", "engine"},
    {"api", "tracking"},
    {"execution", "serving"},
    {"cli", "__main__"},
)
"""The packages of tabtune_core from the ground up; each imports from its own row and those before it."""
HEIGHT = {name: height for height, row in enumerate(LAYERS) for name in row}
PAGES_REACH = (
    "access",
    "errors",
    "events",
    "metrics",
    "gpus",
    "machine",
    "shortage",
    "scratch",
    "wording",
    "files.archives",
    "files.damaged",
    "upstream",
    "settings",
    "data",
    "models.adapter_size",
    "models.cards",
    "models.catalogue",
    "models.checkpoints",
    "models.snippets",
    "lora.hub",
    "lora.package_facts",
    "lora.package_reader",
    "training.episodes",
    "training.memory.disk_space",
    "training.memory.estimate",
    "training.memory.fitting",
    "training.memory.prediction_context",
    "store",
    "analysis",
    "charts",
    "tracking",
    "execution.worker_flags",
    "execution.cluster_file",
    "execution.cores",
    "execution.doctor",
    "execution.end_messages",
    "execution.executor",
    "execution.lock",
    "execution.worker_watch",
    "execution.jobs.export_formats",
)
"""What the dashboard uses of the core: nothing that loads torch."""
WALKS = (ROOT / "docs" / "pages" / "architecture" / "walks.md").read_text()
ROOM = re.compile(r"^\d+\. `([\w/]+\.\w+)`, `([\w.]+)`: .+\.$", re.MULTILINE)
MOST_ROOMS = {"A table from upload to adapter": 25, "A rank from form to layer": 12, "An event from the loop to the drawn chart": 9}
"""The titles of the walks, and how many files each may pass."""
VIEWS = sorted(path.name for path in (ROOT / "dashboard" / "views").iterdir() if (path / "page.py").exists())


def modules(package):
    return sorted((ROOT / package).rglob("*.py"))


def every_module():
    return [*modules("tabtune_core"), *modules("dashboard")]


def file_of(files, name):
    """The module that an imported name is, or is in."""
    return name if name in files else parent if (parent := name.rpartition(".")[0]) in files else None


@cache
def nodes(source):
    """Of a text of Python."""
    return list(ast.walk(ast.parse(source)))


def imported(source):
    """Dotted names of modules, or of names in modules, that a text of Python imports, wherever in it."""
    for node in nodes(source):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def imports(paths, wanted):
    """Each path with what it imports that begins so: dotted names after that."""
    for path in paths:
        for name in imported(path.read_text()):
            if name.startswith(wanted):
                yield path, name.removeprefix(wanted)


def package(path):
    return path.relative_to(ROOT / "tabtune_core").parts[0].removesuffix(".py")


@pytest.mark.parametrize(
    "line", ["from tabtune_core import data", "import tabtune_core.data.table", "from tabtune_core.data.table import read_table"]
)
def test_every_way_to_import_is_seen(line):
    assert [name.split(".")[1] for name in imported(f"def later():\n    {line}")] == ["data"]


def test_every_module_has_its_place_in_a_layer():
    assert {package(path) for path in modules("tabtune_core")} - {"__init__"} == set(HEIGHT)


def test_imports_point_down():
    core = [path for path in modules("tabtune_core") if package(path) != "__init__"]
    too_high = [found for found in imports(core, "tabtune_core.") if HEIGHT[found[1].split(".")[0]] > HEIGHT[package(found[0])]]
    assert too_high == []
    assert [*imports(core, "dashboard")] == []


def test_no_import_leads_back_to_where_it_came_from():
    """Imports within functions and for types alone count too."""
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in every_module()}
    known = {
        name: {end for end in map(partial(file_of, files), imported(path.read_text())) if end} - {name} for name, path in files.items()
    }
    while ground := {name for name, ends in known.items() if not ends & known.keys()}:
        known = {name: ends for name, ends in known.items() if name not in ground}
    assert known == {}, "these import each other, or import those that do"


def test_the_pages_reach_only_what_needs_no_torch():
    used = imports(modules("dashboard"), "tabtune_core.")
    assert [found for found in used if not f"{found[1]}.".startswith(tuple(f"{reached}." for reached in PAGES_REACH))] == []


def test_a_page_borrows_no_part_of_another_and_only_views_know_views():
    own = {path: path.relative_to(ROOT / "dashboard").parts for path in modules("dashboard")}
    used = [(own[path], name.split(".")[0]) for path, name in imports(own, "dashboard.views.")]
    assert {name for _, name in used} >= set(VIEWS)
    assert [found for found in used if found[0][:2] != ("views", found[1])] == []


TORCH_FREE = (
    "tabtune_core",
    "tabtune_core.__main__",
    "tabtune_core.cli.main",
    "tabtune_core.execution.doctor",
    "tabtune_core.execution.on_ray.executor",
    "tabtune_core.execution.on_ray.remote_run",
    "tabtune_core.execution.worker",
    "tabtune_core.execution.service",
    "tabtune_core.models.checkpoints",
    "tabtune_core.store.uploaded_adapters",
    "tabtune_core.execution.jobs.export_formats",
    "tabtune_core.analysis.runs_table",
    "dashboard",
    "dashboard.__main__",
    "dashboard.server.application",
)
PLANNING = (
    *("tabtune_core.cli.launch", "tabtune_core.cli.request", "tabtune_core.data.task", "dashboard.queries"),
    *("tabtune_core.analysis.launch_checks", "tabtune_core.data.pair_leakage"),
)


def test_what_a_person_waits_for_does_not_load_what_takes_seconds():
    code = (
        "import importlib, sys\n"
        f"for modules, heavy in (({PLANNING}, {{'sklearn'}}), ({TORCH_FREE}, {{'torch', 'ray'}})):\n"
        "    for name in modules:\n"
        "        importlib.import_module(name)\n"
        "        if found := heavy & sys.modules.keys(): sys.exit(f'{name}: {found}')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def names_in(path):
    """What a file defines at its top, and in its classes with the class before it."""
    if path.suffix == ".js":
        yield from re.findall(r"^const (\w+) =", path.read_text(), re.MULTILINE)
        return
    for node in ast.parse(path.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        yield from (target.id for target in targets if isinstance(target, ast.Name))
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
            yield from (f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef))


def test_a_walk_passes_what_exists():
    assert [(file, name) for file, name in ROOM.findall(WALKS) if name not in set(names_in(ROOT / file))] == []


@pytest.mark.parametrize("walk", re.split(r"^## ", WALKS, flags=re.MULTILINE)[1:], ids=lambda walk: walk.partition("\n")[0])
def test_a_walk_is_short_and_each_of_its_lines_can_be_read(walk):
    title, _, rooms = walk.partition("\n")
    lines = [line for line in rooms.splitlines() if line.strip()]
    assert len(ROOM.findall(rooms)) == len(lines) <= MOST_ROOMS[title]


def test_only_the_store_has_sql():
    with_sql = {str(p.relative_to(ROOT / "tabtune_core")) for p in modules("tabtune_core") if "sqlite3" in p.read_text()}
    assert {path.partition("/")[0] for path in with_sql} == {"store"}


def test_a_gpu_is_asked_through_devices_alone():
    """So that what is right for the one that is tested is right for each: ``torch.cuda`` waits for and opens the first GPU unless told."""
    found = {
        f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)}"
        for path in modules("tabtune_core")
        if path.name != "devices.py" and "pretraining" not in path.parts
        for node in nodes(path.read_text())
        if (
            isinstance(node, ast.Attribute)
            and node.attr in ("cuda", "accelerator", "mps", "xpu", "manual_seed", "fork_rng", "is_cuda")
            and re.fullmatch(r"torch\.(cuda|accelerator|mps|xpu|manual_seed|random\.fork_rng)|.*\.is_cuda", ast.unparse(node))
        )
        or (isinstance(node, ast.Compare) and re.search(r"\.type [!=]= 'cuda", ast.unparse(node)))
    }
    assert found == set()
