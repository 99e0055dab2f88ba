"""The program that serves the pages says at once, in one line, why it cannot start."""

import re
import signal
import socket
import subprocess
import sys
import types
from importlib.machinery import ModuleSpec

import pytest

from dashboard.server import application as served
from dashboard.start import main
from tabtune_core.execution import cluster as cluster_check
from tabtune_core.execution import cores


@pytest.fixture
def served_once(tmp_path, monkeypatch):
    """Starts the program with flags."""
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
        assert re.search(
            f"Port {port} cannot be used .*in use.*leave --port out for the next free one", capsys.readouterr().err
        )
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
