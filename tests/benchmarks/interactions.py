"""How long does a person wait in the browser for each of the main interactions?

``python tests/benchmarks/interactions.py [--rounds 5] [--write]`` prints Markdown; with ``--write`` it goes into the
documentation. It needs a Chromium and two idle cores. A workspace of eight sweeps with 50 runs is shown without a
worker. Seconds count from the click until the result is shown.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import seeding
from page_steps import drawn
from playwright.sync_api import Browser, Locator, Page, sync_playwright
from published import machine, markdown_table, options, publish

from tabtune_core.data.datasets import add_sample
from tabtune_core.store.runs import RunStore

PORT, ROOT = 8765, Path(__file__).resolve().parents[2]
NO_WORKER = """
from dashboard import start as dashboard
from tabtune_core.execution import lock
lock.ensure_worker = dashboard.ensure_worker = lambda home, **more: None
dashboard.main()
"""
"""The dashboard without a worker: its queued runs stay queued."""
POINTS = ".js-plotly-plot .scatterlayer .trace"
ADDRESS = f"http://127.0.0.1:{PORT}"
BARS = {
    "first page": 2.0,
    "Data to New run": 2.0,
    "New run again": 3.0,
    "a rank on or off": 0.7,
    "Launch to Live": 2.0,
    "Live with 50 runs": 3.0,
    "Leaderboard with 400 runs": 1.5,
    "Compare with 50 runs": 2.0,
}
"""The aim for each interaction, in seconds."""


@contextmanager
def served(home: Path) -> Iterator[None]:
    command = [sys.executable, "-c", NO_WORKER, "--home", str(home), "--port", str(PORT), "--no-browser"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as server:
        try:
            next(line for line in server.stdout or () if "LoRA Lab is at" in line)
            yield
        finally:
            server.terminate()


def waited(act: Callable[[], object], shown: Locator) -> float:
    """Seconds from ``act`` until ``shown`` is visible; Playwright's own wait checks only twice a second."""
    began = time.monotonic()
    act()
    while not shown.is_visible():
        assert time.monotonic() - began < 60, shown
        time.sleep(0.01)
    return time.monotonic() - began


def one_round(browser: Browser, large: str, table: str) -> dict[str, float]:
    page: Page = browser.new_context().new_page()
    page.set_default_timeout(60_000)
    chart = page.locator(POINTS).first
    launch = page.get_by_role("button", name="Launch", exact=False)
    following = page.get_by_role("button", name="Next: choose a model")
    seconds = {"first page": waited(lambda: page.goto(f"{ADDRESS}/?table={table}"), following)}
    drawn(page)
    seconds["Data to New run"] = waited(following.click, launch)
    drawn(page)
    seconds["New run again"] = waited(page.reload, launch)
    drawn(page)
    runs = launch.inner_text()
    seconds["a rank on or off"] = waited(
        page.get_by_role("button", name="32", exact=True).first.click,
        page.get_by_role("button", name="Launch").filter(has_not_text=runs),
    )
    drawn(page)
    seconds["Launch to Live"] = waited(launch.click, page.get_by_text("runs have ended"))
    seconds["Live with 50 runs"] = waited(lambda: page.goto(f"{ADDRESS}/live?sweep={large}"), chart)
    drawn(page)
    seconds["Leaderboard with 400 runs"] = waited(
        lambda: page.goto(f"{ADDRESS}/leaderboard?board=all"), page.get_by_test_id("stDataFrame").first
    )
    drawn(page)
    seconds["Compare with 50 runs"] = waited(lambda: page.goto(f"{ADDRESS}/compare?sweep={large}"), chart)
    page.context.close()
    return seconds


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        home = Path(name)
        (large, *_) = seeding.many_runs(RunStore(home), per_sweep=50, sweeps=8, looks=20, steps=1000)
        table = add_sample(home, "breast_cancer").id
        path = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        with served(home):
            rounds = [one_round(browser, large, table) for _ in range(asked.rounds)]
    lines = [
        [what, f"{rounds[0][what]:.1f}", f"{statistics.median(one[what] for one in rounds):.1f}", f"{most:g}"]
        for what, most in BARS.items()
    ]
    head = ["From a click to", "first time (s)", f"median of {len(rounds)} (s)", "aim (s)"]
    publish("interactions", f"{markdown_table(head, lines)}\n\n{machine()}.", write=asked.write)


if __name__ == "__main__":
    main()
