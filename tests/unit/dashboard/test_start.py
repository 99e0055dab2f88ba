"""The program that serves the pages: why it cannot start, its settings of Streamlit, and shortages."""

import re
import signal
import socket
import subprocess
import sys
import tomllib
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient
from streamlit import net_util
from streamlit.testing.v1 import AppTest
from streamlit.web.server.starlette.starlette_websocket import _is_origin_allowed

import dashboard
from dashboard import start as program
from dashboard.server import application
from dashboard.server import application as served
from dashboard.server.application import _from_here, show_error
from dashboard.server.application import application as make_application
from dashboard.start import main
from tabtune_core.access import OWN_NAMES, decide
from tabtune_core.execution import cluster as cluster_check
from tabtune_core.execution import cores


@pytest.fixture
def served_once(tmp_path, monkeypatch):
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell starts commands in the background with this one ignored,
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and nohup with this one
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    for name in ("TABTUNE_HOME", "TABTUNE_WORKER"):
        monkeypatch.setenv(name, "")

    def ensure_worker(home, *, exit_when_idle):
        assert not exit_when_idle, "only the demo does that"

    monkeypatch.setattr(cores, "_cores", lambda: tuple(range(8)))
    monkeypatch.setattr(cores, "core_quota", lambda: None)
    monkeypatch.setattr("dashboard.start.ensure_worker", ensure_worker)
    monkeypatch.setattr(served, "application", lambda access: types.SimpleNamespace(run=lambda config: None))

    def start(*flags):
        main(["--home", str(tmp_path), "--no-browser", *flags])

    return start


def test_an_unusable_workspace_gives_one_line_and_exit_status_2(served_once, tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as ended:
        served_once("--home", str(tmp_path / "file"))
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tabtune-dashboard: The workspace {tmp_path / 'file'} cannot be opened")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_closed_terminal_and_sigterm_end_the_pages_in_order_but_nohup_keeps_them(served_once, monkeypatch, number):
    with monkeypatch.context() as patched:
        ends = types.SimpleNamespace(run=lambda config: signal.raise_signal(number))
        patched.setattr(served, "application", lambda access: ends)
        with pytest.raises(SystemExit) as ended:
            served_once()
    assert ended.value.code == 128 + signal.SIGTERM
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    served_once()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


INTERRUPTED_IMPORT = """
import os, signal, sys
from dashboard.__main__ import program

class Interrupting:
    @staticmethod
    def find_spec(name, *more):
        if name == "dashboard.start":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting)
program()
"""


def test_ctrl_c_while_the_pages_load_ends_without_a_trace():
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED_IMPORT], capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, b"")


def test_a_requested_busy_port_is_refused_and_the_default_one_is_replaced(served_once, capsys, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as ended:
            served_once("--port", str(port))
        assert ended.value.code == 2
        assert re.search(f"Port {port} cannot be used .*in use.*leave --port out", capsys.readouterr().err)
        monkeypatch.setattr("dashboard.start.USUAL_PORT", port)
        served_once()
    assert re.search(r"is at http://127\.0\.0\.1:(\d+)", capsys.readouterr().out)[1] != str(port)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--threads 99999", "--parallel 1 with --threads 99999 takes"),
        ("--executor ray --parallel 2", "--parallel and --threads divide the cores of this machine"),
        ("--executor ray --threads 2", "--parallel and --threads divide the cores of this machine"),
        ("--parallel 0", "argument --parallel: '0' is not a whole number from 1 to 1,000,000."),
    ],
)
def test_impossible_flags_of_its_worker_are_refused_in_one_sentence(served_once, monkeypatch, capsys, flags, said):
    monkeypatch.setenv("TABTUNE_WORKER", flags)
    with pytest.raises(SystemExit) as ended:
        served_once()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tabtune-dashboard: The environment variable TABTUNE_WORKER is '{flags}'")
    assert said in line


