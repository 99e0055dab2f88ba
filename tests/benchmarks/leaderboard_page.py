"""How fast the Leaderboard opens with 1,000 runs in the store: on the server (AppTest) and in a real browser.

    python tests/benchmarks/leaderboard_page.py [--sweeps 20] [--per-sweep 50] [--looks 60]

Prints wall and CPU seconds of this process for the page script, cold (nothing cached) and warm (opened again), for all runs and for the
newest sweep; then, where there is a Chromium, seconds from the address to a drawn table in a tab that has loaded the dashboard before.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import streamlit as st
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import seeding  # noqa: E402

from tabtune_core.execution import lock as worker_lock  # noqa: E402
from tabtune_core.store.runs import RunStore  # noqa: E402

TABLE = "[data-testid=stDataFrame] canvas"


def on_the_server(board: str) -> None:
    """Opens the page by its address, three times: with nothing cached, then twice warm in new tabs."""
    st.cache_data.clear()
    st.cache_resource.clear()
    for state in ("cold", "warm", "warm"):
        app = AppTest.from_file(str(ROOT / "dashboard" / "app.py"), default_timeout=120).run()
        app.query_params["board"] = board
        app.session_state["chosen_board"] = board
        wall, cpu = time.perf_counter(), time.process_time()
        app.switch_page("views/leaderboard/page.py").run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        assert not app.exception, app.exception
        print(f"  server, {state}: {wall:.2f} s wall, {cpu:.2f} s CPU, {len(app.dataframe[0].value)} lines")


def in_a_browser(home: Path, boards: dict[str, str]) -> None:
    """From the address to a drawn table; the first opening is the server's and the browser's first."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        print("No Chromium: install one or name it with the environment variable CHROMIUM.")
        return
    from playwright.sync_api import sync_playwright

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "dashboard", "--home", str(home), "--port", str(port), "--no-browser"]
    server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
            tab = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
            address = f"http://127.0.0.1:{port}"
            wait_until_up(port)
            tab.goto(address)  # the dashboard's own scripts
            tab.get_by_role("link", name="Leaderboard").wait_for(timeout=60_000)
            received = [0]
            tab.on("websocket", lambda socket: socket.on("framereceived", lambda frame: received.__setitem__(0, received[0] + len(frame))))
            for name, board in boards.items():
                for state in ("first", "again", "again"):
                    received[0] = 0
                    before, drawn = cpu_seconds([server.pid]), cpu_seconds(family(server.pid))
                    began = time.perf_counter()
                    tab.goto(f"{address}/leaderboard?board={board}", wait_until="commit")
                    tab.locator(TABLE).first.wait_for(timeout=60_000)
                    wall = time.perf_counter() - began
                    tab.wait_for_timeout(1500)
                    spent, drawing = cpu_seconds([server.pid]) - before, cpu_seconds(family(server.pid)) - drawn
                    cpu = f"{spent:.2f} s CPU of the server, {drawing:.2f} s of the browser"
                    print(f"  browser, {name}, {state}: {wall:.2f} s wall, {cpu}, {received[0] / 1e3:,.0f} kB")
            browser.close()
    finally:
        server.terminate()
        server.wait(timeout=20)


def cpu_seconds(pids: list[int]) -> float:
    """Of some processes so far."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids if psutil.pid_exists(pid))


def family(server: int) -> list[int]:
    """The browser's processes: all that this one started, without the server's."""
    others = {server, *(child.pid for child in psutil.Process(server).children(recursive=True))}
    return [child.pid for child in psutil.Process().children(recursive=True) if child.pid not in others and "chrom" in child.name()]


def wait_until_up(port: int) -> None:
    """Until the port answers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError("the server did not come up within 60 s")


def main() -> None:
    """Seeds a workspace and measures."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--sweeps", type=int, default=20)
    asked.add_argument("--per-sweep", type=int, default=50)
    asked.add_argument("--looks", type=int, default=60, help="validation scores a run")
    wanted = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        os.environ["TABTUNE_HOME"] = folder
        worker_lock.ensure_worker = lambda home, **more: None
        newest, *_ = seeding.many_runs(RunStore(home), sweeps=wanted.sweeps, per_sweep=wanted.per_sweep, looks=wanted.looks)
        print(f"{wanted.sweeps * wanted.per_sweep:,} runs with {wanted.looks} validation scores each; load {os.getloadavg()[0]:.1f}")
        boards = {"all runs": "all", "one sweep": newest}
        for name, board in boards.items():
            print(name)
            on_the_server(board)
        in_a_browser(home, boards)


if __name__ == "__main__":
    main()
