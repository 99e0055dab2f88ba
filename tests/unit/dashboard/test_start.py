"""The program that serves the pages says at once, in one line, why it cannot start."""

import re
import signal
import socket
import subprocess
import sys
import types
from dataclasses import replace
from importlib.machinery import ModuleSpec

import pytest

from dashboard.server import application as served
from dashboard.start import main
from tabtune_core.execution import cluster as cluster_check
from tabtune_core.execution import cores, worker_flags
from tabtune_core.execution.lock import WorkerLock
from tabtune_core.execution.worker_flags import ExecutorChoice, asked_by_environment, chosen
from tabtune_core.store.runs import RunStore


@pytest.fixture
def served_once(tmp_path, monkeypatch):
    """Starts the program with flags and returns the environment that its worker would get."""
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell starts commands in the background with this one ignored,
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and nohup with this one
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    for name in ("TABTUNE_HOME", "TABTUNE_WORKER"):
        monkeypatch.setenv(name, "")
    found = []

    def ensure_worker(home, *, exit_when_idle):
        assert not exit_when_idle, "only the demo does that"
        found.append(asked_by_environment())

    monkeypatch.setattr(cores, "_cores", lambda: tuple(range(8)))
    monkeypatch.setattr(cores, "core_quota", lambda: None)
    monkeypatch.setattr("dashboard.start.ensure_worker", ensure_worker)
    monkeypatch.setattr(served, "application", lambda access: types.SimpleNamespace(run=lambda config: None))

    def start(*flags):
        main(["--home", str(tmp_path), "--no-browser", *flags])
        return found[-1]

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


OF_THIS_MACHINE = "tabtune-dashboard: --parallel and --threads divide the cores of this machine"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--threads 99999", "tabtune-dashboard: --parallel 1 with --threads 99999 takes"),
        ("--executor ray --parallel 2", OF_THIS_MACHINE),
        ("--executor ray --threads 2", OF_THIS_MACHINE),
        ("--parallel 0", "argument --parallel: '0' is not a whole number from 1 to 1,000,000."),
    ],
)
def test_impossible_flags_are_refused_in_one_sentence(served_once, capsys, flags, said):
    with pytest.raises(SystemExit) as ended:
        served_once(*flags.split())
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_the_number_of_concurrent_runs_is_passed_to_the_worker(served_once, monkeypatch):
    def shares(*flags):
        asked = served_once(*flags)
        return asked.parallel, asked.threads

    assert shares() == (None, None)
    monkeypatch.setenv("TABTUNE_WORKER", "--threads 2 --no-resume")
    assert shares() == (None, 2)
    assert shares("--parallel", "3") == (3, 2)
    assert shares("--parallel", "3", "--threads", "1") == (3, 1)
    assert asked_by_environment().no_resume


def test_a_cluster_is_passed_to_the_worker_and_a_missing_one_ends_the_program(served_once, capsys, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(worker_flags, "check", lambda address: None)
        assert replace(chosen(served_once()), shares=None) == ExecutorChoice()
        asked = served_once("--executor", "ray", "--ray-address", "10.0.0.1:6379")
        assert chosen(asked) == ExecutorChoice("ray", "10.0.0.1:6379")
    monkeypatch.setattr(cluster_check, "find_spec", lambda name: ModuleSpec(name, None, origin="there"))
    with pytest.raises(SystemExit) as ended:
        served_once("--executor", "ray", "--ray-address", "127.0.0.1:1")
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tabtune-dashboard: There is no Ray cluster to join at '127.0.0.1:1'")


def test_an_existing_worker_is_reported_to_keep_its_number_of_runs(served_once, tmp_path, capsys):
    RunStore(tmp_path)
    lock = WorkerLock(tmp_path)
    assert lock.take()
    served_once("--parallel", "3")
    assert "so --parallel, --threads and --executor apply to the next one" in capsys.readouterr().out
    lock.release()
    served_once("--parallel", "3")
    assert "is already running" not in capsys.readouterr().out
