"""Imports point down, and neither a page nor ``--help`` loads torch."""

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
        *("access", "errors", "events", "metrics", "gpus", "devices", "machine", "shortage", "scratch", "upstream"),
        *("wording", "files", "variants"),
    },
    {"settings"},
    {"lora", "data"},
    {"models"},
    {"training", "store"},
    {"analysis", "charts", "engine"},
    {"api", "tracking", "search"},
    {"execution", "serving"},
    {"cli", "__main__"},
)
"""The packages of tabtune_core, lowest layer first; each may import from its own layer and those below."""
HEIGHT = {name: height for height, row in enumerate(LAYERS) for name in row}
PAGES_REACH = (
    *("__main__", "access", "errors", "events", "metrics", "gpus", "machine", "shortage", "scratch", "wording"),
    *("upstream", "settings", "data", "models.cards", "models.catalogue"),
    *("search.budget", "search.space", "search.summary", "models.checkpoints"),
    *("lora.hub", "lora.package_facts", "lora.package_reader"),
    *("training.memory.estimate", "training.memory.fitting", "training.memory.what_fits", "store"),
    *("analysis", "charts", "execution.worker_flags", "execution.cluster", "execution.executor", "execution.lock"),
    *("execution.jobs.export_formats",),
)
"""Modules of the core that the dashboard may use; none of them loads torch."""
WALKS = (ROOT / "docs" / "pages" / "architecture" / "walks.md").read_text()
ROOM = re.compile(r"^\d+\. `([\w/]+\.\w+)`, `([\w.]+)`: .+\.$", re.MULTILINE)
MOST_ROOMS = {
    "A table from upload to adapter": 25,
    "A rank from form to layer": 12,
    "An event from the loop to the drawn chart": 9,
}
"""The titles of the walks, and the largest number of files in each."""
VIEWS = sorted(path.name for path in (ROOT / "dashboard" / "views").iterdir() if (path / "page.py").exists())


def modules(package):
    return sorted((ROOT / package).rglob("*.py"))


def every_module():
    return [*modules("tabtune_core"), *modules("dashboard")]


def file_of(files, name):
    """Returns the module called ``name`` or, for a name within a module, that module."""
    return name if name in files else parent if (parent := name.rpartition(".")[0]) in files else None


@cache
def nodes(source):
    return list(ast.walk(ast.parse(source)))


def imported(source):
    """Yields the dotted names of all modules, and names in modules, that Python source imports at any place."""
    for node in nodes(source):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def imports(paths, wanted):
    """Yields each path with each of its imports that begins with ``wanted``, without that prefix."""
    for path in paths:
        for name in imported(path.read_text()):
            if name.startswith(wanted):
                yield path, name.removeprefix(wanted)


def package(path):
    return path.relative_to(ROOT / "tabtune_core").parts[0].removesuffix(".py")


def test_every_module_has_its_place_in_a_layer():
    assert {package(path) for path in modules("tabtune_core")} - {"__init__"} == set(HEIGHT)


def test_imports_point_down():
    core = [path for path in modules("tabtune_core") if package(path) != "__init__"]
    used = imports(core, "tabtune_core.")
    assert [(path, name) for path, name in used if HEIGHT[name.split(".")[0]] > HEIGHT[package(path)]] == []
    assert [*imports(core, "dashboard")] == []


def test_there_are_no_circular_imports():
    """Imports within functions and only for types count too."""
    files = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in every_module()}
    known = {
        name: {end for end in map(partial(file_of, files), imported(path.read_text())) if end} - {name}
        for name, path in files.items()
    }
    while ground := {name for name, ends in known.items() if not ends & known.keys()}:
        known = {name: ends for name, ends in known.items() if name not in ground}
    assert known == {}, "these modules import each other, or import modules that do"


def test_the_pages_use_only_modules_without_torch():
    used, reached = [*imports(modules("dashboard"), "tabtune_core.")], tuple(f"{name}." for name in PAGES_REACH)
    assert [(path, name) for path, name in used if not f"{name}.".startswith(reached)] == []
    assert [prefix for prefix in reached if not any(f"{name}.".startswith(prefix) for _, name in used)] == []


def test_a_page_imports_no_part_of_another_and_only_views_import_views():
    own = {path: path.relative_to(ROOT / "dashboard").parts for path in modules("dashboard")}
    used = [(own[path], name.split(".")[0]) for path, name in imports(own, "dashboard.views.")]
    assert {name for _, name in used} >= set(VIEWS) - {"guide"}  # it has no parts
    assert [(place, name) for place, name in used if place[:2] != ("views", name)] == []


