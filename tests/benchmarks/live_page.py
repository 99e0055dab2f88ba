"""What a refresh of the Live page costs with 50 runs of 1,000 points each: seconds on the server, bytes on the wire.

``python tests/benchmarks/live_page.py`` fills a workspace with 50 runs of made-up numbers, one of which goes on and tells something new
every tenth of a second, starts the dashboard as a person does, opens the page in a Chromium and watches its refreshes.

Server: wall and CPU time of the thread that runs the page, from its start to its end, refresh by refresh. Wire: bytes of the websocket
frames in both directions and of whatever else was fetched, from the start of a refresh to that of the next one. With several charts in
view; the charts are counted in the browser.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import seeding

from tabtune_core.events import Evaluated, MemorySampled, StepDone
from tabtune_core.execution import lock as worker_lock
from tabtune_core.store.runs import RunStore

MOST_SECONDS, MOST_BYTES = 0.300, 400_000
"""What a refresh may cost."""
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")


def tell(run: seeding.FakeRun, step: int) -> None:
    """What a run says in one step."""
    run.tell(
        StepDone(step, float(0.6 * np.exp(-step / 300) + 0.05 * run.random.random()), float(run.random.random()), 2e-4, 0.2 * step),
        MemorySampled("train", int(4e8 + 5e7 * run.random.random())),
    )
    if step % 10 == 0:
        run.tell(Evaluated(step, "validation", run.scores(run.accuracy(step)), step % 30 == 0, 0.2 * step))


def fill(home: Path, runs: int, points: int) -> tuple[str, seeding.FakeRun]:
    """A sweep of so many runs; all have ended but the last, which is returned with the sweep's id."""
    store = RunStore(home)
    ranks, seeds = (1, 2, 4, 8, 16), tuple(range(runs // 5))
    settings = seeding.sweep_settings(home, ranks=ranks, seeds=seeds)
    sweep, ids = store.add_sweep([run for run in settings.expand() if run.strategy == "peft"], "50 runs")
    with store._together():
        for run_id in ids:
            run = seeding.FakeRun(store, store.run(run_id).settings, run_id)
            seeding.start(run)
            for step in range(1, points + 1 if run_id != ids[-1] else points // 2):
                tell(run, step)
            if run_id != ids[-1]:
                run.end()
    return sweep, run


def serve(home: Path, port: int, log: Path) -> None:
    """The dashboard, with a line in ``log`` for every refresh. No worker: nothing waits for one."""
    from streamlit.runtime.scriptrunner.script_runner import ScriptRunner

    from dashboard import __main__ as dashboard
    from tabtune_core.execution.worker_watch import WorkerWatch

    carry_out = ScriptRunner._run_script

    def timed(self: ScriptRunner, rerun_data: object) -> None:
        began, wall, cpu = time.time(), time.perf_counter(), time.thread_time()
        carry_out(self, rerun_data)
        figures = {"began": began, "wall": time.perf_counter() - wall, "cpu": time.thread_time() - cpu}
        figures["fragment"] = bool(rerun_data.fragment_id or getattr(rerun_data, "fragment_id_queue", None))
        with log.open("a") as file:
            file.write(json.dumps(figures) + "\n")

    ScriptRunner._run_script = timed
    worker_lock.ensure_worker = lambda home, **more: None
    dashboard.ensure_worker = worker_lock.ensure_worker
    WorkerWatch.look = lambda self: None
    dashboard.main(["--home", str(home), "--port", str(port), "--no-browser"])


def watch(address: str, seconds: float, height: int, screenshot: Path | None) -> tuple[list[tuple[float, int]], int, float]:
    """Opens the page; returns (unix seconds, bytes) of everything that came or went, the charts in view, and when watching began."""
    from playwright.sync_api import sync_playwright

    seen: list[tuple[float, int]] = []

    def frame(event: dict) -> None:
        response = event["response"]
        seen.append((time.time(), len(response["payloadData"]) * (3 / 4 if response["opcode"] == 2 else 1)))

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1440, "height": height})
        wire = page.context.new_cdp_session(page)
        wire.send("Network.enable")
        wire.on("Network.webSocketFrameReceived", frame)
        wire.on("Network.webSocketFrameSent", frame)
        wire.on("Network.loadingFinished", lambda event: seen.append((time.time(), event["encodedDataLength"])))
        page.goto(address)
        page.locator(".js-plotly-plot .scatterlayer .trace").first.wait_for(timeout=300_000, state="attached")
        page.wait_for_timeout(8_000)
        began = time.time()
        page.wait_for_timeout(1_000 * seconds)
        charts = page.evaluate(
            "() => [...document.querySelectorAll('.js-plotly-plot')].filter((chart) => {"
            " const box = chart.getBoundingClientRect(); return box.bottom > 0 && box.top < innerHeight }).length"
        )
        if screenshot:
            page.screenshot(path=screenshot, timeout=120_000)
        browser.close()
    return seen, charts, began


def main() -> None:
    """Measures, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20, help="how long to watch")
    parser.add_argument("--height", type=int, default=1800, help="of the browser's window, in pixels")
    parser.add_argument("--port", type=int, default=8699)
    parser.add_argument("--screenshot", type=Path, help="where to leave a picture of the page")
    parser.add_argument("--serve", nargs=2, type=Path, metavar=("HOME", "LOG"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve[0], options.port, options.serve[1])
        return
    with tempfile.TemporaryDirectory() as folder:
        home, log = Path(folder) / "home", Path(folder) / "refreshes.jsonl"
        sweep, run = fill(home, options.runs, options.points)
        command = [sys.executable, __file__, "--port", str(options.port), "--serve", str(home), str(log)]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        done = threading.Event()

        def go_on() -> None:
            step = options.points // 2
            while not done.wait(0.1):
                tell(run, step)
                run.store.beat(run.id)
                step += 1

        teller = threading.Thread(target=go_on)
        try:
            wait_for(options.port, server)
            teller.start()
            address = f"http://127.0.0.1:{options.port}/live?sweep={sweep}"
            seen, charts, began = watch(address, options.seconds, options.height, options.screenshot)
        finally:
            done.set()
            server.terminate()
            server.wait(timeout=20)
            if teller.ident:
                teller.join()
        refreshes = [json.loads(line) for line in log.read_text().splitlines()]
    report(refreshes, seen, charts, began)


def wait_for(port: int, server: subprocess.Popen) -> None:
    """Until the dashboard answers."""
    import urllib.request

    for _ in range(300):
        assert server.poll() is None, "the server ended by itself"
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2)
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError("the server did not come up within 60 s")


def report(refreshes: list[dict], seen: list[tuple[float, int]], charts: int, began: float) -> None:
    """The figures, and whether they hold."""
    first = refreshes[0]
    starts = [refresh["began"] for refresh in refreshes if refresh["fragment"] and refresh["began"] >= began]
    watched = [refresh for refresh in refreshes if refresh["fragment"] and refresh["began"] >= began][:-1]
    sizes = [sum(size for at, size in seen if start <= at < end) for start, end in itertools.pairwise(starts)]
    opening = sum(size for at, size in seen if at < began)
    wall, cpu = [refresh["wall"] for refresh in watched], [refresh["cpu"] for refresh in watched]
    print(f"{len(watched)} refreshes, {charts} charts in view")
    print(f"server, wall: median {statistics.median(wall) * 1e3:.0f} ms, longest {max(wall) * 1e3:.0f} ms")
    print(f"server, CPU:  median {statistics.median(cpu) * 1e3:.0f} ms, longest {max(cpu) * 1e3:.0f} ms")
    print(f"wire: median {statistics.median(sizes) / 1e3:.1f} kB, largest {max(sizes) / 1e3:.1f} kB")
    print(f"opening: {first['wall'] * 1e3:.0f} ms wall, {first['cpu'] * 1e3:.0f} ms CPU; {opening / 1e3:,.0f} kB until watching began")
    holds = statistics.median(wall) < MOST_SECONDS and statistics.median(sizes) < MOST_BYTES and charts >= 3
    print(f"below {MOST_SECONDS * 1e3:.0f} ms and {MOST_BYTES / 1e3:.0f} kB with at least three charts: {'yes' if holds else 'NO'}")


if __name__ == "__main__":
    main()
