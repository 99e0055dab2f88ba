"""Runs outlive the pages; a killed run is reported as such; ``loralab worker`` reports and ends the worker."""

import os
import signal

import psutil
import pytest
from worker_program import queue, start_worker, steps_of, wait_until, working

from tabtune_core.cli.main import main
from tabtune_core.data.datasets import add_sample
from tabtune_core.execution.lock import ensure_worker, is_stopped
from tabtune_core.execution.processes import is_alive
from tabtune_core.settings import RunSettings
from tabtune_core.store.runs import RunStore


def test_killing_the_pages_disturbs_no_run_and_after_a_killed_run_the_next_starts(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("TABTUNE_WORKER", "--parallel 1")
    store = RunStore(tmp_path)
    serve(worker=True)
    dataset = add_sample(tmp_path, "iris")
    short = RunSettings(dataset=dataset.id, target=dataset.columns[-1].name, strategy="inference", device="cpu")
    long = short.with_strategy("peft").changed(steps=3000, patience=3000)
    _, (first, second) = store.add_sweep([long, short])
    ensure_worker(tmp_path)
    wait_until(lambda: store.events(first, ["StepDone"]))

    server = next(p for p in psutil.Process().children() if "dashboard" in p.cmdline())
    server.send_signal(signal.SIGKILL)
    server.wait(timeout=10)
    seen = len(store.events(first, ["StepDone"]))
    wait_until(lambda: len(store.events(first, ["StepDone"])) > seen + 3)
    assert store.run(first).status == "running"

    wait_until(lambda: store.has_last_state(first))
    os.kill(store.run(first).pid, signal.SIGKILL)
    wait_until(lambda: store.last(first, "Resumed"))
    resumed_at = store.last(first, "Resumed").event.step
    assert resumed_at > 0
    wait_until(lambda: steps_of(store, first)[-1] > resumed_at)
    assert steps_of(store, first) == list(range(1, steps_of(store, first)[-1] + 1))

    os.kill(store.run(first).pid, signal.SIGKILL)
    wait_until(lambda: store.run(second).status == "finished")
    killed = store.run(first)
    assert killed.status == "interrupted"
    assert "signal 9" in killed.error
    store.resume(first)
    ensure_worker(tmp_path)  # the one that the killed pages had started ended with its queue
    wait_until(lambda: store.run(first).status == "running" and store.last(first, "Resumed"))
    store.ask(first, "cancel")
    wait_until(lambda: store.run(first).status == "cancelled")
    assert [path.name for path in store.run_dir(first).iterdir()] == ["log.txt"]


@pytest.fixture
def worker(store):
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