TORCH_FREE = (
    *("tabtune_core", "tabtune_core.__main__", "tabtune_core.cli.main", "tabtune_core.execution.doctor"),
    *("tabtune_core.execution.on_ray.executor", "tabtune_core.execution.on_ray.remote_run"),
    *("tabtune_core.execution.worker", "tabtune_core.execution.service", "tabtune_core.models.checkpoints"),
    *("tabtune_core.store.uploaded_adapters", "tabtune_core.execution.jobs.export_formats"),
    *("tabtune_core.analysis.runs_table", "dashboard", "dashboard.start", "dashboard.server.application"),
)
QUICK = ("tabtune_core.cli.main", "tabtune_core.execution.service")
"""A command that only lists, and a worker of one run at a time, take half a second; pandas would double that."""
PLANNING = (
    *("tabtune_core.cli.launch", "tabtune_core.cli.request", "tabtune_core.data.task", "dashboard.queries"),
    "tabtune_core.analysis.launch_checks",
)


def test_modules_that_people_wait_for_do_not_load_slow_packages():
    code = (
        "import importlib, sys\n"
        f"for modules, heavy in (({QUICK}, {{'pandas', 'duckdb'}}), ({PLANNING}, {{'sklearn'}}), ({TORCH_FREE}, "
        f"{{'torch', 'ray'}})):\n"
        "    for name in modules:\n"
        "        importlib.import_module(name)\n"
        "        if loaded := heavy & sys.modules.keys(): sys.exit(f'{name}: {loaded}')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def names_in(path):
    """Yields the names that a file defines at its top level, and ``Class.method`` for the methods of its classes."""
    if path.suffix == ".js":
        yield from re.findall(r"^const (\w+) =", path.read_text(), re.MULTILINE)
        return
    for node in ast.parse(path.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        yield from (target.id for target in targets if isinstance(target, ast.Name))
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
            yield from (f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef))


def test_a_walk_names_existing_files_and_functions():
    assert [(file, name) for file, name in ROOM.findall(WALKS) if name not in set(names_in(ROOT / file))] == []


@pytest.mark.parametrize("walk", re.split(r"^## ", WALKS, flags=re.MULTILINE)[1:], ids=lambda walk: walk.split("\n")[0])
def test_a_walk_is_short_and_each_of_its_lines_has_the_right_form(walk):
    title, _, rooms = walk.partition("\n")
    lines = [line for line in rooms.splitlines() if line.strip()]
    assert len(ROOM.findall(rooms)) == len(lines) <= MOST_ROOMS[title]


def test_only_the_store_has_sql():
    assert {package(path) for path in modules("tabtune_core") if "sqlite3" in path.read_text()} == {"store"}


def test_gpus_are_queried_only_through_devices():
    """Then code tested on one kind of GPU is right for each."""
    elsewhere = {
        f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)}"
        for path in modules("tabtune_core")
        if path.name != "devices.py"
        for node in nodes(path.read_text())
        if (
            isinstance(node, ast.Attribute)
            and node.attr in ("cuda", "accelerator", "mps", "xpu", "manual_seed", "fork_rng", "is_cuda")
            and re.fullmatch(
                r"torch\.(cuda|accelerator|mps|xpu|manual_seed|random\.fork_rng)|.*\.is_cuda", ast.unparse(node)
            )
        )
        or (isinstance(node, ast.Compare) and re.search(r"\.type [!=]= 'cuda", ast.unparse(node)))
    }
    assert elsewhere == set()


def test_the_rules_of_reading_stay_few():
    """CONTRIBUTING says when a rule of reading comes in."""
    files = [*(ROOT / "tabtune_core/data/reading").glob("*.py"), ROOT / "tabtune_core/data/table.py"]
    text = "".join(file.read_text() for file in files)
    codes = {*re.findall(r'Finding\(\s*(?:"\w+"|\w+|"\w+" if [^,]*),\s*"([\w-]+)"', text)}
    questions = {*re.findall(r'Question\(\s*"([\w-]+)"', text)}
    assert sum(len(file.read_text().splitlines()) for file in files[:-1]) <= 2_200
    assert 20 < len(codes) <= 30
    assert 0 < len(questions) <= 6