def test_a_missing_cluster_ends_the_program(served_once, capsys, monkeypatch):
    monkeypatch.setattr(cluster_check, "find_spec", lambda name: ModuleSpec(name, None, origin="there"))
    monkeypatch.setenv("TABTUNE_WORKER", "--executor ray --address 127.0.0.1:1")
    with pytest.raises(SystemExit) as ended:
        served_once()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tabtune-dashboard: There is no Ray cluster to join at '127.0.0.1:1'")


CONFIG = Path(dashboard.__file__).with_name(".streamlit") / "config.toml"


def values(section):
    for name, value in section.items():
        yield from values(value) if isinstance(value, dict) else [(name, value)]


def test_the_file_sends_no_statistics_offers_no_deployment_and_names_no_other_machine():
    told = tomllib.loads(CONFIG.read_text())
    assert told["browser"]["gatherUsageStats"] is False
    assert told["client"]["toolbarMode"] == "viewer"  # a Deploy button is for developers
    assert told["server"]["headless"] is True
    assert not {"enableCORS", "enableXsrfProtection", "corsAllowedOrigins"} & set(told["server"])
    named = dict(values(told))
    assert not {"font", "headingFont", "codeFont", "fontFaces"} & set(named)
    assert not [value for value in named.values() if "//" in str(value)]


def test_the_start_makes_streamlit_look_up_no_address(tmp_path, monkeypatch):
    given = {}

    class App:
        def run(self, config):
            given.update(config)

    for name in ("TABTUNE_HOME", "TABTUNE_WORKER"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("sys.argv", ["dashboard"])
    monkeypatch.setattr(program, "ensure_worker", lambda home, **more: None)
    monkeypatch.setattr(application, "application", lambda access: App())
    program.main(["--home", str(tmp_path), "--no-browser"])
    assert given["logger.hideWelcomeMessage"] is True
    assert given["server.allowedHosts"] == list(OWN_NAMES)
    assert "global.developmentMode" not in given


@pytest.mark.parametrize("host", ["lab:8501", "lab", "localhost:8501", "[::1]:8501"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_streamlit_looks_up_no_address_with_the_passed_settings(monkeypatch, host, scheme):
    asked = []
    for name in ("get_internal_ip", "get_external_ip"):
        monkeypatch.setattr(net_util, name, lambda name=name: asked.append(name))
    own = f"{scheme}://{host}"
    for origin in (None, own, own.upper(), f"{own}.evil.example", "http://evil.example", "http://lab:3000", "null", ""):
        headers = [(b"host", host.encode())] + ([] if origin is None else [(b"origin", origin.encode())])
        if _from_here(HTTPConnection({"type": "websocket", "headers": headers})):
            assert _is_origin_allowed(origin, host)
    assert asked == []
    assert not _is_origin_allowed("http://evil.example", host)
    assert asked == ["get_internal_ip", "get_external_ip"]  # the look-ups that it must not do


@pytest.mark.parametrize(
    ("asked", "target"), [("/data", "./"), ("/data?table=a&target=b%26", "./?table=a&target=b%26")]
)
def test_the_first_page_can_be_opened_by_its_name(asked, target):
    client = TestClient(Starlette(routes=application.ROUTES), follow_redirects=False)
    assert client.get(asked).headers["location"] == target


def page(number):
    import os

    from dashboard.server.application import show_error

    error = OSError(number, os.strerror(number), "/tmp/a") if number else KeyError("a mistake of ours")
    assert show_error(error) == bool(number)


@pytest.mark.parametrize(
    ("number", "said"), [(28, "The disk of /tmp/a is full"), (30, "read-only"), (5, "full or damaged"), (12, "memory")]
)
def test_a_page_names_the_missing_resource(number, said):
    app = AppTest.from_function(page, args=(number,)).run(timeout=30)
    assert not app.exception
    (shown,) = app.error
    assert said in str(shown.value).replace("\\", "")


def test_a_programming_error_is_left_to_streamlit():
    app = AppTest.from_function(page, args=(0,)).run(timeout=30)
    assert not app.exception
    assert not app.error


def test_every_page_says_it():
    assert make_application(decide("127.0.0.1"))._on_script_error is show_error
