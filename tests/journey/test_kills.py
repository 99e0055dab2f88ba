"""Runs outlive the pages, and a killed run is reported as such, with the real server, worker, engine and signals."""

import os
import signal

import psutil
from worker_program import wait_until

from tabtune_core.data.datasets import add_sample
from tabtune_core.execution.lock import ensure_worker
from tabtune_core.settings import RunSettings
from tabtune_core.store.runs import RunStore


def steps_of(store, run_id):
    return [stored.event.step for stored in store.events(run_id, ["StepDone"])]


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
