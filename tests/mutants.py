"""Do the tests detect faults? Breaks one place of a module at a time and runs its tests. Runs only by name; takes hours
for all modules.

    python tests/mutants.py analysis/claims lora/layers --mutants 20 --seed 0

The last commit is cloned into a temporary folder and broken there. A mutant is killed if a test fails or does not end.
"""

import argparse
import ast
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def of(folder: str, *names: str) -> str:
    """The test files of these names in a folder."""
    return " ".join(f"unit/{folder}/test_{name}.py" for name in names)


CLAIMS = of("analysis", "claims", "null_designs", "outcomes", "recommendation")
LORA = "unit/lora contract/test_variants.py parity/test_peft.py"
SPLITS = of("data", "splits", "ordered_splits", "held_out_rows")
STATE = of("training", "state_file", "last_state", "clock", "loop")
FILES = "unit/files unit/lora/test_package.py unit/lora/test_adapter_set.py"
PIPELINE = of("api", "pipeline", "pipeline_files", "pipeline_adapters")
TESTS = {
    **dict.fromkeys(
        [f"analysis/{name}" for name in ["claims", "jackknife", "row_groups", "scores_without", "comparison"]], CLAIMS
    ),
    "analysis/recommendation": f"{CLAIMS} {of('analysis', 'any_sweep')}",
    **dict.fromkeys((f"lora/{path.stem}" for path in (ROOT / "tabtune_core" / "lora").glob("[a-z]*.py")), LORA),
    **dict.fromkeys(
        ("upstream", "lora/adapted_layer", "lora/package", "lora/package_facts", "lora/package_reader"),
        "unit/lora unit/store/test_uploaded_adapters.py contract/test_families.py",
    ),
    "api/pipeline_file": PIPELINE,
    "lora/standalone": f"unit/lora {PIPELINE}",
    **dict.fromkeys(("training/best_checkpoint", "training/clock", "training/last_state", "training/loop"), STATE),
    "training/scoring": "unit/training/test_scoring.py unit/training/test_array_cache.py contract/test_models.py",
    **dict.fromkeys(("data/splits", "data/ordered_splits"), SPLITS),
    "data/encoding": "unit/data/test_encoding.py unit/data/test_values.py",
    "data/leakage": "unit/data/test_leakage.py",
    **dict.fromkeys((f"files/{path.stem}" for path in (ROOT / "tabtune_core" / "files").glob("[a-z]*.py")), FILES),
}
"""The test files of each module."""
PAIRS = [(ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.In, ast.NotIn), (ast.Is, ast.IsNot)]
PAIRS += [(ast.And, ast.Or), (ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.BitAnd, ast.BitOr)]
OTHER: dict[type[ast.AST], type[ast.AST]] = {ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult}
OTHER |= {**dict(PAIRS), **{second: first for first, second in PAIRS}}


def places(node: ast.AST) -> Iterator[tuple[ast.AST, Callable[[], None]]]:
    """Every place below a node that can be broken, with what breaks it; not annotations, decorators and strings."""
    if isinstance(node, ast.Compare):
        yield from (
            (node, lambda at=at: node.ops.__setitem__(at, OTHER[type(node.ops[at])]())) for at in range(len(node.ops))
        )
    elif isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in OTHER:
        yield node, lambda: setattr(node, "op", OTHER[type(node.op)]())
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float) and node.value + 1 != node.value:
        yield node, lambda: setattr(node, "value", not node.value if isinstance(node.value, bool) else node.value + 1)
    elif isinstance(node, ast.Return) and node.value is not None and ast.unparse(node.value) != "None":
        yield node, lambda: setattr(node, "value", None)
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        yield node, lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield node, lambda: setattr(node, "value", ast.Constant(None))
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                yield from places(child) if isinstance(child, ast.AST) else ()


def mutants(path: Path, number: int, chance: random.Random) -> Iterator[str]:
    """Breaks a file ``number`` times, yields where and how each time, and restores it."""
    whole = path.read_text()
    count = len([*places(ast.parse(whole))])
    for at in sorted(chance.sample(range(count), min(number, count))):
        tree = ast.parse(whole)
        node, apply = [*places(tree)][at]
        before = ast.unparse(node).splitlines()[0]
        apply()
        path.write_text(ast.unparse(ast.fix_missing_locations(tree)))
        yield f"{path.name}:{node.lineno}: {before} -> {ast.unparse(node).splitlines()[0]}"
    path.write_text(whole)


def passes(clone: Path, module: str, seconds: int) -> bool:
    """Whether the module's tests and doctests pass in the clone within seconds of a processor: others may use it too."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
    command += [f"tabtune_core/{module}.py", *(f"tests/{name}" for name in TESTS[module].split())]
    environment = os.environ | {"PYTHONPATH": str(clone)}
    limit = ["prlimit", f"--cpu={seconds}", *command]
    try:
        done = subprocess.run(limit, cwd=clone, env=environment, capture_output=True, timeout=300 + 20 * seconds)
    except subprocess.TimeoutExpired:  # it waits for ever
        return False
    return done.returncode == 0


def used() -> float:
    """Seconds of a processor that ended tests have used."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def main() -> None:
    """Breaks the requested modules and counts the killed mutants."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="*", default=[*TESTS], metavar="MODULE", help=f"of {', '.join(TESTS)}")
    parser.add_argument("--mutants", type=int, default=20, help="mutants of each module (default: 20)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    every: dict[str, list[bool]] = {}
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        for module in asked.modules:
            began = used()
            assert passes(clone, module, 3600), f"the tests of {module} fail before anything is broken"
            limit = round(30 + 3 * (used() - began))
            path = clone / "tabtune_core" / f"{module}.py"
            for what in mutants(path, asked.mutants, random.Random(f"{asked.seed} {module}")):
                survived = passes(clone, module, limit)
                every.setdefault(module, []).append(not survived)
                print(f"{'SURVIVED' if survived else 'killed'} {module}, {what}", flush=True)
    every["all"] = [one for killed in every.values() for one in killed]
    for module, killed in every.items():
        print(f"{module}: {sum(killed)} of {len(killed)} killed ({sum(killed) / len(killed):.0%})")


if __name__ == "__main__":
    main()
