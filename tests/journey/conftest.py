"""Fixtures: a new workspace per test, its pages, a real server and a real browser."""

import functools
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
from page_steps import PATIENCE_MS
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest
from worker_program import free_port

from tabtune_core.data import datasets
from tabtune_core.execution import lock as worker_lock
from tabtune_core.store.runs import RunStore

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
BROWSER_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--js-flags=--no-opt --max-lazy",  # a page is open for seconds, so compiling for long runs does not pay
)

manifest_scanner.scan_component_manifests = functools.cache(
    manifest_scanner.scan_component_manifests
)  # which each AppTest does
READ = {}
"""Tables read in this process, by their bytes and reading choices."""


def read_once(source, choices, read=datasets.read_table, **more):
    """``read_table`` that reads the same file only once, for tests of other subjects."""
    key = (source.read_bytes(), choices, more["limit_bytes"])
    if key not in READ:
        READ[key] = read(source, choices, **more)
    return READ[key]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty workspace that the pages use; no worker is started for it."""
    monkeypatch.setenv("TABTUNE_HOME", str(tmp_path))
    monkeypatch.setattr(datasets, "read_table", read_once)
    monkeypatch.setattr(worker_lock, "ensure_worker", lambda home, **more: None)
    return tmp_path


@pytest.fixture
def store(home):
    return RunStore(home)


@pytest.fixture
def app(home):
    app = AppTest.from_file(str(APP), default_timeout=30)
    for box in ("advanced", "as_text"):  # which a person opens with a click
        app.session_state[box] = True
    return app


WITHOUT_WORKER = """
from tabtune_core.execution import lock
lock.ensure_worker = lambda home, **more: None
lock.WorkerWatch.look = lambda watch: None
"""
PAGES = """
from dashboard import start as dashboard
dashboard.main()
"""


@pytest.fixture
def serve(tmp_path):
    """Starts the dashboard on ``tmp_path``, seeded before: with its worker, or only its pages by a program."""
    with ExitStack() as stack:

        def start(*more: str, worker: bool = False, program: str = PAGES) -> str:
            port = free_port()
            begin = ("-m", "dashboard") if worker else ("-c", WITHOUT_WORKER + program)
            command = [sys.executable, *begin, "--home", str(tmp_path), "--port", str(port), "--no-browser", *more]
            log = stack.enter_context((tmp_path / "server.log").open("wb"))
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=APP.parents[1])
            stack.callback(end_worker, tmp_path)
            stack.callback(process.wait, timeout=20)
            stack.callback(process.terminate)
            wait_until_healthy(f"http://127.0.0.1:{port}", process)
            return f"http://127.0.0.1:{port}"

        yield start


def wait_until_healthy(address: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended by itself"
        try:
            if urllib.request.urlopen(f"{address}/_stcore/health", timeout=2).status == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the server did not come up")


def end_worker(home: Path) -> None:
    """Ends the worker that the server started for this workspace."""
    holder = worker_lock.worker_of(home)
    with suppress(psutil.NoSuchProcess):  # it may be about to end by itself, now that the pages have
        if holder is not None:
            worker = psutil.Process(holder)
            family = worker.children(recursive=True)
            worker.terminate()
            psutil.wait_procs([worker], timeout=10)
            for left in psutil.wait_procs(family, timeout=0.1)[1]:  # what loads torch would do so to the end
                with suppress(psutil.NoSuchProcess):
                    left.kill()


@pytest.fixture(scope="module")
def chromium():
    """A Chromium; without one the tests are skipped, except on CI."""
    path = (
        os.environ.get("CHROMIUM")
        or shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if path is None:
        reason = "no Chromium: install one or name it with the environment variable CHROMIUM"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(BROWSER_FLAGS))
        yield started
        started.close()


@pytest.fixture
def browser(chromium):
    yield chromium
    for context in chromium.contexts:
        context.close()


@pytest.fixture
def page(browser):
    """A tab in which no script may fail; its timeouts suit slow machines."""
    opened = browser.new_page(viewport={"width": 1440, "height": 1000})
    opened.set_default_timeout(PATIENCE_MS)
    failures = []
    opened.on("pageerror", lambda error: failures.append(error))
    yield opened
    assert not failures
