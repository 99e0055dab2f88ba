"""What opening a page costs the server: Live and Compare with 50 runs of 1,000 steps, the Leaderboard with 400 runs.

``python tests/benchmarks/page_times.py [--before TREE]`` runs each page's script in a process of its own (AppTest), cold and then again as
a new tab does. With ``--before``, another source tree takes turns with this one on the same workspace format. Printed are wall and CPU
seconds, the least of the rounds, and their ratio to the other tree's: on a busy machine only the ratio and the CPU seconds mean something.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"live": 3.0, "leaderboard": 1.5, "compare": 2.0}
"""The most seconds that opening one again may take on two idle cores."""


def measure(tree: Path, page: str) -> dict[str, float]:
    """Wall and CPU seconds of one page of a source tree, cold and again."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run([sys.executable, __file__, "--page", page], capture_output=True, text=True, check=True, cwd=tree, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def open_page(page: str) -> dict[str, float]:
    """In this process: seeds a workspace and opens the page three times."""
    sys.path[:0] = [os.environ["PYTHONPATH"], f"{os.environ['PYTHONPATH']}/tests"]
    import seeding
    from streamlit.testing.v1 import AppTest

    from tabtune_core.execution import lock
    from tabtune_core.store.runs import RunStore

    lock.ensure_worker = lambda home, **more: None
    spent = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TABTUNE_HOME"] = folder
        sizes = {"sweeps": 8, "looks": 20} if page == "leaderboard" else {"sweeps": 1, "looks": 20, "steps": 1000}
        newest = seeding.many_runs(RunStore(Path(folder)), per_sweep=50, **sizes)[0]
        for state in ("cold", "again", "again"):
            app = AppTest.from_file(f"{os.environ['PYTHONPATH']}/dashboard/app.py", default_timeout=300).run()
            app.query_params["board" if page == "leaderboard" else "sweep"] = "all" if page == "leaderboard" else newest
            wall, cpu = time.perf_counter(), time.process_time()
            app.switch_page(f"views/{page}/page.py").run()
            assert not app.exception, app.exception
            for name, seconds in (("wall", time.perf_counter() - wall), ("CPU", time.process_time() - cpu)):
                spent[f"{state}, {name}"] = min(seconds, spent.get(f"{state}, {name}", seconds))
    return spent


def main() -> None:
    """Measures, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="another source tree to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--page", choices=PAGES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.page:
        print(json.dumps(open_page(options.page)))
        return
    for page, most in PAGES.items():
        rounds = [(measure(ROOT, page), measure(options.before.resolve(), page) if options.before else {}) for _ in range(options.rounds)]
        print(f"{page} (at most {most:g} s again); load {os.getloadavg()[0]:.1f}")
        for name in rounds[0][0]:
            here = min(now[name] for now, _ in rounds)
            before = min((old[name] for _, old in rounds if old), default=None)
            print(f"  {name}: {here:.2f} s" + ("" if before is None else f", before {before:.2f} s, ratio {here / before:.2f}"))


if __name__ == "__main__":
    main()
