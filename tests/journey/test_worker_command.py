"""``loralab worker`` reports and ends the worker."""

import os
import signal

import pytest
from worker_program import queue, start_worker, wait_for_end, wait_until, working

from tabtune_core.cli.main import main
from tabtune_core.execution.lock import is_stopped
from tabtune_core.execution.processes import is_alive


@pytest.fixture
def worker(store):
    """A worker that executes a run while another is queued."""
    with working(store) as going:
        queue(store, "waiting", "quick")
        wait_until(lambda: store.events(store.runs()[0].id))
        yield going


def ask(store, *flags):
    return main(["worker", "--home", str(store.home), *flags])


def test_status_names_the_worker_and_its_run(store, capsys):
    assert ask(store, "--status") == 1
    assert f"The worker of {store.home} is not running." in capsys.readouterr().out
    with working(store) as worker:
        queue(store, "waiting", "quick")
        wait_until(lambda: store.events(store.runs()[0].id))
        run = store.runs()[0]
        assert ask(store, "--status") == 0
        output = capsys.readouterr().out
        assert f"is process {worker.pid}." in output
        assert f"Running: run LoRA r=8 ({run.id}), process {run.pid} on {run.slot} of {os.uname().nodename}." in output
        assert "Queued: 1 run, 0 jobs." in output


def test_a_suspended_worker_is_reported_as_not_responding_and_continues_later(store, worker, capsys):
    worker.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, worker.pid, os.WSTOPPED)
    for flag, status in (("--status", 1), ("--stop", 2)):
        assert ask(store, flag) == status
        assert f"'kill -CONT {worker.pid}'" in "".join(capsys.readouterr())
    assert start_worker(store.home).wait(timeout=60) == 0, "another one leaves the workspace to it"
    worker.send_signal(signal.SIGCONT)
    (store.home / "go").touch()
    assert [wait_for_end(store, run.id).status for run in store.runs()] == ["finished"] * 2


def test_stop_ends_the_run_and_the_next_worker_resumes_it(store, worker, capsys):
    run, _ = store.runs()
    assert ask(store, "--stop") == 0
    output = capsys.readouterr().err
    assert "has ended; no queued run is started" in output and "Queued: 2 runs." in output
    assert worker.wait(timeout=60) == 0
    assert is_stopped(store.home) and not is_alive(run.pid, run.identity)
    assert [one.status for one in store.runs()] == ["queued"] * 2
    ask(store, "--status")
    assert "was stopped with" in capsys.readouterr().out
    (store.home / "go").touch()
    assert start_worker(store.home, "exit-when-idle").wait(timeout=60) == 0
    assert [one.status for one in store.runs()] == ["finished"] * 2


def test_an_impossible_request_is_one_line_and_exit_status_2(capsys):
    assert main(["worker", "--home", "/proc/version/nowhere"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
