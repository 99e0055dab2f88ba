"""``loralab worker`` reports and ends the worker."""

import os

import pytest
from worker_program import queue, start_worker, wait_until, working

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
        assert "Queued: 1 run." in output


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
